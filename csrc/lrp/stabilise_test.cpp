// Reference, every instruction set, every number of threads and CUDA (where there is a device): the same bits.
#include "lrp/stabilise.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "common/bf16.h"
#include "common/testing.h"
#if XAIPIPE_HAS_CUDA
#include "common/testing_cuda.h"
#endif

namespace {

using xai::testing::Array;
using xai::testing::check;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float tiny = std::numeric_limits<float>::denorm_min();
constexpr float huge = std::numeric_limits<float>::max();

template <typename Bits>
struct Case {
    int dtype;
    Array<Bits> relevance, z, expected, out;
    double eps;

    Case(int dtype_, std::size_t n, std::size_t offset, double eps_)
        : dtype(dtype_), relevance(n, offset), z(n, offset / 2), expected(n, 0), out(n, offset / 3), eps(eps_) {}

    std::int64_t n() const { return static_cast<std::int64_t>(z.size()); }
    std::string name(const std::string& by) const {
        return by + ", dtype " + std::to_string(dtype) + ", n " + std::to_string(n()) + ", eps " + std::to_string(eps);
    }
    void compare(int status, const std::string& by) {
        check(status == XAI_OK, name(by) + ": " + xai_last_error());
        const bool same = n() == 0 || std::memcmp(out.data(), expected.data(), z.size() * sizeof(Bits)) == 0;
        check(same, name(by) + ": bits differ from the reference");
    }
};

std::uint16_t special(std::uint16_t, float value) { return xai::to_bf16(value).bits; }
std::uint32_t special(std::uint32_t, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
std::uint64_t special(std::uint64_t, float value) {
    const double wide = value == tiny ? std::numeric_limits<double>::denorm_min() : static_cast<double>(value);
    std::uint64_t bits;
    std::memcpy(&bits, &wide, sizeof bits);
    return bits;
}

// Half random bits (so any number at all, NaNs with payloads among them), half numbers that matter.
template <typename Bits>
void fill(Array<Bits>& array, std::mt19937_64& random) {
    constexpr float values[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.3f, -1e-3f, tiny, -tiny, huge, -huge, infinity, -infinity, NAN};
    for (std::size_t i = 0; i < array.size(); ++i) {
        const std::uint64_t bits = random();
        array.data()[i] = bits % 2 != 0 ? static_cast<Bits>(bits >> 3)
                                        : special(Bits{}, values[(bits >> 1) % (sizeof values / sizeof *values)]);
    }
}

template <typename Bits>
void run_cpu(Case<Bits>& c) {
    for (const std::string& isa : xai::testing::isas_available()) {
        check(xai_set_isa(isa.c_str()) == XAI_OK, isa);
        for (int threads : {1, 2, 3, 7}) {
            const int status = xai_stabilised_divide_cpu(c.dtype, c.relevance.data(), c.z.data(), c.out.data(), c.n(),
                                                         c.eps, threads);
            c.compare(status, isa + " with " + std::to_string(threads) + " threads");
        }
        std::copy_n(c.relevance.data(), c.z.size(), c.out.data());
        c.compare(xai_stabilised_divide_cpu(c.dtype, c.out.data(), c.z.data(), c.out.data(), c.n(), c.eps, 1),
                  isa + " in place");
    }
}

#if XAIPIPE_HAS_CUDA
template <typename Bits>
void run_cuda(Case<Bits>& c) {
    const std::size_t bytes = c.z.size() * sizeof(Bits);
    for (std::size_t offset : {std::size_t{0}, sizeof(Bits)}) {
        xai::testing::DeviceBytes relevance(bytes, offset), z(bytes, offset), out(bytes, offset);
        relevance.from_host(c.relevance.data());
        z.from_host(c.z.data());
        const int status = xai_stabilised_divide_cuda(c.dtype, relevance.data(), z.data(), out.data(), c.n(), c.eps, 0,
                                                      nullptr);
        out.to_host(c.out.data());
        c.compare(status, "CUDA");
    }
}
#endif

template <typename Bits>
void fuzz(int dtype, int cases, std::size_t limit, bool with_cuda, std::mt19937_64& random) {
    for (int i = 0; i < cases; ++i) {
        const double eps_values[] = {0.0, 1e-6, 0.25, 1e-45, 1e-320, 3e38};
        Case<Bits> c(dtype, xai::testing::random_size(random, limit), random() % 17, eps_values[random() % 6]);
        fill(c.relevance, random);
        fill(c.z, random);
        check(xai_stabilised_divide_ref(dtype, c.relevance.data(), c.z.data(), c.expected.data(), c.n(), c.eps) == XAI_OK,
              c.name("reference"));
        run_cpu(c);
#if XAIPIPE_HAS_CUDA
        if (with_cuda) {
            run_cuda(c);
        }
#else
        static_cast<void>(with_cuda);
#endif
    }
}

void defines_the_formula() {
    const float relevance[] = {1, 1, 1, 1, 1, -1, 0, 2, tiny};
    const float z[] = {0.0f, -0.0f, -1.0f, 1.0f, NAN, 0.0f, 0.0f, -infinity, 1.0f};
    const float with_eps[] = {4, 4, -0.8f, 0.8f, NAN, -4, 0, -0.0f, tiny};
    const float without[] = {infinity, infinity, -1, 1, NAN, -infinity, NAN, -0.0f, tiny};
    float out[9];
    for (const auto& [eps, expected] : {std::pair{0.25, with_eps}, std::pair{0.0, without}}) {
        check(xai_stabilised_divide_ref(XAI_F32, relevance, z, out, 9, eps) == XAI_OK, "reference");
        check(std::memcmp(out, expected, sizeof out) == 0, "the definition by hand, eps " + std::to_string(eps));
    }
}

void rounds_bf16_to_nearest_even() {
    const std::uint16_t relevance[] = {0x3f81, 0x3f80, 0x0003, 0x0005, 0x7f81, 0xffff};  // ties only among denormals
    const std::uint16_t z[] = {0x4000, 0x4040, 0x4000, 0x4000, 0x3f80, 0x3f80};          // 2, 3, 2, 2, 1, 1
    const std::uint16_t expected[] = {0x3f01, 0x3eab, 0x0002, 0x0002, 0x7fc0, 0x7fc0};
    std::uint16_t out[6];
    check(xai_stabilised_divide_ref(XAI_BF16, relevance, z, out, 6, 0.0) == XAI_OK, "reference");
    check(std::memcmp(out, expected, sizeof out) == 0, "bf16 by hand");
}

void refuses(int status, const std::string& words) {
    check(status == XAI_INVALID_ARGUMENT, "not refused: " + words);
    check(std::string(xai_last_error()).find(words) != std::string::npos,
          std::string(xai_last_error()) + " does not say: " + words);
}

void refuses_broken_preconditions() {
    alignas(8) char bytes[64] = {};
    const auto divide = [&](int dtype, const void* z, std::int64_t n, double eps, int threads) {
        return xai_stabilised_divide_cpu(dtype, bytes, z, bytes, n, eps, threads);
    };
    refuses(divide(9, bytes, 1, 0.1, 1), "dtype: got code 9");
    refuses(divide(XAI_F32, bytes, -1, 0.1, 1), "n: got -1");
    refuses(divide(XAI_F32, nullptr, 1, 0.1, 1), "z: got a null pointer");
    refuses(divide(XAI_F32, bytes + 1, 1, 0.1, 1), "expected one aligned to its element of 4 bytes");
    refuses(divide(XAI_F32, bytes, 1, -0.1, 1), "eps: got -0.1");
    refuses(divide(XAI_F32, bytes, 1, NAN, 1), "eps: got nan");
    refuses(divide(XAI_F32, bytes, 1, 1e39, 1), "eps: got 1e+39");
    refuses(divide(XAI_F64, bytes, 1, HUGE_VAL, 1), "eps: got inf");
    refuses(divide(XAI_F32, bytes, 1, 0.1, 0), "num_threads: got 0");
    refuses(xai_set_isa("mmx"), "instruction set: got 'mmx'");
    check(divide(XAI_F32, nullptr, 0, 0.1, 1) == XAI_OK, "null pointers of empty arrays");
}

bool has_cuda_device() {
#if XAIPIPE_HAS_CUDA
    const std::string reason = xai::testing::reason_to_skip_cuda();
    std::printf("CUDA: %s\n", reason.empty() ? "compared" : ("skipped, " + reason).c_str());
    return reason.empty();
#else
    std::printf("CUDA: not in this build\n");
    return false;
#endif
}

}  // namespace

int main() {
    const bool with_cuda = has_cuda_device();
    std::mt19937_64 random(20261120);
    defines_the_formula();
    rounds_bf16_to_nearest_even();
    refuses_broken_preconditions();
    for (const auto& [cases, limit] : {std::pair{300, std::size_t{3000}}, std::pair{4, std::size_t{300000}}}) {
        fuzz<std::uint32_t>(XAI_F32, cases, limit, with_cuda, random);
        fuzz<std::uint64_t>(XAI_F64, cases, limit, with_cuda, random);
        fuzz<std::uint16_t>(XAI_BF16, cases, limit, with_cuda, random);
    }
    for (const std::string& isa : xai::testing::isas_available()) {
        std::printf("CPU: compared %s\n", isa.c_str());
    }
    return xai::testing::failures == 0 ? 0 : 1;
}
