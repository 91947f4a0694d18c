// Reference, every instruction set, every number of threads and CUDA (where there is a device): the same bits.
// The reference itself is held against numbers worked out by hand.
#include "common/testing_device.h"
#include "common/testing_numbers.h"
#include "lrp/box_combine.h"

namespace {

using xai::testing::Array;
using xai::testing::check;

void agrees_with_numbers_by_hand() {
    const float x[] = {2, 3, 5, 7}, low[] = {-1, -10}, high[] = {1, 10};
    const float g_first[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};  // [3 · 2 channels, 2 points]
    const float first[] = {2 + 5 - 9, 6 + 6 - 10, 15 + 70 - 110, 28 + 80 - 120};
    const float g_last[] = {1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12};   // the same, [2 points, 3 · 2 channels]
    const float x_last[] = {2, 5, 3, 7}, last[] = {2 + 5 - 9, 15 + 70 - 110, 6 + 6 - 10, 28 + 80 - 120};
    float out[4];
    const xai_box_combine channels_first{XAI_F32, 0, 1, 1, 2, 2, x, g_first, low, high, out};
    check(xai_box_combine_ref(&channels_first) == XAI_OK && std::memcmp(out, first, sizeof out) == 0, "by hand");
    const xai_box_combine channels_last{XAI_F32, 1, 1, 1, 2, 2, x_last, g_last, low, high, out};
    check(xai_box_combine_ref(&channels_last) == XAI_OK && std::memcmp(out, last, sizeof out) == 0, "by hand, last");
}

struct Sizes {
    std::size_t repeats, images, channels, points;
    std::size_t image() const { return images * channels * points; }
};

template <typename Bits, typename ComputedBits>
class Case {
public:
    Case(int dtype, const Sizes& sizes, std::mt19937_64& random)
        : x_(sizes.image(), random() % 17),
          g_(sizes.repeats * sizes.image() * 3, random() % 17),
          expected_(sizes.repeats * sizes.image(), 0),
          low_(sizes.channels, random() % 17),
          high_(sizes.channels, random() % 17),
          call_{dtype,
                static_cast<int>(random() % 2),
                static_cast<std::int64_t>(sizes.repeats),
                static_cast<std::int64_t>(sizes.images),
                static_cast<std::int64_t>(sizes.channels),
                static_cast<std::int64_t>(sizes.points),
                x_.data(),
                g_.data(),
                low_.data(),
                high_.data(),
                expected_.data()} {
        fill(x_, random);
        fill(g_, random);
        fill(low_, random);
        fill(high_, random);
        out_.emplace_back(expected_.size(), random() % 17);
    }

    void run(bool with_cuda) {
        check(xai_box_combine_ref(&call_) == XAI_OK, name("reference"));
        call_.out = out_[0].data();
        xai::testing::on_every_cpu([&](int threads, const std::string& by) {
            compare(xai_box_combine_cpu(&call_, threads), by);
            if (call_.repeats == 1) {
                std::copy_n(x_.data(), x_.size(), out_[0].data());
                xai_box_combine in_place = call_;
                in_place.x = in_place.out;
                compare(xai_box_combine_cpu(&in_place, threads), by + ", in place");
            }
        });
#if XAIPIPE_HAS_CUDA
        if (with_cuda) {
            run_cuda(0);
            run_cuda(sizeof(Bits));
        }
#else
        static_cast<void>(with_cuda);
#endif
    }

private:
#if XAIPIPE_HAS_CUDA
    void run_cuda(std::size_t offset) {
        xai::testing::DeviceArrays device(offset), bounds(0);
        xai_box_combine call = call_;
        call.x = device.copy_of(x_);
        call.g = device.copy_of(g_);
        call.low = bounds.copy_of(low_);
        call.high = bounds.copy_of(high_);
        call.out = device.copy_of(out_[0]);
        const int status = xai_box_combine_cuda(&call, 0, nullptr);
        device.copy_back(out_);
        compare(status, "CUDA");
    }
#endif

    std::string name(const std::string& by) const {
        return by + ", dtype " + std::to_string(call_.dtype) + ", channels last " +
               std::to_string(call_.channels_last) + ", " + std::to_string(call_.repeats) + " × " +
               std::to_string(call_.images) + " × " + std::to_string(call_.channels) + " × " +
               std::to_string(call_.points);
    }
    void compare(int status, const std::string& by) {
        check(status == XAI_OK, name(by) + ": " + xai_last_error());
        check_same_bits(out_[0], expected_, name(by));
    }

    Array<Bits> x_, g_, expected_;
    Array<ComputedBits> low_, high_;
    std::vector<Array<Bits>> out_;
    xai_box_combine call_;
};

template <typename Bits, typename ComputedBits>
void fuzz(int dtype, bool with_cuda, std::mt19937_64& random) {
    for (int i = 0; i < 200; ++i) {
        const Sizes sizes{1 + random() % 3, random() % 4, random() % 5, xai::testing::random_size(random, 1500)};
        Case<Bits, ComputedBits>(dtype, sizes, random).run(with_cuda);
    }
    Case<Bits, ComputedBits>(dtype, {2, 2, 3, 40000}, random).run(with_cuda);
}

void refuses_broken_preconditions() {
    alignas(8) char bytes[64] = {};
    const xai_box_combine good{XAI_F32, 0, 1, 1, 1, 1, bytes, bytes, bytes, bytes, bytes + 32};
    const auto broken = [&](const std::string& words, const auto& change) {
        xai_box_combine call = good;
        change(call);
        xai::testing::refuses(xai_box_combine_cpu(&call, 1), words);
        xai::testing::refuses(xai_box_combine_ref(&call), words);
    };
    check(xai_box_combine_cpu(&good, 1) == XAI_OK, "a good call");
    broken("dtype: got code 9", [](auto& call) { call.dtype = 9; });
    broken("repeats: got 0", [](auto& call) { call.repeats = 0; });
    broken("images: got -1", [](auto& call) { call.images = -1; });
    broken("channels: got -1", [](auto& call) { call.channels = -1; });
    broken("points: got -1", [](auto& call) { call.points = -1; });
    broken("expected fewer", [](auto& call) { call.images = call.points = std::int64_t{1} << 40; });
    broken("x: got a null pointer", [](auto& call) { call.x = nullptr; });
    broken("g: got a null pointer", [](auto& call) { call.g = nullptr; });
    broken("low: got a null pointer", [](auto& call) { call.low = nullptr; });
    broken("high: got a null pointer", [](auto& call) { call.high = nullptr; });
    broken("out: got a null pointer", [](auto& call) { call.out = nullptr; });
    broken("low: got a pointer at", [&](auto& call) {
        call.dtype = XAI_BF16;
        call.low = bytes + 2;
    });
    xai::testing::refuses(xai_box_combine_cpu(&good, 0), "num_threads: got 0");
}

}  // namespace

int main() {
    const bool with_cuda = xai::testing::has_cuda_device();
    std::mt19937_64 random(20261121);
    agrees_with_numbers_by_hand();
    refuses_broken_preconditions();
    fuzz<std::uint32_t, std::uint32_t>(XAI_F32, with_cuda, random);
    fuzz<std::uint64_t, std::uint64_t>(XAI_F64, with_cuda, random);
    fuzz<std::uint16_t, std::uint32_t>(XAI_BF16, with_cuda, random);
    return xai::testing::finish();
}
