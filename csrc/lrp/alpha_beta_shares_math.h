#pragma once

#include "common/elementwise_element.h"
#include "lrp/stab.h"

namespace xai::lrp {
namespace {

// What z - z_plus is not known better than, as a part of z_plus; alpha_beta_shares.h says how it was found.
template <typename Value>
constexpr double floor_of = sizeof(Value) == 8 ? 0x1p-50 : sizeof(Value) == 4 ? 0x1p-21 : 0x1p-7;

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
        constexpr Real floor = static_cast<Real>(floor_of<Value>);
        const Real difference = z - z_plus;
        const Real z_minus = difference > Real(0) ? Real(0) : difference;  // a NaN stays one
        const Real magnitude = z_plus < Real(0) ? -z_plus : z_plus;
        return {{p.alpha * relevance / stab(z_plus, p.eps),
                 p.beta * relevance / ((z_minus - p.eps) - floor * magnitude)}};
    }

    XAI_HOST_DEVICE static double kept(const Values<double, 3>& in, const Values<double, 2>& out,
                                       const Parameters<double>& p) {
        const auto [relevance, z, z_plus] = in.at;
        const auto [s_plus, s_minus] = out.at;
        const double difference = z - z_plus;
        const double z_minus = difference > 0.0 ? 0.0 : difference;
        return relevance * (p.alpha - p.beta) - (z_plus * s_plus - z_minus * s_minus);
    }
};

}  // namespace
}  // namespace xai::lrp
