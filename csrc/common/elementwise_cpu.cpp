#include "common/elementwise_cpu.h"

#include <algorithm>

#include "common/checks.h"
#include "common/parallel.h"

namespace xai {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr std::int64_t grain = 32768;

// Inputs that are not repeated stay in the cache from one repeat to the next.
constexpr std::int64_t block = 2048;

// Elements [begin, end) of one repeat.
struct Span {
    std::int64_t repeat, begin, end;
};

void run(const ElementwiseOp& op, ElementwiseLoop* loop, const xai_elementwise& call, const Span& span) {
    const auto size = static_cast<std::int64_t>(element_size(call.dtype));
    const std::int64_t first = span.begin * size;
    const std::int64_t first_repeated = first + span.repeat * call.n * size;
    const void* inputs[XAI_MOST_INPUTS];
    void* outputs[XAI_MOST_OUTPUTS];
    for (int i = 0; i < op.input_count; ++i) {
        inputs[i] = static_cast<const char*>(call.inputs[i]) + (op.inputs[i].repeated ? first_repeated : first);
    }
    for (int i = 0; i < op.output_count; ++i) {
        outputs[i] = static_cast<char*>(call.outputs[i]) + first_repeated;
    }
    loop(inputs, outputs, span.end - span.begin, call.parameters);
}

}  // namespace

int run_elementwise(const ElementwiseOp& op, const ElementwiseLoops& loops, const xai_elementwise& call,
                    int num_threads) {
    int status = check_elementwise(op, call);
    status = status == XAI_OK ? check_threads(num_threads) : status;
    if (status != XAI_OK || call.n == 0) {
        return status;
    }
    const auto loop = loops.of(call.dtype);
    const std::int64_t length = call.repeats == 1 ? call.n : block;
    const std::int64_t least = std::max<std::int64_t>(grain / call.repeats, range_multiple);
    parallel_ranges(call.n, least, num_threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t first = begin; first < end; first += length) {
            for (std::int64_t repeat = 0; repeat < call.repeats; ++repeat) {
                run(op, loop, call, {repeat, first, std::min(first + length, end)});
            }
        }
    });
    return XAI_OK;
}

}  // namespace xai
