#include <algorithm>
#include <cstdint>

#include "common/cuda_device.h"
#include "lrp/stabilise.h"
#include "lrp/stabilise_check.h"
#include "lrp/stabilise_math.h"

namespace xai::lrp {
namespace {

constexpr int threads_per_block = 256;
constexpr std::int64_t max_blocks = 1 << 14;  // beyond it each thread takes several packs
constexpr std::size_t widest_load = 16;       // bytes

template <typename Value, int width>
struct alignas(sizeof(Value) * width) Pack {
    Value values[width];
};

template <typename Value, int width, typename Eps>
__global__ void divide_packs(const Value* relevance, const Value* z, Value* out, std::int64_t n, Eps eps) {
    using Packed = Pack<Value, width>;
    const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    const std::int64_t packs = n / width;
    for (std::int64_t i = thread; i < packs; i += threads) {
        const Packed numerators = reinterpret_cast<const Packed*>(relevance)[i];
        const Packed denominators = reinterpret_cast<const Packed*>(z)[i];
        Packed quotients;
#pragma unroll
        for (int lane = 0; lane < width; ++lane) {
            quotients.values[lane] = stabilised_quotient(numerators.values[lane], denominators.values[lane], eps);
        }
        reinterpret_cast<Packed*>(out)[i] = quotients;
    }
    const std::int64_t rest = packs * width + thread;
    if (rest < n) {
        out[rest] = stabilised_quotient(relevance[rest], z[rest], eps);
    }
}

bool loads_widely(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % widest_load == 0; }

template <typename Value, int width, typename Eps>
void launch(const void* relevance, const void* z, void* out, std::int64_t n, Eps eps, cudaStream_t stream) {
    const std::int64_t packs = (n + width - 1) / width;
    const std::int64_t blocks = std::min((packs + threads_per_block - 1) / threads_per_block, max_blocks);
    divide_packs<Value, width><<<static_cast<unsigned>(blocks), threads_per_block, 0, stream>>>(
        static_cast<const Value*>(relevance), static_cast<const Value*>(z), static_cast<Value*>(out), n, eps);
}

template <typename Value, typename Eps>
void divide(const void* relevance, const void* z, void* out, std::int64_t n, double eps, cudaStream_t stream) {
    constexpr int width = widest_load / sizeof(Value);
    if (loads_widely(relevance) && loads_widely(z) && loads_widely(out)) {
        launch<Value, width>(relevance, z, out, n, static_cast<Eps>(eps), stream);
    } else {
        launch<Value, 1>(relevance, z, out, n, static_cast<Eps>(eps), stream);
    }
}

}  // namespace
}  // namespace xai::lrp

int xai_stabilised_divide_cuda(int dtype, const void* relevance, const void* z, void* out, int64_t n, double eps,
                               int device, void* stream) {
    using namespace xai;
    const int invalid = lrp::check_stabilised_divide(dtype, relevance, z, out, n, eps);
    if (invalid || n == 0) {
        return invalid;
    }
    const CudaDeviceScope scope(device);
    if (const int refused = scope.status()) {
        return refused;
    }
    const auto queue = static_cast<cudaStream_t>(stream);
    if (dtype == XAI_F32) {
        lrp::divide<float, float>(relevance, z, out, n, eps, queue);
    } else if (dtype == XAI_F64) {
        lrp::divide<double, double>(relevance, z, out, n, eps, queue);
    } else {
        lrp::divide<bf16, float>(relevance, z, out, n, eps, queue);
    }
    return check_cuda(cudaGetLastError(), "launching stabilised_divide");
}
