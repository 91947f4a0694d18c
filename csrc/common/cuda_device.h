// What every CUDA op needs on the host side: the caller's device for the length of a scope, and errors in words.
#pragma once

#include <cuda_runtime_api.h>

#include "common/status.h"

namespace xai {

inline int check_cuda(cudaError_t error, const char* doing) {
    if (error == cudaSuccess) {
        return XAI_OK;
    }
    return fail(XAI_DEVICE_ERROR, "CUDA failed while %s: %s (%s)", doing, cudaGetErrorString(error),
                cudaGetErrorName(error));
}

// Makes `device` current and puts the caller's device back at the end; look at status() before launching.
class CudaDeviceScope {
public:
    explicit CudaDeviceScope(int device) {
        error_ = cudaGetDevice(&previous_);
        if (error_ == cudaSuccess && previous_ != device) {
            error_ = cudaSetDevice(device);
            changed_ = error_ == cudaSuccess;
        }
    }
    ~CudaDeviceScope() {
        if (changed_) {
            cudaSetDevice(previous_);
        }
    }
    CudaDeviceScope(const CudaDeviceScope&) = delete;
    CudaDeviceScope& operator=(const CudaDeviceScope&) = delete;

    int status() const { return check_cuda(error_, "selecting the device"); }

private:
    cudaError_t error_ = cudaSuccess;
    int previous_ = 0;
    bool changed_ = false;
};

}  // namespace xai
