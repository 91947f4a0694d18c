// Reference, every instruction set, every number of threads and CUDA (where there is a device): the same bits.
// The reference itself is held against numbers worked out by hand: what is kept of an element, and the order of sums.
#include <array>

#include "common/kept_testing.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

namespace {

using xai::testing::check;

#if XAIPIPE_HAS_CUDA
#define XAI_CUDA_OF(name) xai_##name##_and_kept_cuda
#else
#define XAI_CUDA_OF(name) nullptr
#endif
#define XAI_FUNCTIONS(name, Op)                                                                              \
    {#name, xai::lrp::Op::about, xai_##name##_ref, xai_##name##_and_kept_ref, xai_##name##_and_kept_cpu,     \
     XAI_CUDA_OF(name)},
const xai::testing::KeptFunctions ops[] = {XAI_LRP_SHARES(XAI_FUNCTIONS)};

using Function = int (*)(const xai_kept*);

// One element in float32.
void keeps(Function ref, std::array<float, 3> in, std::array<double, 3> parameters, double expected) {
    float out[2];
    double kept, chunk_sums;
    const xai_kept call{
        {XAI_F32, 1, 1, {&in[0], &in[1], &in[2]}, {out, out + 1}, {parameters[0], parameters[1], parameters[2]}},
        1, &kept, &chunk_sums};
    check(ref(&call) == XAI_OK, xai_last_error());
    check(kept == expected, "by hand: kept " + std::to_string(kept) + ", expected " + std::to_string(expected));
}

void keeps_what_is_not_shared_out() {
    keeps(xai_stabilised_divide_and_kept_ref, {8, 3}, {1}, 2);                     // 8 - 3 · 8/4
    keeps(xai_stabilised_divide_and_kept_ref, {8, -3}, {1}, 2);
    keeps(xai_stabilised_divide_and_kept_ref, {1, 3}, {0}, 1 - 3 * 0x1.555556p-2);  // what rounding 1/3 costs
    keeps(xai_alpha_beta_shares_and_kept_ref, {8, 0, 0}, {2, 1, 0.5}, 8);          // no contributions
    keeps(xai_alpha_beta_shares_and_kept_ref, {8, 3, 2}, {2, 0, 2}, 8);            // 16 - 2 · 16/4
    keeps(xai_alpha_beta_shares_and_kept_ref, {8, -2, 0}, {2, 1, 2}, 12);          // 8 - (0 - -2 · 8/-4)
    keeps(xai_gamma_shares_and_kept_ref, {6, 1, 3}, {0.5, 0.5}, 1);                // 6 - (1 · 2 + 3 · 1)
    keeps(xai_gamma_shares_and_kept_ref, {6, -1, 2}, {0.5, 0.5}, 1);               // 6 - (-1 · -3 + 2 · 1)
    keeps(xai_residual_shares_and_kept_ref, {8, 3, 0.75f}, {0.25}, 0.5);           // 8 - (6 + 1.5)
}

// Kept of an element with nothing to share out among is its relevance.
double sum_of(const std::vector<std::pair<std::size_t, float>>& relevance) {
    std::vector<float> numbers(3 * XAI_KEPT_CHUNK), zeros(numbers.size()), out(numbers.size());
    for (const auto& [index, number] : relevance) {
        numbers[index] = number;
    }
    double kept;
    std::vector<double> chunk_sums(3);
    const xai_kept call{{XAI_F32, 3 * XAI_KEPT_CHUNK, 1, {numbers.data(), zeros.data()}, {out.data()}, {1.0}},
                        1,
                        &kept,
                        chunk_sums.data()};
    check(xai_stabilised_divide_and_kept_ref(&call) == XAI_OK, xai_last_error());
    return kept;
}

void sums_in_the_order_that_the_header_says() {
    constexpr float big = 0x1p60f;  // adding 1 to it changes nothing
    constexpr std::size_t lanes = XAI_KEPT_LANES, chunk = XAI_KEPT_CHUNK;
    const auto is = [](const char* what, double got, double expected) {
        check(got == expected, std::string(what) + ": got " + std::to_string(got));
    };
    is("one lane, in order", sum_of({{0, big}, {lanes, 1.0f}, {2 * lanes, -big}}), 0);
    is("a lane of its own", sum_of({{0, big}, {1, 1.0f}, {2 * lanes, -big}}), 1);
    is("the halves first", sum_of({{0, big}, {1, 1.0f}, {lanes / 2, -big}}), 1);
    is("then the quarters", sum_of({{0, big}, {1, 1.0f}, {lanes / 4, -big}}), 1);
    is("the last two last", sum_of({{0, big}, {2, 1.0f}, {1, -big}}), 0);
    is("chunks in order", sum_of({{0, big}, {chunk, 1.0f}, {2 * chunk, -big}}), 0);
    is("chunks apart", sum_of({{0, big}, {chunk - lanes, -big}, {chunk, 1.0f}}), 1);
}

}  // namespace

int main() {
    const bool with_cuda = xai::testing::has_cuda_device();
    std::mt19937_64 random(20261123);
    keeps_what_is_not_shared_out();
    sums_in_the_order_that_the_header_says();
    for (const auto& op : ops) {
        xai::testing::refuses_broken_preconditions(op);
        xai::testing::fuzz_kept(op, with_cuda, random);
    }
    return xai::testing::finish();
}
