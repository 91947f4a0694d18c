#include <cmath>
#include <limits>

#include "common/bf16.h"
#include "lrp/stabilise.h"
#include "lrp/stabilise_check.h"

namespace {

template <typename Real>
Real divide(Real relevance, Real z, Real eps) {
    const Real sign = z < 0 ? Real(-1) : Real(1);
    const Real quotient = relevance / (z + eps * sign);
    return std::isnan(quotient) ? std::numeric_limits<Real>::quiet_NaN() : quotient;
}

template <typename Real>
void divide_all(const void* relevance, const void* z, void* out, std::int64_t n, double eps) {
    for (std::int64_t i = 0; i < n; ++i) {
        static_cast<Real*>(out)[i] =
            divide(static_cast<const Real*>(relevance)[i], static_cast<const Real*>(z)[i], static_cast<Real>(eps));
    }
}

void divide_all_bf16(const void* relevance, const void* z, void* out, std::int64_t n, double eps) {
    for (std::int64_t i = 0; i < n; ++i) {
        const float numerator = xai::to_float(static_cast<const xai::bf16*>(relevance)[i]);
        const float denominator = xai::to_float(static_cast<const xai::bf16*>(z)[i]);
        static_cast<xai::bf16*>(out)[i] = xai::to_bf16(divide(numerator, denominator, static_cast<float>(eps)));
    }
}

}  // namespace

int xai_stabilised_divide_ref(int dtype, const void* relevance, const void* z, void* out, int64_t n, double eps) {
    if (const int status = xai::lrp::check_stabilised_divide(dtype, relevance, z, out, n, eps)) {
        return status;
    }
    if (dtype == XAI_F32) {
        divide_all<float>(relevance, z, out, n, eps);
    } else if (dtype == XAI_F64) {
        divide_all<double>(relevance, z, out, n, eps);
    } else {
        divide_all_bf16(relevance, z, out, n, eps);
    }
    return XAI_OK;
}
