// The loop itself. Each per-ISA file compiles it with its own flags, so everything here has internal linkage.
#pragma once

#include <cstdint>

#include "lrp/stabilise_kernels.h"
#include "lrp/stabilise_math.h"

namespace xai::lrp {
namespace {

template <typename Value, typename Eps>
void divide_range(const Value* relevance, const Value* z, Value* out, std::int64_t n, Eps eps) {
    // `omp simd` rather than restrict: `out` may be one of the inputs.
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
        out[i] = stabilised_quotient(relevance[i], z[i], eps);
    }
}

constexpr StabiliseKernels loops{divide_range<float, float>, divide_range<double, double>,
                                 divide_range<xai::bf16, float>};

}  // namespace
}  // namespace xai::lrp
