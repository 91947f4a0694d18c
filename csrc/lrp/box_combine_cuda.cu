#include <algorithm>

#include "common/cuda_device.h"
#include "lrp/box_combine_check.h"
#include "lrp/box_combine_math.h"

namespace xai::lrp {
namespace {

constexpr int threads_per_block = 256;
constexpr std::int64_t max_blocks = 1 << 14;     // beyond it each thread takes several points
constexpr std::int64_t enough_blocks = 1 << 11;  // below it targets get blocks of their own

// A thread takes all channels of one point.
template <typename Value>
__global__ void combine_points(xai_box_combine call) {
    using Real = Computed<Value>;
    const auto* x = static_cast<const Value*>(call.x);
    const auto* g = static_cast<const Value*>(call.g);
    const auto* low = static_cast<const Real*>(call.low);
    const auto* high = static_cast<const Real*>(call.high);
    auto* out = static_cast<Value*>(call.out);
    const std::int64_t channels = call.channels, image_size = channels * call.points;
    const BoxSteps steps = box_steps(call.channels_last != 0, channels, call.points);
    const BoxSteps steps_g = box_steps(call.channels_last != 0, 3 * channels, call.points);
    const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (; thread < call.images * call.points; thread += threads) {
        const std::int64_t image = thread / call.points, point = thread % call.points;
        for (std::int64_t c = 0; c < channels; ++c) {
            const std::int64_t within = c * steps.channel + point * steps.point;
            const std::int64_t within_g = c * steps_g.channel + point * steps_g.point;
            const Real pixel = load(x[image * image_size + within]);
            for (std::int64_t repeat = blockIdx.y; repeat < call.repeats; repeat += gridDim.y) {
                const std::int64_t target_image = repeat * call.images + image;
                const Value* back = g + target_image * 3 * image_size + within_g;
                const std::int64_t third = channels * steps_g.channel;
                store(out[target_image * image_size + within],
                      box_combined(pixel, load(back[0]), load(back[third]), load(back[2 * third]), low[c], high[c]));
            }
        }
    }
}

template <typename Value>
void launch(const xai_box_combine& call, cudaStream_t stream) {
    const std::int64_t points = call.images * call.points;
    const std::int64_t blocks = std::min((points + threads_per_block - 1) / threads_per_block, max_blocks);
    const std::int64_t rows = std::clamp<std::int64_t>(enough_blocks / blocks, 1, call.repeats);
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(rows));
    combine_points<Value><<<grid, threads_per_block, 0, stream>>>(call);
}

}  // namespace
}  // namespace xai::lrp

int xai_box_combine_cuda(const xai_box_combine* call, int device, void* stream) {
    using namespace xai;
    const int invalid = lrp::check_box_combine(*call);
    if (invalid || call->images * call->channels * call->points == 0) {
        return invalid;
    }
    const CudaDeviceScope scope(device);
    if (const int refused = scope.status()) {
        return refused;
    }
    const PerDtype<void(const xai_box_combine&, cudaStream_t)> launches{lrp::launch<float>, lrp::launch<double>,
                                                                       lrp::launch<bf16>};
    launches.of(call->dtype)(*call, static_cast<cudaStream_t>(stream));
    return check_cuda(cudaGetLastError(), "launching box_combine");
}
