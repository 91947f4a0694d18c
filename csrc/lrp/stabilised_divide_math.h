#pragma once

#include "common/elementwise_element.h"
#include "lrp/stab.h"

namespace xai::lrp {
namespace {

struct StabilisedDivide {
    static constexpr ElementwiseOp about{
        2, 1, 1, {{"relevance", true}, {"z", false}}, {"out"}, {{"eps", false}}};

    template <typename Value>
    struct Parameters {
        Computed<Value> eps;
    };

    template <typename Value, typename Real = Computed<Value>>
    XAI_HOST_DEVICE static Values<Real, 1> element(Real relevance, Real z, const Parameters<Value>& p) {
        return {{relevance / stab(z, p.eps)}};
    }
};

}  // namespace
}  // namespace xai::lrp
