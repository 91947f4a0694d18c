// Splits [0, n) into contiguous ranges, one a thread.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/float_environment.h"

namespace xai {

// Ranges of elements end on a multiple of this many, so that no two threads write to one cache line of an aligned array.
constexpr std::int64_t range_multiple = 64;

// Calls body(begin, end) on at most `num_threads` threads, each with at least `grain` elements and, but for the last one,
// a multiple of `multiple`.
// With one range the caller's own thread does it: no thread pool is touched, which keeps forked workers safe.
template <typename Body>
void parallel_ranges(std::int64_t n, std::int64_t grain, int num_threads, const Body& body,
                     std::int64_t multiple = range_multiple) {
    const int ranges = static_cast<int>(std::clamp<std::int64_t>(n / grain, 1, num_threads));
    if (ranges == 1) {
        const DefaultFloatEnvironment environment;
        body(std::int64_t{0}, n);
        return;
    }
    const std::int64_t share = (n + ranges - 1) / ranges;
    const std::int64_t length = (share + multiple - 1) / multiple * multiple;
#ifdef _OPENMP
#pragma omp parallel for schedule(static) num_threads(ranges)
#endif
    for (int range = 0; range < ranges; ++range) {
        const DefaultFloatEnvironment environment;
        const std::int64_t begin = std::min(n, range * length);
        body(begin, std::min(n, begin + length));
    }
}

}  // namespace xai
