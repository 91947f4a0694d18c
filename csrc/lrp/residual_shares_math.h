#pragma once

#include "common/elementwise_element.h"
#include "lrp/stab.h"

namespace xai::lrp {
namespace {

struct ResidualShares {
    static constexpr ElementwiseOp about{
        3, 2, 1, {{"relevance", true}, {"a", false}, {"b", false}}, {"r_a", "r_b"}, {{"eps", false}}};

    template <typename Value>
    struct Parameters {
        Computed<Value> eps;
    };

    template <typename Value, typename Real = Computed<Value>>
    XAI_HOST_DEVICE static Values<Real, 2> element(Real relevance, Real a, Real b, const Parameters<Value>& p) {
        const Real share = relevance / stab(a + b, p.eps);
        return {{a * share, b * share}};
    }

    XAI_HOST_DEVICE static double kept(const Values<double, 3>& in, const Values<double, 2>& out,
                                       const Parameters<double>&) {
        const auto [r_a, r_b] = out.at;
        return in.at[0] - (r_a + r_b);
    }
};

}  // namespace
}  // namespace xai::lrp
