// The stabilised division of layer-wise relevance propagation, element by element:
//
//     out = relevance / (z + eps * sign(z)),   sign(z) = -1 for z < 0, else +1 (so +1 for +0.0 and for -0.0)
//
// f32 and f64 are computed in their own type, bf16 in f32 and rounded once, to nearest even. `eps` is first rounded to
// the type computed in. Division is IEEE's: denormals are kept, x/0 is an infinity, 0/0 is a NaN. Every NaN of the
// result is the positive quiet NaN (0x7fc00000, 0x7ff8000000000000, 0x7fc0), because processors differ in the rest of
// its bits. So the reference, every instruction set, every number of threads and CUDA give the same bits.
//
// Preconditions, checked: n >= 0; eps >= 0 and finite in the type computed in; pointers aligned to their element and
// not null unless n is 0; dtype one of enum xai_dtype.
// Preconditions, not checked: each array holds n contiguous elements. `out` may be `relevance` or `z` itself, and must
// not overlap them otherwise.
//
// All return an xai_status; where it is not XAI_OK nothing was written and xai_last_error() has the words.
#pragma once

#include <stdint.h>

#include "common/dtype.h"
#include "common/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// The definition, in plain loops. For tests.
int xai_stabilised_divide_ref(int dtype, const void* relevance, const void* z, void* out, int64_t n, double eps);

// On at most `num_threads` (1 to 1024) threads, the caller's among them. Safe to call from several threads at once.
int xai_stabilised_divide_cpu(int dtype, const void* relevance, const void* z, void* out, int64_t n, double eps,
                              int num_threads);

// Only in builds with CUDA. Pointers are of `device`; the kernel is queued on `stream` (a cudaStream_t, null for the
// default one) and the call does not wait for it. Errors of the launch are returned, later ones are the stream's.
int xai_stabilised_divide_cuda(int dtype, const void* relevance, const void* z, void* out, int64_t n, double eps,
                               int device, void* stream);

#ifdef __cplusplus
}
#endif
