// Reference, every instruction set, every number of threads and CUDA (where there is a device): the same bits.
// The reference itself is held against numbers worked out by hand.
#include "common/testing_device.h"
#include "common/testing_numbers.h"
#include "lrp/flat_spread.h"

namespace {

using xai::testing::Array;
using xai::testing::check;

template <typename Bits>
std::vector<Array<Bits>> one_array(std::size_t n, std::size_t offset) {
    std::vector<Array<Bits>> arrays;
    arrays.emplace_back(n, offset);
    return arrays;
}

void agrees_with_numbers_by_hand() {
    // One row of 4 cells, kernel 3, stride 2, padding 1: the windows cover cells {0, 1} and {1, 2, 3}.
    const float relevance[] = {1, 6, 3, 3};  // [2 channels, 2 cells]
    float workspace[12], out[4];
    xai_flat_spread call{XAI_F32, 0, 1, 2, 1, {1, 2}, {1, 4}, {1, 3}, {1, 2}, {0, 1}, {1, 1}, relevance, workspace, out};
    const float one_channel[] = {2, 5, 3, 3};  // 4 / 2, then 9 / 3 beside it
    check(xai_flat_spread_ref(&call) == XAI_OK && std::memcmp(out, one_channel, sizeof out) == 0, "by hand");
    call.input_channels = 2;
    const float two_channels[] = {1, 2.5f, 1.5f, 1.5f};
    check(xai_flat_spread_ref(&call) == XAI_OK && std::memcmp(out, two_channels, sizeof out) == 0, "two channels");
    call.padding[1] = 4;  // the first window lies outside altogether, the second covers cell 0
    const float half_lost[] = {4.5f, 0, 0, 0};
    check(xai_flat_spread_ref(&call) == XAI_OK && std::memcmp(out, half_lost, sizeof out) == 0, "outside");
    check(xai_flat_spread_workspace(&call) == 6, "workspace");
}

struct Axis {
    std::int64_t size_out, size_in, kernel, stride, padding, dilation;
};

Axis random_axis(std::mt19937_64& random, std::int64_t most) {
    const auto up_to = [&](std::int64_t limit) { return static_cast<std::int64_t>(random() % (limit + 1)); };
    return {up_to(most), up_to(most), 1 + up_to(4), 1 + up_to(3), up_to(4), 1 + up_to(2)};
}

template <typename Bits, typename ComputedBits>
class Case {
public:
    Case(int dtype, std::int64_t batch, std::int64_t channels, const Axis& rows, const Axis& columns,
         std::mt19937_64& random)
        : call_{dtype,
                static_cast<int>(random() % 2),
                batch,
                channels,
                1 + static_cast<std::int64_t>(random() % 4),
                {rows.size_out, columns.size_out},
                {rows.size_in, columns.size_in},
                {rows.kernel, columns.kernel},
                {rows.stride, columns.stride},
                {rows.padding, columns.padding},
                {rows.dilation, columns.dilation},
                nullptr,
                nullptr,
                nullptr},
          relevance_(elements(batch * channels * rows.size_out * columns.size_out), random() % 17),
          expected_(elements(batch * rows.size_in * columns.size_in), 0),
          workspace_(one_array<ComputedBits>(elements(xai_flat_spread_workspace(&call_)), random() % 17)),
          out_(one_array<Bits>(expected_.size(), random() % 17)) {
        if (random() % 4 == 0) {
            fill(relevance_, random);
        } else {
            fill_ordinary(relevance_, random);
        }
        fill(workspace_[0], random);  // whatever is left there
        call_.relevance = relevance_.data();
        call_.workspace = workspace_[0].data();
        call_.out = expected_.data();
    }

    void run(bool with_cuda) {
        check(xai_flat_spread_ref(&call_) == XAI_OK, name("reference"));
        call_.out = out_[0].data();
        xai::testing::on_every_cpu(
            [&](int threads, const std::string& by) { compare(xai_flat_spread_cpu(&call_, threads), by); });
#if XAIPIPE_HAS_CUDA
        if (with_cuda) {
            run_cuda(0);
            run_cuda(sizeof(ComputedBits));
        }
#else
        static_cast<void>(with_cuda);
#endif
    }

private:
    static std::size_t elements(std::int64_t n) { return static_cast<std::size_t>(n); }

#if XAIPIPE_HAS_CUDA
    void run_cuda(std::size_t offset) {
        xai::testing::DeviceArrays device(offset);
        xai_flat_spread call = call_;
        call.relevance = device.copy_of(relevance_);
        call.workspace = device.copy_of(workspace_[0]);
        call.out = device.copy_of(out_[0]);
        const int status = xai_flat_spread_cuda(&call, 0, nullptr);
        device.copy_back(out_);
        compare(status, "CUDA");
    }
#endif

