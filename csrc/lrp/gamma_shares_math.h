#pragma once

#include "common/elementwise_element.h"
#include "lrp/stab.h"

namespace xai::lrp {
namespace {

struct GammaShares {
    static constexpr ElementwiseOp about{
        3, 2, 2,
        {{"relevance", true}, {"z", false}, {"z_plus", false}}, {"s_w", "s_plus"}, {{"gamma", false}, {"eps", false}}};

    template <typename Value>
    struct Parameters {
        Computed<Value> gamma, eps;
    };

    template <typename Value, typename Real = Computed<Value>>
    XAI_HOST_DEVICE static Values<Real, 2> element(Real relevance, Real z, Real z_plus, const Parameters<Value>& p) {
        const bool positive = z >= Real(0);
        const Real favoured = positive ? z_plus : z - z_plus;
        const Real share = relevance / stab(z + p.gamma * favoured, p.eps);
        return {{(positive ? Real(1) : Real(1) + p.gamma) * share, (positive ? p.gamma : -p.gamma) * share}};
    }

    XAI_HOST_DEVICE static double kept(const Values<double, 3>& in, const Values<double, 2>& out,
                                       const Parameters<double>&) {
        const auto [relevance, z, z_plus] = in.at;
        const auto [s_w, s_plus] = out.at;
        return relevance - (z * s_w + z_plus * s_plus);
    }
};

}  // namespace
}  // namespace xai::lrp
