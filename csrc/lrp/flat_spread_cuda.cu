#include <algorithm>

#include "common/cuda_device.h"
#include "lrp/flat_spread_check.h"
#include "lrp/flat_spread_geometry.h"

namespace xai::lrp {
namespace {

constexpr int threads_per_block = 256;
constexpr std::int64_t max_blocks = 1 << 14;  // beyond it each thread takes several cells

__device__ std::int64_t first_cell() { return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }
__device__ std::int64_t all_threads() { return static_cast<std::int64_t>(gridDim.x) * blockDim.x; }

// A thread takes an output cell: the sum over its channels, divided.
template <typename Value>
__global__ void share_cells(xai_flat_spread call, WindowAxis rows, WindowAxis columns) {
    const std::int64_t cells = rows.size_out * columns.size_out;
    const std::int64_t step = call.channels_last != 0 ? call.channels : 1;
    const std::int64_t step_channel = call.channels_last != 0 ? 1 : cells;
    for (std::int64_t i = first_cell(); i < call.batch * cells; i += all_threads()) {
        const std::int64_t image = i / cells, cell = i % cells;
        const Value* relevance =
            static_cast<const Value*>(call.relevance) + image * cells * call.channels + cell * step;
        Computed<Value> sum = 0;
        for (std::int64_t c = 0; c < call.channels; ++c) {
            sum += load(relevance[c * step_channel]);
        }
        const std::int64_t oy = cell / columns.size_out, ox = cell % columns.size_out;
        const std::int64_t among = cells_inside(rows, oy) * cells_inside(columns, ox) * call.input_channels;
        static_cast<Computed<Value>*>(call.workspace)[i] = share_of(sum, among);
    }
}

// A thread takes an input cell: the shares of the windows over it, summed along each row, then down the rows.
template <typename Value>
__global__ void spread_shares(xai_flat_spread call, WindowAxis rows, WindowAxis columns) {
    using Real = Computed<Value>;
    const std::int64_t cells = rows.size_out * columns.size_out, points = rows.size_in * columns.size_in;
    for (std::int64_t i = first_cell(); i < call.batch * points; i += all_threads()) {
        const std::int64_t y = i % points / columns.size_in, x = i % columns.size_in;
        const Real* shares = static_cast<const Real*>(call.workspace) + i / points * cells;
        Real total = 0;
        for (std::int64_t ky = 0; ky < rows.kernel; ++ky) {
            const std::int64_t oy = output_over(rows, y, ky);
            if (oy < 0) {
                continue;
            }
            Real across = 0;
            for (std::int64_t kx = 0; kx < columns.kernel; ++kx) {
                const std::int64_t ox = output_over(columns, x, kx);
                if (ox >= 0) {
                    across += shares[oy * columns.size_out + ox];
                }
            }
            total += across;
        }
        store(static_cast<Value*>(call.out)[i], total);
    }
}

unsigned blocks_for(std::int64_t cells) {
    return static_cast<unsigned>(
        std::clamp<std::int64_t>((cells + threads_per_block - 1) / threads_per_block, 1, max_blocks));
}

template <typename Value>
void launch(const xai_flat_spread& call, cudaStream_t stream) {
    const WindowAxis rows = window_axis(call, 0), columns = window_axis(call, 1);
    const unsigned over_outputs = blocks_for(call.batch * rows.size_out * columns.size_out);
    const unsigned over_inputs = blocks_for(call.batch * rows.size_in * columns.size_in);
    share_cells<Value><<<over_outputs, threads_per_block, 0, stream>>>(call, rows, columns);
    spread_shares<Value><<<over_inputs, threads_per_block, 0, stream>>>(call, rows, columns);
}

}  // namespace
}  // namespace xai::lrp

int xai_flat_spread_cuda(const xai_flat_spread* call, int device, void* stream) {
    using namespace xai;
    const int invalid = lrp::check_flat_spread(*call);
    if (invalid || call->batch * call->size_in[0] * call->size_in[1] == 0) {
        return invalid;
    }
    const CudaDeviceScope scope(device);
    if (const int refused = scope.status()) {
        return refused;
    }
    const PerDtype<void(const xai_flat_spread&, cudaStream_t)> launches{lrp::launch<float>, lrp::launch<double>,
                                                                       lrp::launch<bf16>};
    launches.of(call->dtype)(*call, static_cast<cudaStream_t>(stream));
    return check_cuda(cudaGetLastError(), "launching flat_spread");
}
