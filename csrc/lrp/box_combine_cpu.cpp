#include <algorithm>

#include "common/isa.h"
#include "common/parallel.h"
#include "lrp/box_combine_check.h"
#include "lrp/box_combine_loops.h"

namespace xai::lrp {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr std::int64_t grain = 16384;

// Points of x that stay in the cache from one target to the next and, where channels are innermost, from one channel to
// the next.
constexpr std::int64_t block = 4096, block_channels_last = 512;

constexpr PerIsa<BoxLoops> loops{
    &box_combine_baseline,
#if XAIPIPE_X86
    &box_combine_avx2,
    &box_combine_avx512,
#endif
};

template <typename Pointer>
Pointer* moved(Pointer* base, std::int64_t elements, std::size_t size) {
    using Byte = std::conditional_t<std::is_const_v<Pointer>, const char, char>;
    return static_cast<Byte*>(base) + elements * static_cast<std::int64_t>(size);
}

// Points [point, point + count) of all channels of one image, for one target.
struct Piece {
    std::int64_t repeat, image, point, count;
};

void combine(const xai_box_combine& call, const Piece& piece) {
    const auto loop = kernels_in_use(loops).of(call.dtype);
    const std::size_t size = element_size(call.dtype), computed = call.dtype == XAI_F64 ? 8 : 4;
    const BoxSteps steps = box_steps(call.channels_last != 0, call.channels, call.points);
    const BoxSteps steps_g = box_steps(call.channels_last != 0, 3 * call.channels, call.points);
    const std::int64_t image_size = call.channels * call.points;
    const std::int64_t target_image = piece.repeat * call.images + piece.image;
    for (std::int64_t c = 0; c < call.channels; ++c) {
        const std::int64_t within = c * steps.channel + piece.point * steps.point;
        const std::int64_t within_g = c * steps_g.channel + piece.point * steps_g.point;
        loop({moved(call.x, piece.image * image_size + within, size),
              moved(call.g, target_image * 3 * image_size + within_g, size),
              moved(call.out, target_image * image_size + within, size), moved(call.low, c, computed),
              moved(call.high, c, computed), piece.count, steps.point, steps_g.point,
              call.channels * steps_g.channel});
    }
}

}  // namespace
}  // namespace xai::lrp

int xai_box_combine_cpu(const xai_box_combine* call, int num_threads) {
    using namespace xai;
    int status = lrp::check_box_combine(*call);
    status = status == XAI_OK ? check_threads(num_threads) : status;
    if (status != XAI_OK || call->images * call->channels * call->points == 0) {
        return status;
    }
    const std::int64_t least = std::max(lrp::grain / (call->repeats * call->channels), range_multiple);
    const std::int64_t block = call->channels_last != 0 ? lrp::block_channels_last : lrp::block;
    parallel_ranges(call->images * call->points, least, num_threads, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t first = begin, count; first < end; first += count) {
            const std::int64_t image = first / call->points, point = first % call->points;
            count = std::min({block, end - first, call->points - point});
            for (std::int64_t repeat = 0; repeat < call->repeats; ++repeat) {
                lrp::combine(*call, {repeat, image, point, count});
            }
        }
    });
    return XAI_OK;
}
