#include <algorithm>

#include "common/isa.h"
#include "common/parallel.h"
#include "lrp/flat_spread_check.h"
#include "lrp/flat_spread_loops.h"

namespace xai::lrp {
namespace {

// Below this many numbers read a thread costs more than it saves.
constexpr std::int64_t grain = 32768;

constexpr PerIsa<FlatLoops> loops{
    &flat_spread_baseline,
#if XAIPIPE_X86
    &flat_spread_avx2,
    &flat_spread_avx512,
#endif
};

// The call, and where its parts lie in memory.
struct Task {
    const xai_flat_spread& call;
    const FlatLoops& kernels;
    int num_threads;

    WindowAxis rows() const { return window_axis(call, 0); }
    WindowAxis columns() const { return window_axis(call, 1); }
    std::int64_t cells() const { return call.size_out[0] * call.size_out[1]; }
    std::int64_t computed() const { return call.dtype == XAI_F64 ? 8 : 4; }
    const char* relevance(std::int64_t element) const {
        return static_cast<const char*>(call.relevance) + element * static_cast<std::int64_t>(element_size(call.dtype));
    }
    char* out(std::int64_t element) const {
        return static_cast<char*>(call.out) + element * static_cast<std::int64_t>(element_size(call.dtype));
    }
    char* sums(std::int64_t element) const { return static_cast<char*>(call.workspace) + element * computed(); }
    char* across(std::int64_t element) const { return sums(call.batch * cells() + element); }
};

// `each` numbers are read for one of n pieces of work.
template <typename Body>
void in_parallel(const Task& task, std::int64_t n, std::int64_t each, const Body& body) {
    parallel_ranges(n, std::max<std::int64_t>(grain / each, 1), task.num_threads, body);
}

void sum_all_channels(const Task& task) {
    const xai_flat_spread& call = task.call;
    const bool last = call.channels_last != 0;
    const std::int64_t step = last ? call.channels : 1, step_channel = last ? 1 : task.cells();
    in_parallel(task, call.batch * task.cells(), call.channels + 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t first = begin, count; first < end; first += count) {
            const std::int64_t image = first / task.cells(), cell = first % task.cells();
            count = std::min(end - first, task.cells() - cell);
            const std::int64_t from = image * task.cells() * call.channels + cell * step;
            task.kernels.sum_channels.of(call.dtype)(
                {task.relevance(from), task.sums(first), count, step, call.channels, step_channel});
        }
    });
}

void spread_all_across(const Task& task) {
    const xai_flat_spread& call = task.call;
    const std::int64_t width = call.size_in[1];
    in_parallel(task, call.batch * call.size_out[0], width * call.kernel[1], [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t cells = cells_inside(task.rows(), row % call.size_out[0]) * call.input_channels;
            task.kernels.spread_across.of(call.dtype)(task.columns(), cells, task.sums(row * call.size_out[1]),
                                                      task.across(row * width));
        }
    });
}

void spread_all_down(const Task& task) {
    const xai_flat_spread& call = task.call;
    const std::int64_t height = call.size_in[0], width = call.size_in[1];
    in_parallel(task, call.batch * height, width * call.kernel[0], [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) {
            const std::int64_t image = row / height;
            task.kernels.spread_down.of(call.dtype)(task.rows(), row % height, width,
                                                    task.across(image * call.size_out[0] * width),
                                                    task.out(row * width));
        }
    });
}

}  // namespace
}  // namespace xai::lrp

int64_t xai_flat_spread_workspace(const xai_flat_spread* call) {
    return xai::lrp::check_flat_geometry(*call) == XAI_OK ? xai::lrp::flat_workspace(*call) : 0;
}

int xai_flat_spread_cpu(const xai_flat_spread* call, int num_threads) {
    using namespace xai;
    int status = lrp::check_flat_spread(*call);
    status = status == XAI_OK ? check_threads(num_threads) : status;
    if (status != XAI_OK || call->batch * call->size_in[0] * call->size_in[1] == 0) {
        return status;
    }
    const lrp::Task task{*call, kernels_in_use(lrp::loops), num_threads};
    lrp::sum_all_channels(task);
    lrp::spread_all_across(task);
    lrp::spread_all_down(task);
    return XAI_OK;
}
