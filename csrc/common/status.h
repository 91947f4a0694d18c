// How every function of the C ABI reports failure: a status, and words for it in xai_last_error().
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

enum xai_status {
    XAI_OK = 0,
    XAI_INVALID_ARGUMENT = 1,  // the caller broke a stated precondition
    XAI_DEVICE_ERROR = 2       // the CUDA runtime or driver refused
};

// Words for the last failure on this thread: what was got, what was expected. Never null.
const char* xai_last_error(void);

#ifdef __cplusplus
}

#if defined(__GNUC__)
#define XAI_PRINTF_LIKE __attribute__((format(printf, 2, 3)))
#else
#define XAI_PRINTF_LIKE
#endif

namespace xai {

// Stores the words for xai_last_error() and returns `status`, so that callers can `return fail(...)`.
int fail(xai_status status, const char* format, ...) XAI_PRINTF_LIKE;

}  // namespace xai
#endif
