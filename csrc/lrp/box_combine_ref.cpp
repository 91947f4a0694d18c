#include "common/numbers.h"
#include "lrp/box_combine_check.h"

namespace {

template <typename Value>
void combine_all(const xai_box_combine& call) {
    using Real = xai::Computed<Value>;
    const std::int64_t channels = call.channels, points = call.points;
    const auto place = [&](std::int64_t image, std::int64_t channel, std::int64_t point, std::int64_t of_channels) {
        return call.channels_last != 0 ? (image * points + point) * of_channels + channel
                                       : (image * of_channels + channel) * points + point;
    };
    for (std::int64_t image = 0; image < call.repeats * call.images; ++image) {
        for (std::int64_t c = 0; c < channels; ++c) {
            for (std::int64_t p = 0; p < points; ++p) {
                const auto g = [&](std::int64_t channel) {
                    return xai::load(static_cast<const Value*>(call.g)[place(image, channel, p, 3 * channels)]);
                };
                const Real x = xai::load(static_cast<const Value*>(call.x)[place(image % call.images, c, p, channels)]);
                const Real low = static_cast<const Real*>(call.low)[c], high = static_cast<const Real*>(call.high)[c];
                const Real combined = x * g(c) - low * g(channels + c) - high * g(2 * channels + c);
                xai::store(static_cast<Value*>(call.out)[place(image, c, p, channels)], combined);
            }
        }
    }
}

}  // namespace

int xai_box_combine_ref(const xai_box_combine* call) {
    if (const int status = xai::lrp::check_box_combine(*call)) {
        return status;
    }
    xai::PerDtype<void(const xai_box_combine&)>{combine_all<float>, combine_all<double>, combine_all<xai::bf16>}.of(
        call->dtype)(*call);
    return XAI_OK;
}
