#include "common/numbers.h"
#include "lrp/flat_spread_check.h"

namespace {

bool inside(const xai_flat_spread& call, int axis, std::int64_t output, std::int64_t k, std::int64_t cell) {
    return output * call.stride[axis] - call.padding[axis] + k * call.dilation[axis] == cell;
}

std::int64_t count_inside(const xai_flat_spread& call, int axis, std::int64_t output) {
    std::int64_t count = 0;
    for (std::int64_t k = 0; k < call.kernel[axis]; ++k) {
        for (std::int64_t cell = 0; cell < call.size_in[axis]; ++cell) {
            count += inside(call, axis, output, k, cell);
        }
    }
    return count;
}

// The sum over output cells that cover `cell` with kernel position 0, 1, ..., of their numbers.
template <typename Real, typename Number>
Real sum_over_windows(const xai_flat_spread& call, int axis, std::int64_t cell, const Number& number) {
    Real total = 0;
    for (std::int64_t k = 0; k < call.kernel[axis]; ++k) {
        for (std::int64_t output = 0; output < call.size_out[axis]; ++output) {
            if (inside(call, axis, output, k, cell)) {
                total += number(output);
            }
        }
    }
    return total;
}

template <typename Value>
void spread(const xai_flat_spread& call) {
    using Real = xai::Computed<Value>;
    const auto share = [&](std::int64_t image, std::int64_t oy, std::int64_t ox) {
        const std::int64_t cells = call.size_out[0] * call.size_out[1], cell = oy * call.size_out[1] + ox;
        Real sum = 0;
        for (std::int64_t c = 0; c < call.channels; ++c) {
            const std::int64_t place = call.channels_last != 0 ? (image * cells + cell) * call.channels + c
                                                               : (image * call.channels + c) * cells + cell;
            sum += xai::load(static_cast<const Value*>(call.relevance)[place]);
        }
        const std::int64_t among = count_inside(call, 0, oy) * count_inside(call, 1, ox) * call.input_channels;
        return among == 0 ? Real(0) : sum / static_cast<Real>(among);
    };
    auto* out = static_cast<Value*>(call.out);
    for (std::int64_t image = 0; image < call.batch; ++image) {
        for (std::int64_t y = 0; y < call.size_in[0]; ++y) {
            for (std::int64_t x = 0; x < call.size_in[1]; ++x) {
                const Real total = sum_over_windows<Real>(call, 0, y, [&](std::int64_t oy) {
                    return sum_over_windows<Real>(call, 1, x, [&](std::int64_t ox) { return share(image, oy, ox); });
                });
                xai::store(out[(image * call.size_in[0] + y) * call.size_in[1] + x], total);
            }
        }
    }
}

}  // namespace

int xai_flat_spread_ref(const xai_flat_spread* call) {
    if (const int status = xai::lrp::check_flat_spread(*call)) {
        return status;
    }
    xai::PerDtype<void(const xai_flat_spread&)>{spread<float>, spread<double>, spread<xai::bf16>}.of(call->dtype)(*call);
    return XAI_OK;
}
