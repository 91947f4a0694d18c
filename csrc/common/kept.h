// The C ABI of elementwise ops that also say how much of the relevance they did not share out, image by image. An op's
// own header writes down what that is for one element; this one says how elements are added up.
//
// An element's number is computed in f64: from the inputs and outputs as they lie in memory, so after rounding, and from
// the parameters as given. Those of one image, which are n / images neighbours, are cut into chunks of
// XAI_KEPT_CHUNK elements, the last one shorter. In a chunk XAI_KEPT_LANES sums start at +0, and sum j takes the
// chunk's elements j, j + XAI_KEPT_LANES, ... in that order. Then each of the first half of the sums is increased by its
// counterpart in the second half, each of the first quarter by its counterpart in the second one, and so on until one
// is left, the chunk's. Chunks' sums are added in order, starting at +0. Every NaN becomes the positive quiet one. This
// order is the same for the reference, every instruction set, every number of threads and CUDA, and so are the bits.
//
// Preconditions, checked: those of common/elementwise.h; images >= 1, and n a multiple of it; pointers.
// Not checked: that `kept` and `chunk_sums` hold as many numbers as stated and overlap no other array.
#pragma once

#include "common/elementwise.h"

enum { XAI_KEPT_CHUNK = 16384, XAI_KEPT_LANES = 256 };

#ifdef __cplusplus
extern "C" {
#endif

struct xai_kept {
    struct xai_elementwise shares;  // the op itself, whose outputs are the same bits as without the sums
    int64_t images;
    double* kept;        // [repeats, images]
    double* chunk_sums;  // workspace, [repeats, xai_kept_chunks(n, images)]; the reference does not touch it
};

// The number of chunks in n elements, 0 where n and images would be refused.
int64_t xai_kept_chunks(int64_t n, int64_t images);

#ifdef __cplusplus
}
#endif

#ifdef __cplusplus
namespace xai {
constexpr int64_t kept_chunk = XAI_KEPT_CHUNK;
constexpr int64_t kept_lanes = XAI_KEPT_LANES;
}
#endif

// The functions of an op, like those of common/elementwise.h.
#define XAI_DECLARE_KEPT(name)                                                                                 \
    XAI_ELEMENTWISE_LINKAGE int xai_##name##_and_kept_ref(const struct xai_kept* call);                        \
    XAI_ELEMENTWISE_LINKAGE int xai_##name##_and_kept_cpu(const struct xai_kept* call, int num_threads);       \
    XAI_ELEMENTWISE_LINKAGE int xai_##name##_and_kept_cuda(const struct xai_kept* call, int device, void* stream)
