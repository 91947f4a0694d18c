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
};

}  // namespace
}  // namespace xai::lrp
