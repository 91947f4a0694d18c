// An elementwise op on CUDA: the kernel and its launch. Include it from .cu files only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/cuda_device.h"
#include "common/elementwise_element.h"

namespace xai {
namespace {

constexpr int threads_per_block = 256;
constexpr std::int64_t max_blocks = 1 << 14;     // beyond it each thread takes several packs
constexpr std::int64_t enough_blocks = 1 << 11;  // below it repeats get blocks of their own
constexpr std::size_t widest_load = 16;          // bytes

template <typename Value, int width>
struct alignas(sizeof(Value) * width) Pack {
    Value values[width];
};

template <typename Op, typename Value>
struct Arrays {
    const Value* inputs[Op::about.input_count];
    Value* outputs[Op::about.output_count];
};

template <typename Op, typename Value, int width, int... input>
__device__ auto element_of(const Pack<Value, width>* packs, int lane,
                           const typename Op::template Parameters<Value>& parameters,
                           std::integer_sequence<int, input...>) {
    return Op::element(load(packs[input].values[lane])..., parameters);
}

// Pack i of the block's repeats. Inputs that are not repeated are read once.
template <int width, typename Op, typename Value>
__device__ void compute_pack(const Arrays<Op, Value>& arrays, std::int64_t i, std::int64_t n, std::int64_t repeats,
                             const typename Op::template Parameters<Value>& parameters) {
    using Packed = Pack<Value, width>;
    constexpr ElementwiseOp about = Op::about;
    Packed packs[about.input_count];
#pragma unroll
    for (int k = 0; k < about.input_count; ++k) {
        if (!about.inputs[k].repeated) {
            packs[k] = *reinterpret_cast<const Packed*>(arrays.inputs[k] + i * width);
        }
    }
    for (std::int64_t repeat = blockIdx.y; repeat < repeats; repeat += gridDim.y) {
        const std::int64_t place = repeat * n + i * width;
#pragma unroll
        for (int k = 0; k < about.input_count; ++k) {
            if (about.inputs[k].repeated) {
                packs[k] = *reinterpret_cast<const Packed*>(arrays.inputs[k] + place);
            }
        }
        Packed results[about.output_count];
#pragma unroll
        for (int lane = 0; lane < width; ++lane) {
            const auto values = element_of<Op>(packs, lane, parameters, Indices<about.input_count>{});
#pragma unroll
            for (int k = 0; k < about.output_count; ++k) {
                store(results[k].values[lane], values.at[k]);
            }
        }
#pragma unroll
        for (int k = 0; k < about.output_count; ++k) {
            *reinterpret_cast<Packed*>(arrays.outputs[k] + place) = results[k];
        }
    }
}

template <typename Op, typename Value, int width>
__global__ void compute_packs(Arrays<Op, Value> arrays, std::int64_t n, std::int64_t repeats,
                              typename Op::template Parameters<Value> parameters) {
    const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    const std::int64_t packs = n / width;
    for (std::int64_t i = thread; i < packs; i += threads) {
        compute_pack<width>(arrays, i, n, repeats, parameters);
    }
    const std::int64_t rest = packs * width + thread;
    if (rest < n) {
        compute_pack<1>(arrays, rest, n, repeats, parameters);
    }
}

template <typename Op, typename Value, int width>
void launch(const Arrays<Op, Value>& arrays, const xai_elementwise& call, cudaStream_t stream) {
    const std::int64_t packs = (call.n + width - 1) / width;
    const std::int64_t blocks = std::min((packs + threads_per_block - 1) / threads_per_block, max_blocks);
    const std::int64_t rows = std::clamp<std::int64_t>(enough_blocks / blocks, 1, call.repeats);
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(rows));
    compute_packs<Op, Value, width><<<grid, threads_per_block, 0, stream>>>(
        arrays, call.n, call.repeats, parameters_from<Op, Value>(call.parameters));
}

template <typename Op, typename Value, int... input, int... output>
Arrays<Op, Value> arrays_of(const xai_elementwise& call, std::integer_sequence<int, input...>,
                            std::integer_sequence<int, output...>) {
    return {{static_cast<const Value*>(call.inputs[input])...}, {static_cast<Value*>(call.outputs[output])...}};
}

// Every repeat has to start where a wide load may.
template <typename Op>
bool loads_widely(const xai_elementwise& call, int width) {
    std::uintptr_t addresses = 0;
    for (int k = 0; k < Op::about.input_count; ++k) {
        addresses |= reinterpret_cast<std::uintptr_t>(call.inputs[k]);
    }
    for (int k = 0; k < Op::about.output_count; ++k) {
        addresses |= reinterpret_cast<std::uintptr_t>(call.outputs[k]);
    }
    return addresses % widest_load == 0 && (call.repeats == 1 || call.n % width == 0);
}

template <typename Op, typename Value>
void launch(const xai_elementwise& call, cudaStream_t stream) {
    constexpr int width = widest_load / sizeof(Value);
    const auto arrays =
        arrays_of<Op, Value>(call, Indices<Op::about.input_count>{}, Indices<Op::about.output_count>{});
    if (loads_widely<Op>(call, width)) {
        launch<Op, Value, width>(arrays, call, stream);
    } else {
        launch<Op, Value, 1>(arrays, call, stream);
    }
}

template <typename Op>
int launch_elementwise(const char* name, const xai_elementwise& call, int device, void* stream) {
    const int invalid = check_elementwise(Op::about, call);
    if (invalid || call.n == 0) {
        return invalid;
    }
    const CudaDeviceScope scope(device);
    if (const int refused = scope.status()) {
        return refused;
    }
    const auto queue = static_cast<cudaStream_t>(stream);
    if (call.dtype == XAI_F32) {
        launch<Op, float>(call, queue);
    } else if (call.dtype == XAI_F64) {
        launch<Op, double>(call, queue);
    } else {
        launch<Op, bf16>(call, queue);
    }
    return check_cuda(cudaGetLastError(), name);
}

}  // namespace
}  // namespace xai
