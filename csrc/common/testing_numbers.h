// For test programs: numbers of any element type as bits, drawn so that edges come up.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>

#include "common/bf16.h"
#include "common/testing.h"

namespace xai::testing {

inline std::uint16_t bits_of(std::uint16_t, float value) { return to_bf16(value).bits; }
inline std::uint32_t bits_of(std::uint32_t, float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline std::uint64_t bits_of(std::uint64_t, float value) {
    const bool smallest = std::abs(value) == std::numeric_limits<float>::denorm_min();
    const double wide = smallest ? std::copysign(std::numeric_limits<double>::denorm_min(), value)
                                 : static_cast<double>(value);
    std::uint64_t bits;
    std::memcpy(&bits, &wide, sizeof bits);
    return bits;
}

// Half random bits (so any number at all, NaNs with payloads among them), half numbers that matter.
template <typename Bits>
Bits random_number(std::mt19937_64& random) {
    constexpr float tiny = std::numeric_limits<float>::denorm_min();
    constexpr float huge = std::numeric_limits<float>::max();
    constexpr float infinity = std::numeric_limits<float>::infinity();
    constexpr float values[] = {0.0f, -0.0f, 1.0f, -1.0f, 0.3f,     -1e-3f,    2.0f,
                                tiny, -tiny, huge, -huge, infinity, -infinity, NAN};
    const std::uint64_t bits = random();
    return bits % 2 != 0 ? static_cast<Bits>(bits >> 3)
                         : bits_of(Bits{}, values[(bits >> 1) % (sizeof values / sizeof *values)]);
}

template <typename Bits>
void fill(Array<Bits>& array, std::mt19937_64& random) {
    for (std::size_t i = 0; i < array.size(); ++i) {
        array.data()[i] = random_number<Bits>(random);
    }
}

// Numbers between -1 and 1, and a sixteenth of them zeros: what sums are made of that do not end as NaN.
template <typename Bits>
void fill_ordinary(Array<Bits>& array, std::mt19937_64& random) {
    for (std::size_t i = 0; i < array.size(); ++i) {
        const auto number = static_cast<float>(static_cast<std::int32_t>(random() >> 32)) * 0x1p-31f;
        array.data()[i] = bits_of(Bits{}, random() % 16 == 0 ? 0.0f : number);
    }
}

// Holds `out` against `expected` and overwrites it, so that the next run cannot pass by writing nothing.
template <typename Bits>
void check_same_bits(Array<Bits>& out, const Array<Bits>& expected, const std::string& what) {
    const std::size_t bytes = out.size() * sizeof(Bits);
    check(bytes == 0 || std::memcmp(out.data(), expected.data(), bytes) == 0, what + ": bits differ from the reference");
    check(out.intact(), what + ": wrote outside the array");
    std::fill_n(out.data(), out.size(), Bits{0x5a});
}

}  // namespace xai::testing
