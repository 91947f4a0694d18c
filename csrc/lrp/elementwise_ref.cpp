// The definitions, written down a second time and as plainly as can be, so that a slip in a math header shows.
#include "common/elementwise_ref.h"

#include <type_traits>

#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

namespace {

using namespace xai::lrp;
using xai::define_elementwise;

template <typename Real>
Real stabilised(Real z, Real eps) {
    const Real sign = z < 0 ? Real(-1) : Real(1);
    return z + eps * sign;
}

// std::min need not keep a NaN.
template <typename Real>
Real negative_part(Real value) {
    return value > 0 ? Real(0) : value;
}

}  // namespace

int xai_stabilised_divide_ref(const xai_elementwise* call) {
    return define_elementwise<StabilisedDivide>(*call, [](const auto& inputs, const auto& parameters, auto& outputs) {
        const auto [relevance, z] = inputs;
        outputs[0] = relevance / stabilised(z, parameters[0]);
    });
}

int xai_alpha_beta_shares_ref(const xai_elementwise* call) {
    const double roundoffs = call->dtype == XAI_F64 ? 8 * 0x1p-53 : call->dtype == XAI_F32 ? 8 * 0x1p-24 : 2 * 0x1p-8;
    return define_elementwise<AlphaBetaShares>(*call, [=](const auto& inputs, const auto& parameters, auto& outputs) {
        const auto [relevance, z, z_plus] = inputs;
        const auto [alpha, beta, eps] = parameters;
        const auto floor = static_cast<std::decay_t<decltype(z)>>(roundoffs) * std::abs(z_plus);
        outputs[0] = alpha * relevance / stabilised(z_plus, eps);
        outputs[1] = beta * relevance / (negative_part(z - z_plus) - eps - floor);
    });
}

int xai_gamma_shares_ref(const xai_elementwise* call) {
    return define_elementwise<GammaShares>(*call, [](const auto& inputs, const auto& parameters, auto& outputs) {
        const auto [relevance, z, z_plus] = inputs;
        const auto [gamma, eps] = parameters;
        if (z >= 0) {
            const auto share = relevance / stabilised(z + gamma * z_plus, eps);
            outputs[0] = share;
            outputs[1] = gamma * share;
        } else {
            const auto share = relevance / stabilised(z + gamma * (z - z_plus), eps);
            outputs[0] = (1 + gamma) * share;
            outputs[1] = -gamma * share;
        }
    });
}

int xai_multiply_combine_ref(const xai_elementwise* call) {
    return define_elementwise<MultiplyCombine>(*call, [](const auto& inputs, const auto& parameters, auto& outputs) {
        const auto [x, g1, g2] = inputs;
        const auto [a, b] = parameters;
        outputs[0] = x * (a * g1 + b * g2);
    });
}

int xai_residual_shares_ref(const xai_elementwise* call) {
    return define_elementwise<ResidualShares>(*call, [](const auto& inputs, const auto& parameters, auto& outputs) {
        const auto [relevance, a, b] = inputs;
        const auto share = relevance / stabilised(a + b, parameters[0]);
        outputs[0] = a * share;
        outputs[1] = b * share;
    });
}
