// What drivers share: the checks of common/kept.h, and where chunks lie.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/elementwise_op.h"
#include "common/kept.h"

namespace xai {

int check_kept(const ElementwiseOp& op, const xai_kept& call);

// The chunks of one repeat, image after image.
struct KeptChunks {
    std::int64_t image_elements;
    std::int64_t per_image;
    std::int64_t count;
};

inline KeptChunks kept_chunks(std::int64_t n, std::int64_t images) {
    const std::int64_t image_elements = n / images;
    const std::int64_t per_image = (image_elements + kept_chunk - 1) / kept_chunk;
    return {image_elements, per_image, per_image * images};
}

}  // namespace xai
