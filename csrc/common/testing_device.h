// For test programs: whether there is a CUDA device to compare with.
#pragma once

#include "common/testing.h"
#if XAIPIPE_HAS_CUDA
#include "common/testing_cuda.h"
#endif

namespace xai::testing {

// And says so.
inline bool has_cuda_device() {
#if XAIPIPE_HAS_CUDA
    const std::string reason = reason_to_skip_cuda();
    std::printf("CUDA: %s\n", reason.empty() ? "compared" : ("skipped, " + reason).c_str());
    return reason.empty();
#else
    std::printf("CUDA: not in this build\n");
    return false;
#endif
}

// The exit status of a test program.
inline int finish() {
    for (const std::string& isa : isas_available()) {
        std::printf("CPU: compared %s\n", isa.c_str());
    }
    return failures == 0 ? 0 : 1;
}

}  // namespace xai::testing
