// The checked preconditions of stabilise.h, once for the reference, the CPU and CUDA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/checks.h"
#include "common/dtype.h"
#include "common/status.h"

namespace xai::lrp {

inline int check_stabilised_divide(int dtype, const void* relevance, const void* z, const void* out, std::int64_t n,
                                   double eps) {
    if (dtype != XAI_F32 && dtype != XAI_F64 && dtype != XAI_BF16) {
        return unknown_dtype(dtype);
    }
    const std::size_t size = dtype == XAI_F64 ? 8 : dtype == XAI_F32 ? 4 : 2;
    const double rounded = dtype == XAI_F64 ? eps : static_cast<double>(static_cast<float>(eps));
    int status = check_count(n);
    status = status == XAI_OK ? check_epsilon(eps, rounded) : status;
    status = status == XAI_OK ? check_pointer("relevance", relevance, n, size) : status;
    status = status == XAI_OK ? check_pointer("z", z, n, size) : status;
    return status == XAI_OK ? check_pointer("out", out, n, size) : status;
}

}  // namespace xai::lrp
