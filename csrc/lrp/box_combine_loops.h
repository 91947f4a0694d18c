// The loop over the points of one channel. Each per-ISA file compiles it with its own flags.
#pragma once

#include "lrp/box_combine_math.h"

namespace xai::lrp {

// One channel of one image for one target. Pointers are to its first point; points lie `step` elements apart in x and
// out, `step_g` in g. `third` is the distance from the channel in g to the one of the next set of weights.
struct BoxChannel {
    const void* x;
    const void* g;
    void* out;
    const void* low;
    const void* high;
    std::int64_t points, step, step_g, third;
};

using BoxLoops = PerDtype<void(const BoxChannel&)>;

extern const BoxLoops box_combine_baseline;
extern const BoxLoops box_combine_avx2;
extern const BoxLoops box_combine_avx512;

namespace {

template <typename Value, typename Step>
inline void combine_points(const BoxChannel& channel, Step step, Step step_g) {
    const auto* x = static_cast<const Value*>(channel.x);
    const auto* g = static_cast<const Value*>(channel.g);
    const auto* g_plus = g + channel.third;
    const auto* g_minus = g_plus + channel.third;
    auto* out = static_cast<Value*>(channel.out);
    const auto low = *static_cast<const Computed<Value>*>(channel.low);
    const auto high = *static_cast<const Computed<Value>*>(channel.high);
    // `omp simd` rather than restrict: `out` may be x.
#pragma omp simd
    for (std::int64_t p = 0; p < channel.points; ++p) {
        store(out[p * step], box_combined(load(x[p * step]), load(g[p * step_g]), load(g_plus[p * step_g]),
                                          load(g_minus[p * step_g]), low, high));
    }
}

struct SideBySide {
    constexpr operator std::int64_t() const { return 1; }
};

template <typename Value>
void combine_channel(const BoxChannel& channel) {
    if (channel.step == 1 && channel.step_g == 1) {
        combine_points<Value>(channel, SideBySide{}, SideBySide{});
    } else {
        combine_points<Value>(channel, channel.step, channel.step_g);
    }
}

constexpr BoxLoops box_loops{combine_channel<float>, combine_channel<double>, combine_channel<bf16>};

}  // namespace
}  // namespace xai::lrp
