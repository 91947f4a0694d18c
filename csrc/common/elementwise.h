// The C ABI of every elementwise op. An op's own header says which inputs, outputs and parameters it has, in which
// order, and what it computes; this one says what all of them do with them.
//
// f32 and f64 are computed in their own type, bf16 in f32 and rounded once, to nearest even. Parameters are first
// rounded to the type computed in. Every operation is IEEE's, in the order in which the op's header writes it:
// denormals are kept, nothing is contracted. Every NaN of a result is the positive quiet NaN (0x7fc00000,
// 0x7ff8000000000000, 0x7fc0), because processors differ in the rest of its bits. So the reference, every instruction
// set, every number of threads and CUDA give the same bits.
//
// Preconditions, checked: n >= 0; repeats >= 1; parameters finite in the type computed in, and not negative where the
// op says so; pointers aligned to their element and not null unless n is 0; dtype one of enum xai_dtype.
// Preconditions, not checked: each array is contiguous and holds as many elements as stated. An output may be a
// repeated input itself, or any input where repeats is 1, and must not overlap the arrays otherwise.
#pragma once

#include <stdint.h>

#include "common/dtype.h"
#include "common/status.h"

enum { XAI_MOST_INPUTS = 3, XAI_MOST_OUTPUTS = 2, XAI_MOST_PARAMETERS = 3 };

#ifdef __cplusplus
extern "C" {
#endif

// Several targets share activations: inputs that the op repeats, and all outputs, have `repeats` blocks of n elements,
// one after another; other inputs have n elements, read again for each block.
struct xai_elementwise {
    int dtype;
    int64_t n;
    int64_t repeats;
    const void* inputs[XAI_MOST_INPUTS];
    void* outputs[XAI_MOST_OUTPUTS];
    double parameters[XAI_MOST_PARAMETERS];
};

#ifdef __cplusplus
}
#endif

// The three functions of an op. All return an xai_status; where it is not XAI_OK nothing was written and
// xai_last_error() has the words.
//   _ref   the definition, in plain loops; for tests
//   _cpu   on at most `num_threads` (1 to 1024) threads, the caller's among them; safe to call from several at once
//   _cuda  only in builds with CUDA. Pointers are of `device`; the kernel is queued on `stream` (a cudaStream_t, null
//          for the default one) and the call neither waits nor allocates, so that a CUDA graph can capture it. Errors
//          of the launch are returned, later ones are the stream's
#ifdef __cplusplus
#define XAI_ELEMENTWISE_LINKAGE extern "C"
#else
#define XAI_ELEMENTWISE_LINKAGE
#endif
#define XAI_DECLARE_ELEMENTWISE(name)                                                                                \
    XAI_ELEMENTWISE_LINKAGE int xai_##name##_ref(const struct xai_elementwise* call);                                \
    XAI_ELEMENTWISE_LINKAGE int xai_##name##_cpu(const struct xai_elementwise* call, int num_threads);               \
    XAI_ELEMENTWISE_LINKAGE int xai_##name##_cuda(const struct xai_elementwise* call, int device, void* stream)
