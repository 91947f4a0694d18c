// Elements in memory and the type they are computed in, for CPU loops and CUDA kernels alike. Everything has internal
// linkage, for the reason given in common/bf16.h.
#pragma once

#include "common/bf16.h"
#include "common/dtype.h"

namespace xai {

// One function for each element type.
template <typename Function>
struct PerDtype {
    Function* f32;
    Function* f64;
    Function* bf16;

    Function* of(int dtype) const { return dtype == XAI_F32 ? f32 : dtype == XAI_F64 ? f64 : bf16; }
};

namespace {

template <typename Value>
struct ComputedIn {
    using Real = Value;
};
template <>
struct ComputedIn<bf16> {
    using Real = float;
};
template <typename Value>
using Computed = typename ComputedIn<Value>::Real;

XAI_HOST_DEVICE static inline float load(float value) { return value; }
XAI_HOST_DEVICE static inline double load(double value) { return value; }
XAI_HOST_DEVICE static inline float load(bf16 value) { return to_float(value); }

// Every NaN becomes the positive quiet one.
XAI_HOST_DEVICE static inline void store(float& target, float value) {
    target = value != value ? __builtin_nanf("") : value;
}
XAI_HOST_DEVICE static inline void store(double& target, double value) {
    target = value != value ? __builtin_nan("") : value;
}
XAI_HOST_DEVICE static inline void store(bf16& target, float value) { target = to_bf16(value); }

}  // namespace
}  // namespace xai
