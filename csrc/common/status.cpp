#include "common/status.h"

#include <cstdarg>
#include <cstdio>

namespace {

thread_local char last_error[512] = "";

}  // namespace

const char* xai_last_error(void) { return last_error; }

int xai::fail(xai_status status, const char* format, ...) {
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(last_error, sizeof last_error, format, arguments);
    va_end(arguments);
    return status;
}
