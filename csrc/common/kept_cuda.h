// An elementwise op that sums what it keeps on CUDA: the kernels and their launch. Include it from .cu files only.
#pragma once

#include "common/elementwise_cuda.h"
#include "common/kept_element.h"
#include "common/kept_op.h"

namespace xai {
namespace {

constexpr int rows_ahead = 4;  // whose inputs a thread reads before it stores the first output

template <typename Op, typename Value, int... input, int... output>
__device__ double share_numbers(const Values<Computed<Value>, sizeof...(input)>& numbers, Value* const* outputs,
                                std::int64_t place, const typename Op::template Parameters<Value>& rounded,
                                const typename Op::template Parameters<double>& given,
                                std::integer_sequence<int, input...>, std::integer_sequence<int, output...>) {
    const auto shares = Op::element(numbers.at[input]..., rounded);
    (store(outputs[output][place], shares.at[output]), ...);
    return Op::kept({{static_cast<double>(numbers.at[input])...}}, {{as_stored(Value{}, shares.at[output])...}}, given);
}

// What one thread does in a chunk: elements of one lane, `rows` of them.
template <int rows, typename Op, typename Value>
__device__ double share_rows(double sum, const Arrays<Op, Value>& arrays, std::int64_t i, std::int64_t repeated_by,
                             const typename Op::template Parameters<Value>& rounded,
                             const typename Op::template Parameters<double>& given) {
    constexpr ElementwiseOp about = Op::about;
    Values<Computed<Value>, about.input_count> numbers[rows];
#pragma unroll
    for (int row = 0; row < rows; ++row) {
#pragma unroll
        for (int k = 0; k < about.input_count; ++k) {
            const std::int64_t place = i + row * kept_lanes + (about.inputs[k].repeated ? repeated_by : 0);
            numbers[row].at[k] = load(arrays.inputs[k][place]);
        }
    }
#pragma unroll
    for (int row = 0; row < rows; ++row) {
        sum += share_numbers<Op>(numbers[row], arrays.outputs, i + row * kept_lanes + repeated_by, rounded, given,
                                 Indices<about.input_count>{}, Indices<about.output_count>{});
    }
    return sum;
}

// The sum of a block's numbers, one a thread; thread 0 gets it.
__device__ double sum_of_threads(double number) {
    __shared__ double lanes[kept_lanes];
    const int lane = static_cast<int>(threadIdx.x);
    __syncthreads();
    lanes[lane] = number;
    for (int half = kept_lanes / 2; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half) {
            lanes[lane] += lanes[lane + half];
        }
    }
    return lane == 0 ? lanes[0] : 0.0;
}

// A block takes a chunk, a thread one of its lanes.
template <typename Op, typename Value>
__global__ void share_chunks(Arrays<Op, Value> arrays, KeptChunks chunks, std::int64_t n, std::int64_t repeats,
                             typename Op::template Parameters<Value> rounded,
                             typename Op::template Parameters<double> given, double* chunk_sums) {
    for (std::int64_t chunk = blockIdx.x; chunk < chunks.count; chunk += gridDim.x) {
        const std::int64_t image = chunk / chunks.per_image * chunks.image_elements;
        const std::int64_t begin = image + chunk % chunks.per_image * kept_chunk;
        const std::int64_t image_end = image + chunks.image_elements;
        const std::int64_t end = begin + kept_chunk < image_end ? begin + kept_chunk : image_end;
        for (std::int64_t repeat = blockIdx.y; repeat < repeats; repeat += gridDim.y) {
            double sum = 0.0;
            std::int64_t i = begin + threadIdx.x;
            for (; i + (rows_ahead - 1) * kept_lanes < end; i += rows_ahead * kept_lanes) {
                sum = share_rows<rows_ahead>(sum, arrays, i, repeat * n, rounded, given);
            }
            for (; i < end; i += kept_lanes) {
                sum = share_rows<1>(sum, arrays, i, repeat * n, rounded, given);
            }
            sum = sum_of_threads(sum);
            if (threadIdx.x == 0) {
                chunk_sums[repeat * chunks.count + chunk] = sum;
            }
        }
    }
}

// A thread takes an image of a repeat.
__global__ void add_chunks(const double* chunk_sums, std::int64_t per_image, std::int64_t images, double* kept) {
    const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t image = thread; image < images; image += threads) {
        double sum = 0.0;
        for (std::int64_t chunk = image * per_image; chunk < (image + 1) * per_image; ++chunk) {
            sum += chunk_sums[chunk];
        }
        store(kept[image], sum);
    }
}

template <typename Op, typename Value>
void launch_chunks(const xai_kept& call, const KeptChunks& chunks, cudaStream_t stream) {
    const auto arrays =
        arrays_of<Op, Value>(call.shares, Indices<Op::about.input_count>{}, Indices<Op::about.output_count>{});
    const std::int64_t blocks = std::min(chunks.count, max_blocks);
    const std::int64_t rows = std::clamp<std::int64_t>(enough_blocks / blocks, 1, call.shares.repeats);
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(rows));
    share_chunks<Op, Value><<<grid, kept_lanes, 0, stream>>>(
        arrays, chunks, call.shares.n, call.shares.repeats, parameters_from<Op, Value>(call.shares.parameters),
        parameters_from<Op, double>(call.shares.parameters), call.chunk_sums);
}

template <typename Op>
int launch_kept(const char* name, const xai_kept& call, int device, void* stream) {
    if (const int invalid = check_kept(Op::about, call)) {
        return invalid;
    }
    const CudaDeviceScope scope(device);
    if (const int refused = scope.status()) {
        return refused;
    }
    const auto queue = static_cast<cudaStream_t>(stream);
    const KeptChunks chunks = kept_chunks(call.shares.n, call.images);
    if (chunks.count > 0) {
        const PerDtype<void(const xai_kept&, const KeptChunks&, cudaStream_t)> launches{
            launch_chunks<Op, float>, launch_chunks<Op, double>, launch_chunks<Op, bf16>};
        launches.of(call.shares.dtype)(call, chunks, queue);
    }
    const std::int64_t images = call.shares.repeats * call.images;
    const std::int64_t blocks = std::min((images + threads_per_block - 1) / threads_per_block, max_blocks);
    add_chunks<<<static_cast<unsigned>(blocks), threads_per_block, 0, queue>>>(call.chunk_sums, chunks.per_image, images,
                                                                               call.kept);
    return check_cuda(cudaGetLastError(), name);
}

}  // namespace
}  // namespace xai
