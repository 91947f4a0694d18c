#include "common/checks.h"

#include <cinttypes>
#include <cmath>
#include <limits>

#include "common/dtype.h"
#include "common/status.h"

namespace xai {

int check_at_least(const char* name, std::int64_t value, std::int64_t least) {
    if (value < least) {
        return fail(XAI_INVALID_ARGUMENT, "%s: got %" PRId64 ", expected %" PRId64 " or more", name, value, least);
    }
    return XAI_OK;
}

int check_product(std::initializer_list<std::int64_t> factors) {
    std::int64_t room = std::numeric_limits<std::int64_t>::max() / 16;
    for (const std::int64_t factor : factors) {
        if (factor > room) {
            return fail(XAI_INVALID_ARGUMENT, "sizes: got more elements than memory has addresses, expected fewer");
        }
        room /= factor > 0 ? factor : 1;
    }
    return XAI_OK;
}

int check_threads(int num_threads) {
    if (num_threads < 1 || num_threads > max_threads) {
        return fail(XAI_INVALID_ARGUMENT, "num_threads: got %d, expected 1 to %d", num_threads, max_threads);
    }
    return XAI_OK;
}

int check_pointer(const char* name, const void* pointer, std::int64_t n, std::size_t alignment) {
    if (n > 0 && pointer == nullptr) {
        return fail(XAI_INVALID_ARGUMENT, "%s: got a null pointer, expected %" PRId64 " elements", name, n);
    }
    if (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0) {
        return fail(XAI_INVALID_ARGUMENT, "%s: got a pointer at %p, expected one aligned to its element of %zu bytes",
                    name, pointer, alignment);
    }
    return XAI_OK;
}

int check_dtype(int dtype) {
    if (dtype == XAI_F32 || dtype == XAI_F64 || dtype == XAI_BF16) {
        return XAI_OK;
    }
    return fail(XAI_INVALID_ARGUMENT, "dtype: got code %d, expected 0 (float32), 1 (float64) or 2 (bfloat16)", dtype);
}

std::size_t element_size(int dtype) { return dtype == XAI_F64 ? 8 : dtype == XAI_F32 ? 4 : 2; }

int check_finite(const char* name, double value, double rounded) {
    if (!std::isfinite(rounded)) {
        return fail(XAI_INVALID_ARGUMENT, "%s: got %g, expected a number finite in the type computed in", name, value);
    }
    return XAI_OK;
}

int check_not_negative(const char* name, double value, double rounded) {
    if (!(value >= 0.0) || !std::isfinite(rounded)) {
        return fail(XAI_INVALID_ARGUMENT, "%s: got %g, expected 0 or more and finite in the type computed in", name,
                    value);
    }
    return XAI_OK;
}

}  // namespace xai
