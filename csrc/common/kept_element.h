// One element of an op that sums what it keeps, shared by the CPU loops and the CUDA kernels. Besides what
// elementwise_element.h asks for, the op has
//   static double kept(const Values<double, inputs>&, const Values<double, outputs>&, const Parameters<double>&);
#pragma once

#include "common/elementwise_element.h"
#include "common/kept.h"

namespace xai {
namespace {

// A number as it will be read from memory, in f64; a NaN may still be any NaN.
XAI_HOST_DEVICE static inline double as_stored(float, float number) { return static_cast<double>(number); }
XAI_HOST_DEVICE static inline double as_stored(double, double number) { return number; }
XAI_HOST_DEVICE static inline double as_stored(bf16, float number) {
    return static_cast<double>(round_to_bf16(number));
}

}  // namespace
}  // namespace xai
