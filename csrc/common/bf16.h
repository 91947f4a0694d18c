// bfloat16 as bits. Functions are static: each per-ISA file must keep its own copy, or the linker could hand
// AVX-512 code to a machine that has none.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define XAI_HOST_DEVICE __host__ __device__
#else
#define XAI_HOST_DEVICE
#endif

namespace xai {

struct bf16 {
    std::uint16_t bits;
};

XAI_HOST_DEVICE static inline float to_float(bf16 value) {
    const std::uint32_t bits = static_cast<std::uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof result);
    return result;
}

// To the nearest bf16, ties to even, as a float; every NaN becomes the positive quiet one.
XAI_HOST_DEVICE static inline float round_to_bf16(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t half_way = 0x7fffu + ((bits >> 16) & 1u);
    const std::uint32_t rounded = (bits + half_way) & 0xffff0000u;
    const std::uint32_t quiet = value != value ? 0x7fc00000u : rounded;
    float result;
    std::memcpy(&result, &quiet, sizeof result);
    return result;
}

XAI_HOST_DEVICE static inline bf16 to_bf16(float value) {
    const float rounded = round_to_bf16(value);
    std::uint32_t bits;
    std::memcpy(&bits, &rounded, sizeof bits);
    return bf16{static_cast<std::uint16_t>(bits >> 16)};
}

}  // namespace xai
