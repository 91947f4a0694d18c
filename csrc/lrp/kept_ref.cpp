// What each op keeps, written down a second time, so that a slip in a math header shows.
#include "common/kept_ref.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

namespace {

using namespace xai::lrp;
using xai::define_kept;

}  // namespace

int xai_stabilised_divide_and_kept_ref(const xai_kept* call) {
    return define_kept<StabilisedDivide>(*call, xai_stabilised_divide_ref, [](auto inputs, auto outputs, auto) {
        const auto [relevance, z] = inputs;
        return relevance - z * outputs[0];
    });
}

int xai_alpha_beta_shares_and_kept_ref(const xai_kept* call) {
    return define_kept<AlphaBetaShares>(*call, xai_alpha_beta_shares_ref, [](auto inputs, auto outputs, auto parameters) {
        const auto [relevance, z, z_plus] = inputs;
        const double due = relevance * (parameters[0] - parameters[1]);
        const double z_minus = z - z_plus > 0 ? 0.0 : z - z_plus;
        return due - (z_plus * outputs[0] - z_minus * outputs[1]);
    });
}

int xai_gamma_shares_and_kept_ref(const xai_kept* call) {
    return define_kept<GammaShares>(*call, xai_gamma_shares_ref, [](auto inputs, auto outputs, auto) {
        const auto [relevance, z, z_plus] = inputs;
        return relevance - (z * outputs[0] + z_plus * outputs[1]);
    });
}

int xai_residual_shares_and_kept_ref(const xai_kept* call) {
    return define_kept<ResidualShares>(*call, xai_residual_shares_ref, [](auto inputs, auto outputs, auto) {
        return inputs[0] - (outputs[0] + outputs[1]);
    });
}
