// One element, shared by the CPU loops and the CUDA kernel, and the steps between elements.
#pragma once

#include <cstdint>

#include "common/numbers.h"

namespace xai::lrp {
namespace {

template <typename Real>
XAI_HOST_DEVICE static inline Real box_combined(Real x, Real g, Real g_plus, Real g_minus, Real low, Real high) {
    return (x * g - low * g_plus) - high * g_minus;
}

// Distances in elements within one image of `times` * channels channels.
struct BoxSteps {
    std::int64_t channel, point;
};

XAI_HOST_DEVICE static inline BoxSteps box_steps(bool channels_last, std::int64_t channels, std::int64_t points) {
    return channels_last ? BoxSteps{1, channels} : BoxSteps{points, 1};
}

}  // namespace
}  // namespace xai::lrp
