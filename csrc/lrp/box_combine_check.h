// The checked preconditions of box_combine.h, once for the reference, the CPU and CUDA; and where elements lie.
#pragma once

#include "common/checks.h"
#include "lrp/box_combine.h"

namespace xai::lrp {

inline int check_box_combine(const xai_box_combine& call) {
    int status = check_dtype(call.dtype);
    status = status == XAI_OK ? check_at_least("repeats", call.repeats, 1) : status;
    status = status == XAI_OK ? check_at_least("images", call.images, 0) : status;
    status = status == XAI_OK ? check_at_least("channels", call.channels, 0) : status;
    status = status == XAI_OK ? check_at_least("points", call.points, 0) : status;
    status = status == XAI_OK ? check_product({call.repeats, call.images, call.channels, call.points, 3}) : status;
    if (status != XAI_OK) {
        return status;
    }
    const std::size_t size = element_size(call.dtype);
    const std::size_t computed = call.dtype == XAI_F64 ? 8 : 4;
    const std::int64_t elements = call.images * call.channels * call.points;
    status = check_pointer("x", call.x, elements, size);
    status = status == XAI_OK ? check_pointer("g", call.g, elements, size) : status;
    status = status == XAI_OK ? check_pointer("low", call.low, elements, computed) : status;
    status = status == XAI_OK ? check_pointer("high", call.high, elements, computed) : status;
    return status == XAI_OK ? check_pointer("out", call.out, elements, size) : status;
}

}  // namespace xai::lrp
