// The first layer of LRP where pixels are known to lie between two bounds a channel (z_box), from one transposed
// convolution with three sets of weights stacked: all, the positive ones, the negative ones.
//
//     out[k, i, c, p] = ((x[i, c, p] * g[k, i, c, p]) - (low[c] * g[k, i, C + c, p])) - (high[c] * g[k, i, 2 C + c, p])
//
// for target k, image i, channel c of C and pixel p.
//
// f32 and f64 are computed in their own type, bf16 in f32 and rounded once, to nearest even; low and high are of the
// type computed in. IEEE's operations in the order written; every NaN of the result is the positive quiet one. So the
// reference, every instruction set, every number of threads and CUDA give the same bits.
//
// Preconditions, checked: repeats >= 1; images, channels and points >= 0, and products that fit; pointers aligned to
// their element and not null unless the arrays are empty; dtype one of enum xai_dtype.
// Preconditions, not checked: each array is dense and holds as many elements as stated. `out` may be `x` itself where
// repeats is 1, and must not overlap the arrays otherwise.
#pragma once

#include <stdint.h>

#include "common/dtype.h"
#include "common/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xai_box_combine {
    int dtype;
    int channels_last;  // 0: [.., channels, points] in memory; 1: [.., points, channels]. Of x, g and out alike
    int64_t repeats;    // targets: g and out have as many blocks of `images`, x has one
    int64_t images;
    int64_t channels;
    int64_t points;
    const void* x;
    const void* g;
    const void* low;
    const void* high;
    void* out;
};

// As in common/elementwise.h: the definition; the CPU; CUDA, without waiting or allocating.
int xai_box_combine_ref(const struct xai_box_combine* call);
int xai_box_combine_cpu(const struct xai_box_combine* call, int num_threads);
int xai_box_combine_cuda(const struct xai_box_combine* call, int device, void* stream);

#ifdef __cplusplus
}
#endif