    std::string name(const std::string& by) const {
        std::string text = by + ", dtype " + std::to_string(call_.dtype) + ", channels last " +
                           std::to_string(call_.channels_last) + ", " + std::to_string(call_.batch) + " × " +
                           std::to_string(call_.channels);
        for (int axis = 0; axis < 2; ++axis) {
            text += "; out " + std::to_string(call_.size_out[axis]) + ", in " + std::to_string(call_.size_in[axis]) +
                    ", kernel " + std::to_string(call_.kernel[axis]) + ", stride " +
                    std::to_string(call_.stride[axis]) + ", padding " + std::to_string(call_.padding[axis]) +
                    ", dilation " + std::to_string(call_.dilation[axis]);
        }
        return text;
    }
    void compare(int status, const std::string& by) {
        check(status == XAI_OK, name(by) + ": " + xai_last_error());
        check_same_bits(out_[0], expected_, name(by));
        check(workspace_[0].intact(), name(by) + ": wrote outside the workspace");
    }

    xai_flat_spread call_;
    Array<Bits> relevance_, expected_;
    std::vector<Array<ComputedBits>> workspace_;
    std::vector<Array<Bits>> out_;
};

template <typename Bits, typename ComputedBits>
void fuzz(int dtype, bool with_cuda, std::mt19937_64& random) {
    const auto up_to = [&](std::int64_t limit) { return static_cast<std::int64_t>(random() % (limit + 1)); };
    for (int i = 0; i < 250; ++i) {
        const std::int64_t batch = up_to(3), channels = up_to(6);
        const Axis rows = random_axis(random, 12), columns = random_axis(random, 12);
        Case<Bits, ComputedBits>(dtype, batch, channels, rows, columns, random).run(with_cuda);
    }
    // Enough for several threads and several blocks of cells.
    Case<Bits, ComputedBits>(dtype, 2, 40, {3, 5, 3, 2, 1, 1}, {700, 701, 3, 1, 1, 1}, random).run(with_cuda);
    Case<Bits, ComputedBits>(dtype, 2, 40, {3, 8, 4, 2, 0, 1}, {350, 701, 3, 2, 1, 1}, random).run(with_cuda);
}

void refuses_broken_preconditions() {
    alignas(8) char bytes[64] = {};
    const xai_flat_spread good{XAI_F32,      0,      1,          1,     1, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {0, 0}, {1, 1},
                               bytes, bytes + 16, bytes + 32};
    const auto broken = [&](const std::string& words, const auto& change) {
        xai_flat_spread call = good;
        change(call);
        xai::testing::refuses(xai_flat_spread_cpu(&call, 1), words);
        xai::testing::refuses(xai_flat_spread_ref(&call), words);
    };
    check(xai_flat_spread_cpu(&good, 1) == XAI_OK, "a good call");
    broken("dtype: got code 9", [](auto& call) { call.dtype = 9; });
    broken("batch: got -1", [](auto& call) { call.batch = -1; });
    broken("channels: got -1", [](auto& call) { call.channels = -1; });
    broken("input_channels: got 0", [](auto& call) { call.input_channels = 0; });
    broken("size_out[1]: got -1", [](auto& call) { call.size_out[1] = -1; });
    broken("size_in[0]: got -1", [](auto& call) { call.size_in[0] = -1; });
    broken("kernel[0]: got 0", [](auto& call) { call.kernel[0] = 0; });
    broken("stride[1]: got 0", [](auto& call) { call.stride[1] = 0; });
    broken("padding[0]: got -1", [](auto& call) { call.padding[0] = -1; });
    broken("dilation[1]: got 0", [](auto& call) { call.dilation[1] = 0; });
    broken("size_in[1]: got a number above", [](auto& call) { call.size_in[1] = std::int64_t{1} << 40; });
    broken("more elements than memory", [](auto& call) { call.batch = call.size_out[0] = call.size_out[1] = 1 << 30; });
    broken("relevance: got a null pointer", [](auto& call) { call.relevance = nullptr; });
    broken("workspace: got a null pointer", [](auto& call) { call.workspace = nullptr; });
    broken("out: got a null pointer", [](auto& call) { call.out = nullptr; });
    broken("workspace: got a pointer at", [&](auto& call) {
        call.dtype = XAI_BF16;
        call.workspace = bytes + 2;
    });
    xai::testing::refuses(xai_flat_spread_cpu(&good, 0), "num_threads: got 0");
}

}  // namespace

int main() {
    const bool with_cuda = xai::testing::has_cuda_device();
    std::mt19937_64 random(20261122);
    agrees_with_numbers_by_hand();
    refuses_broken_preconditions();
    fuzz<std::uint32_t, std::uint32_t>(XAI_F32, with_cuda, random);
    fuzz<std::uint64_t, std::uint64_t>(XAI_F64, with_cuda, random);
    fuzz<std::uint16_t, std::uint32_t>(XAI_BF16, with_cuda, random);
    return xai::testing::finish();
}
