// One element, shared by the CPU loops and the CUDA kernel. Static for the reason given in common/bf16.h.
#pragma once

#include "common/bf16.h"

namespace xai::lrp {

XAI_HOST_DEVICE static inline float quiet_nan(float) { return __builtin_nanf(""); }
XAI_HOST_DEVICE static inline double quiet_nan(double) { return __builtin_nan(""); }

// Adding a chosen constant, instead of choosing between two sums, is what compilers turn into vector code.
template <typename Real>
XAI_HOST_DEVICE static inline Real stabilised_quotient(Real relevance, Real z, Real eps) {
    const Real quotient = relevance / (z + (z < Real(0) ? -eps : eps));
    return quotient != quotient ? quiet_nan(Real(0)) : quotient;
}

XAI_HOST_DEVICE static inline bf16 stabilised_quotient(bf16 relevance, bf16 z, float eps) {
    const float denominator = to_float(z);
    return to_bf16(to_float(relevance) / (denominator + (denominator < 0.0f ? -eps : eps)));
}

}  // namespace xai::lrp
