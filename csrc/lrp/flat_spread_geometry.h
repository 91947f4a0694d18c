// Which cells a window covers, along one axis. Shared by the CPU loops and CUDA; internal linkage, for the reason given
// in common/bf16.h.
#pragma once

#include "common/numbers.h"
#include "lrp/flat_spread.h"

namespace xai::lrp {

struct WindowAxis {
    std::int64_t size_out, size_in, kernel, stride, padding, dilation;
};

namespace {

static inline WindowAxis window_axis(const xai_flat_spread& call, int axis) {
    return {call.size_out[axis], call.size_in[axis],  call.kernel[axis],
            call.stride[axis],   call.padding[axis], call.dilation[axis]};
}

// The input cell under kernel position k of output cell o; it may lie outside.
XAI_HOST_DEVICE static inline std::int64_t cell_of(const WindowAxis& axis, std::int64_t o, std::int64_t k) {
    return o * axis.stride - axis.padding + k * axis.dilation;
}

// The output cell whose kernel position k lies on input cell i, or -1.
XAI_HOST_DEVICE static inline std::int64_t output_over(const WindowAxis& axis, std::int64_t i, std::int64_t k) {
    const std::int64_t distance = i + axis.padding - k * axis.dilation;
    const std::int64_t o = distance / axis.stride;
    return distance >= 0 && distance % axis.stride == 0 && o < axis.size_out ? o : -1;
}

// How many kernel positions of output cell o lie on cells of the input.
XAI_HOST_DEVICE static inline std::int64_t cells_inside(const WindowAxis& axis, std::int64_t o) {
    const std::int64_t first = cell_of(axis, o, 0);
    const std::int64_t left_out = first < 0 ? (-first + axis.dilation - 1) / axis.dilation : 0;
    const std::int64_t reached = first < axis.size_in ? (axis.size_in - 1 - first) / axis.dilation + 1 : 0;
    const std::int64_t last = reached < axis.kernel ? reached : axis.kernel;
    return last > left_out ? last - left_out : 0;
}

template <typename Real>
XAI_HOST_DEVICE static inline Real share_of(Real sum, std::int64_t cells) {
    return cells == 0 ? Real(0) : sum / static_cast<Real>(cells);
}

}  // namespace
}  // namespace xai::lrp
