#include "common/kept_op.h"

#include <cinttypes>

#include "common/checks.h"

int xai::check_kept(const ElementwiseOp& op, const xai_kept& call) {
    const std::int64_t n = call.shares.n, repeats = call.shares.repeats, images = call.images;
    int status = check_elementwise(op, call.shares);
    status = status == XAI_OK ? check_at_least("images", images, 1) : status;
    status = status == XAI_OK ? check_product({repeats, images}) : status;
    if (status == XAI_OK && n % images != 0) {
        return fail(XAI_INVALID_ARGUMENT, "images: got %" PRId64 " for %" PRId64 " elements, expected a divisor of them",
                    images, n);
    }
    status = status == XAI_OK ? check_pointer("kept", call.kept, repeats * images, sizeof(double)) : status;
    if (status != XAI_OK) {
        return status;
    }
    return check_pointer("chunk_sums", call.chunk_sums, repeats * kept_chunks(n, images).count, sizeof(double));
}

int64_t xai_kept_chunks(int64_t n, int64_t images) {
    return n >= 0 && images >= 1 && n % images == 0 ? xai::kept_chunks(n, images).count : 0;
}
