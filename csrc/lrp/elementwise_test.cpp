// Reference, every instruction set, every number of threads and CUDA (where there is a device): the same bits.
// The reference itself is held against numbers worked out by hand.
#include <limits>

#include "common/elementwise_testing.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

namespace {

using xai::testing::check;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float tiny = std::numeric_limits<float>::denorm_min();

#if XAIPIPE_HAS_CUDA
#define XAI_CUDA_OF(name) xai_##name##_cuda
#else
#define XAI_CUDA_OF(name) nullptr
#endif
#define XAI_FUNCTIONS(name, Op) \
    {#name, xai::lrp::Op::about, xai_##name##_ref, xai_##name##_cpu, XAI_CUDA_OF(name)},
const xai::testing::ElementwiseFunctions ops[] = {XAI_LRP_ELEMENTWISE(XAI_FUNCTIONS)};

// One element in float32, at most two outputs.
struct ByHand {
    int (*ref)(const xai_elementwise*);
    float inputs[3];
    double parameters[3];
    float expected[2];
    int outputs;
};

void agrees(const ByHand& hand) {
    float out[2];
    const float* in = hand.inputs;
    const xai_elementwise call{XAI_F32,
                               1,
                               1,
                               {in, in + 1, in + 2},
                               {out, out + 1},
                               {hand.parameters[0], hand.parameters[1], hand.parameters[2]}};
    check(hand.ref(&call) == XAI_OK, xai_last_error());
    const bool same = std::memcmp(out, hand.expected, sizeof(float) * static_cast<std::size_t>(hand.outputs)) == 0;
    check(same, "by hand: got " + std::to_string(out[0]) + " and " + std::to_string(out[1]) + ", expected " +
                    std::to_string(hand.expected[0]) + " and " + std::to_string(hand.expected[1]));
}

void divides() {
    const float relevance[] = {1, 1, 1, 1, 1, -1, 0, 2, tiny};
    const float z[] = {0.0f, -0.0f, -1.0f, 1.0f, NAN, 0.0f, 0.0f, -infinity, 1.0f};
    const float with_eps[] = {4, 4, -0.8f, 0.8f, NAN, -4, 0, -0.0f, tiny};
    const float without[] = {infinity, infinity, -1, 1, NAN, -infinity, NAN, -0.0f, tiny};
    for (std::size_t i = 0; i < 9; ++i) {
        agrees({xai_stabilised_divide_ref, {relevance[i], z[i]}, {0.25}, {with_eps[i]}, 1});
        agrees({xai_stabilised_divide_ref, {relevance[i], z[i]}, {0.0}, {without[i]}, 1});
    }
}

void shares_alpha_beta() {
    const auto ref = xai_alpha_beta_shares_ref;
    agrees({ref, {3, 1, 3}, {2, 1, 1}, {1.5f, 3 / (-3 - 0x1.8p-20f)}, 2});  // 6 / 4; floor: 8 u · 3
    agrees({ref, {1, 2, 2}, {2, 1, 0}, {1, -0x1p20f}, 2});               // nothing negative: the floor, 8 u · 2
    agrees({ref, {1, 3, 2}, {2, 1, 0}, {1, -0x1p20f}, 2});               // more than all that is positive: as nothing
    agrees({ref, {1, 0, 0}, {2, 1, 0.5}, {4, -2}, 2});                   // no contributions at all
    agrees({ref, {1, NAN, 2}, {2, 1, 0}, {1, NAN}, 2});
}

void shares_gamma() {
    const auto ref = xai_gamma_shares_ref;
    agrees({ref, {6, 1, 3}, {0.5, 0.5}, {2, 1}, 2});                     // 6 / (1 + 1.5 + 0.5)
    agrees({ref, {6, -1, 2}, {0.5, 0.5}, {-3, 1}, 2});                   // 6 / (-1 - 1.5 - 0.5) = -2; 1.5 · -2
    agrees({ref, {1, -0.0f, 2}, {0.5, 0}, {1, 0.5f}, 2});                // -0 counts as positive
    agrees({ref, {1, NAN, 2}, {0.5, 0}, {NAN, NAN}, 2});
}

void combines() {
    agrees({xai_multiply_combine_ref, {2, 3, 5}, {1, -1}, {-4}, 1});
    agrees({xai_multiply_combine_ref, {0, infinity, 1}, {1, 1}, {NAN}, 1});
}

void splits_residuals() {
    agrees({xai_residual_shares_ref, {8, 3, 0.75f}, {0.25}, {6, 1.5f}, 2});
    agrees({xai_residual_shares_ref, {8, 1, -1}, {0.5}, {16, -16}, 2});  // a sum of zero counts as positive
}

void rounds_bf16_to_nearest_even() {
    const std::uint16_t relevance[] = {0x3f81, 0x3f80, 0x0003, 0x0005, 0x7f81, 0xffff};  // ties only among denormals
    const std::uint16_t z[] = {0x4000, 0x4040, 0x4000, 0x4000, 0x3f80, 0x3f80};          // 2, 3, 2, 2, 1, 1
    const std::uint16_t expected[] = {0x3f01, 0x3eab, 0x0002, 0x0002, 0x7fc0, 0x7fc0};
    std::uint16_t out[6];
    const xai_elementwise call{XAI_BF16, 6, 1, {relevance, z}, {out}, {0.0}};
    check(xai_stabilised_divide_ref(&call) == XAI_OK, "reference");
    check(std::memcmp(out, expected, sizeof out) == 0, "bf16 by hand");
}

}  // namespace

int main() {
    const bool with_cuda = xai::testing::has_cuda_device();
    std::mt19937_64 random(20261120);
    divides();
    shares_alpha_beta();
    shares_gamma();
    combines();
    splits_residuals();
    rounds_bf16_to_nearest_even();
    xai::testing::refuses(xai_set_isa("mmx"), "instruction set: got 'mmx'");
    for (const auto& op : ops) {
        xai::testing::refuses_broken_preconditions(op);
        xai::testing::fuzz_elementwise(op, with_cuda, random);
    }
    return xai::testing::finish();
}
