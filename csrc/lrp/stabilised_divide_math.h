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

    XAI_HOST_DEVICE static double kept(const Values<double, 2>& in, const Values<double, 1>& out,
                                       const Parameters<double>&) {
        const auto [relevance, z] = in.at;
        const auto [s] = out.at;
        return relevance - z * s;
    }
};

}  // namespace
}  // namespace xai::lrp
