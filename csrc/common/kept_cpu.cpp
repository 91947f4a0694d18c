#include "common/kept_cpu.h"

#include "common/checks.h"
#include "common/parallel.h"

namespace xai {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr std::int64_t grain = 32768;

// Shares out elements [begin, end) of one repeat and returns the sum of what is kept.
double run_chunk(const ElementwiseOp& op, KeptLoop* loop, const xai_elementwise& call, std::int64_t repeat,
                 std::int64_t begin, std::int64_t end) {
    const auto size = static_cast<std::int64_t>(element_size(call.dtype));
    const std::int64_t first = begin * size, first_repeated = first + repeat * call.n * size;
    const void* inputs[XAI_MOST_INPUTS];
    void* outputs[XAI_MOST_OUTPUTS];
    for (int i = 0; i < op.input_count; ++i) {
        inputs[i] = static_cast<const char*>(call.inputs[i]) + (op.inputs[i].repeated ? first_repeated : first);
    }
    for (int i = 0; i < op.output_count; ++i) {
        outputs[i] = static_cast<char*>(call.outputs[i]) + first_repeated;
    }
    return loop(inputs, outputs, end - begin, call.parameters);
}

void add_chunks(const xai_kept& call, const KeptChunks& chunks) {
    const DefaultFloatEnvironment environment;
    const double* chunk = call.chunk_sums;
    for (std::int64_t image = 0; image < call.shares.repeats * call.images; ++image) {
        double sum = 0.0;
        for (std::int64_t i = 0; i < chunks.per_image; ++i) {
            sum += *chunk++;
        }
        store(call.kept[image], sum);
    }
}

}  // namespace

int run_kept(const ElementwiseOp& op, const KeptLoops& loops, const xai_kept& call, int num_threads) {
    int status = check_kept(op, call);
    status = status == XAI_OK ? check_threads(num_threads) : status;
    if (status != XAI_OK) {
        return status;
    }
    const auto loop = loops.of(call.shares.dtype);
    const std::int64_t repeats = call.shares.repeats;
    const KeptChunks chunks = kept_chunks(call.shares.n, call.images);
    const std::int64_t each = std::clamp<std::int64_t>(chunks.image_elements, 1, kept_chunk) * repeats;
    const std::int64_t least = std::max<std::int64_t>(grain / each, 1);
    const auto run = [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t chunk = first; chunk < last; ++chunk) {
            const std::int64_t image = chunk / chunks.per_image * chunks.image_elements;
            const std::int64_t begin = image + chunk % chunks.per_image * kept_chunk;
            const std::int64_t end = std::min(begin + kept_chunk, image + chunks.image_elements);
            for (std::int64_t repeat = 0; repeat < repeats; ++repeat) {
                call.chunk_sums[repeat * chunks.count + chunk] =
                    run_chunk(op, loop, call.shares, repeat, begin, end);
            }
        }
    };
    parallel_ranges(chunks.count, least, num_threads, run, 1);
    add_chunks(call, chunks);
    return XAI_OK;
}

}  // namespace xai
