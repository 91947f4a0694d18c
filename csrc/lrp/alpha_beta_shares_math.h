#pragma once

#include "common/elementwise_element.h"
#include "lrp/stab.h"

namespace xai::lrp {
namespace {

// The c of the floor c * u * |z_plus|; alpha_beta_shares.h says what it is for.
constexpr int roundoffs_in_floor = 4;

template <typename Value>
constexpr double unit_roundoff = sizeof(Value) == 8 ? 0x1p-53 : sizeof(Value) == 4 ? 0x1p-24 : 0x1p-8;

struct AlphaBetaShares {
    static constexpr ElementwiseOp about{
        3, 2, 3,
        {{"relevance", true}, {"z", false}, {"z_plus", false}}, {"s_plus", "s_minus"},
        {{"alpha", true}, {"beta", true}, {"eps", false}}};

    template <typename Value>
    struct Parameters {
        Computed<Value> alpha, beta, eps;
    };

    template <typename Value, typename Real = Computed<Value>>
    XAI_HOST_DEVICE static Values<Real, 2> element(Real relevance, Real z, Real z_plus, const Parameters<Value>& p) {
        constexpr Real floor = static_cast<Real>(roundoffs_in_floor * unit_roundoff<Value>);
        const Real difference = z - z_plus;
        const Real z_minus = difference > Real(0) ? Real(0) : difference;  // a NaN stays one
        const Real magnitude = z_plus < Real(0) ? -z_plus : z_plus;
        return {{p.alpha * relevance / stab(z_plus, p.eps),
                 p.beta * relevance / ((z_minus - p.eps) - floor * magnitude)}};
    }
};

}  // namespace
}  // namespace xai::lrp
