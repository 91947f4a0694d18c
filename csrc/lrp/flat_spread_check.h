// The checked preconditions of flat_spread.h, once for the reference, the CPU and CUDA.
#pragma once

#include <limits>
#include <string>

#include "common/checks.h"
#include "lrp/flat_spread.h"

namespace xai::lrp {

inline int check_between(const std::string& name, std::int64_t value, std::int64_t least) {
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
    return value <= most ? check_at_least(name.c_str(), value, least)
                         : fail(XAI_INVALID_ARGUMENT, "%s: got a number above %lld, expected a smaller one",
                                name.c_str(), static_cast<long long>(most));
}

inline int check_flat_geometry(const xai_flat_spread& call) {
    int status = check_between("batch", call.batch, 0);
    status = status == XAI_OK ? check_between("channels", call.channels, 0) : status;
    status = status == XAI_OK ? check_between("input_channels", call.input_channels, 1) : status;
    for (int axis = 0; status == XAI_OK && axis < 2; ++axis) {
        const std::string index = "[" + std::to_string(axis) + "]";
        status = check_between("size_out" + index, call.size_out[axis], 0);
        status = status == XAI_OK ? check_between("size_in" + index, call.size_in[axis], 0) : status;
        status = status == XAI_OK ? check_between("kernel" + index, call.kernel[axis], 1) : status;
        status = status == XAI_OK ? check_between("stride" + index, call.stride[axis], 1) : status;
        status = status == XAI_OK ? check_between("padding" + index, call.padding[axis], 0) : status;
        status = status == XAI_OK ? check_between("dilation" + index, call.dilation[axis], 1) : status;
    }
    const std::int64_t rows = call.size_out[0], columns = call.size_out[1], width = call.size_in[1];
    status = status == XAI_OK ? check_product({call.batch, call.channels, rows, columns}) : status;
    status = status == XAI_OK ? check_product({call.batch, rows, columns + width}) : status;
    status = status == XAI_OK ? check_product({call.batch, call.size_in[0], width}) : status;
    return status == XAI_OK ? check_product({call.kernel[0], call.kernel[1], call.input_channels}) : status;
}

inline std::int64_t flat_workspace(const xai_flat_spread& call) {
    return call.batch * call.size_out[0] * (call.size_out[1] + call.size_in[1]);
}

inline int check_flat_spread(const xai_flat_spread& call) {
    int status = check_dtype(call.dtype);
    status = status == XAI_OK ? check_flat_geometry(call) : status;
    if (status != XAI_OK) {
        return status;
    }
    const std::size_t size = element_size(call.dtype), computed = call.dtype == XAI_F64 ? 8 : 4;
    const std::int64_t cells = call.size_out[0] * call.size_out[1];
    status = check_pointer("relevance", call.relevance, call.batch * call.channels * cells, size);
    status = status == XAI_OK ? check_pointer("workspace", call.workspace, flat_workspace(call), computed) : status;
    const std::int64_t points = call.size_in[0] * call.size_in[1];
    return status == XAI_OK ? check_pointer("out", call.out, call.batch * points, size) : status;
}

}  // namespace xai::lrp
