#pragma once

#include "common/elementwise_element.h"

namespace xai::lrp {
namespace {

struct MultiplyCombine {
    static constexpr ElementwiseOp about{
        3, 1, 2, {{"x", false}, {"g1", true}, {"g2", true}}, {"out"}, {{"a", true}, {"b", true}}};

    template <typename Value>
    struct Parameters {
        Computed<Value> a, b;
    };

    template <typename Value, typename Real = Computed<Value>>
    XAI_HOST_DEVICE static Values<Real, 1> element(Real x, Real g1, Real g2, const Parameters<Value>& p) {
        return {{x * (p.a * g1 + p.b * g2)}};
    }
};

}  // namespace
}  // namespace xai::lrp
