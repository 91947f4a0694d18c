// The flat rule of LRP for a two-dimensional convolution without groups: each output cell divides its relevance equally
// among the input cells that its window covers, all input channels alike. Padding gets nothing.
//
// The window of output cell (oy, ox) covers rows oy * stride[0] - padding[0] + ky * dilation[0], ky = 0 .. kernel[0] - 1,
// and columns likewise; those outside the image are left out. With rows(oy) and columns(ox) the numbers of those inside:
//
//     sum[b, oy, ox]   = relevance[b, 0, oy, ox] + relevance[b, 1, oy, ox] + ...              channels in order
//     share[b, oy, ox] = sum[b, oy, ox] / (rows(oy) * columns(ox) * input_channels)           0 where that number is 0
//     across[b, oy, x] = share of the ox whose kernel column kx lies on x, summed over kx = 0, 1, ...
//     out[b, y, x]     = across of the oy whose kernel row ky lies on y, summed over ky = 0, 1, ...
//
// `out` is what one input channel receives. Each of input_channels channels receives the same, so that over all of them
// the relevance is conserved; only that of windows that lie in the padding altogether is lost.
//
// Sums start at +0 and are taken one by one in the order written, in the type computed in: f32 and f64 in their own, bf16
// in f32, rounded once at the end, to nearest even. The number that is divided by is rounded to that type. Every NaN of
// the result is the positive quiet one. So the reference, every instruction set, every number of threads and CUDA give
// the same bits.
//
// Preconditions, checked: sizes >= 0, kernel, stride, dilation and input_channels >= 1, padding >= 0, all of them at most
// 2^31 - 1, and products that fit; pointers aligned to their element and not null unless the arrays are empty; dtype one
// of enum xai_dtype.
// Preconditions, not checked: each array is dense and holds as many elements as stated, and none overlaps another.
#pragma once

#include <stdint.h>

#include "common/dtype.h"
#include "common/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xai_flat_spread {
    int dtype;
    int channels_last;       // 0: relevance is [batch, channels, size_out]; 1: [batch, size_out, channels]
    int64_t batch;           // images times targets
    int64_t channels;        // of the output
    int64_t input_channels;  // of the input
    int64_t size_out[2];     // rows and columns of the output, which is where relevance lies
    int64_t size_in[2];      // rows and columns of the input
    int64_t kernel[2];
    int64_t stride[2];
    int64_t padding[2];      // before the first row and the first column
    int64_t dilation[2];
    const void* relevance;
    void* workspace;         // xai_flat_spread_workspace elements of the type computed in
    void* out;               // [batch, size_in]
};

// Elements of the workspace: batch * size_out[0] * (size_out[1] + size_in[1]), 0 for sizes that would be refused.
int64_t xai_flat_spread_workspace(const struct xai_flat_spread* call);

// As in common/elementwise.h: the definition, which does not touch the workspace; the CPU; CUDA, without waiting or allocating.
int xai_flat_spread_ref(const struct xai_flat_spread* call);
int xai_flat_spread_cpu(const struct xai_flat_spread* call, int num_threads);
int xai_flat_spread_cuda(const struct xai_flat_spread* call, int device, void* stream);

#ifdef __cplusplus
}
#endif
