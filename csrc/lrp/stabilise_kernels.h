// The table of loops that each per-ISA file fills and stabilise_cpu.cpp chooses from.
#pragma once

#include <cstdint>

#include "common/bf16.h"

namespace xai::lrp {

struct StabiliseKernels {
    void (*f32)(const float* relevance, const float* z, float* out, std::int64_t n, float eps);
    void (*f64)(const double* relevance, const double* z, double* out, std::int64_t n, double eps);
    void (*bf16)(const xai::bf16* relevance, const xai::bf16* z, xai::bf16* out, std::int64_t n, float eps);
};

extern const StabiliseKernels stabilise_baseline;
extern const StabiliseKernels stabilise_avx2;
extern const StabiliseKernels stabilise_avx512;

}  // namespace xai::lrp
