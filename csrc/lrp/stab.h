// The stabiliser of every rule: stab(z, eps) = z + eps * sign(z), sign(z) = -1 for z < 0, else +1 (so +1 for +0.0 and
// for -0.0). Static for the reason given in common/bf16.h.
#pragma once

#include "common/bf16.h"

namespace xai::lrp {

// Adding a chosen constant, instead of choosing between two sums, is what compilers turn into vector code.
template <typename Real>
XAI_HOST_DEVICE static inline Real stab(Real z, Real eps) {
    return z + (z < Real(0) ? -eps : eps);
}

}  // namespace xai::lrp
