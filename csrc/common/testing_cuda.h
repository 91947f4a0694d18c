// For test programs in builds with CUDA: whether there is a device, and arrays on it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "common/testing.h"

namespace xai::testing {

inline void check_runtime(cudaError_t error) { check(error == cudaSuccess, cudaGetErrorString(error)); }

// Why there is no device to test on; empty where there is one.
inline std::string reason_to_skip_cuda() {
    int devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&devices);
    if (error != cudaSuccess) {
        return cudaGetErrorString(error);
    }
    return devices == 0 ? "no device" : "";
}

// Bytes on the current device that start `offset` bytes after an aligned address.
class DeviceBytes {
public:
    DeviceBytes(std::size_t bytes, std::size_t offset) : bytes_(bytes), offset_(offset) {
        check_runtime(cudaMalloc(&base_, bytes + offset + 1));
    }
    ~DeviceBytes() { cudaFree(base_); }
    DeviceBytes(const DeviceBytes&) = delete;
    DeviceBytes& operator=(const DeviceBytes&) = delete;

    void* data() const { return static_cast<char*>(base_) + offset_; }
    void from_host(const void* source) {
        check_runtime(cudaMemcpy(data(), source, bytes_, cudaMemcpyHostToDevice));
    }
    void to_host(void* target) const {
        check_runtime(cudaMemcpy(target, data(), bytes_, cudaMemcpyDeviceToHost));
    }

private:
    void* base_ = nullptr;
    std::size_t bytes_;
    std::size_t offset_;
};

// Copies of host arrays, each `offset` bytes after an aligned address.
class DeviceArrays {
public:
    explicit DeviceArrays(std::size_t offset) : offset_(offset) {}

    template <typename Bits>
    void* copy_of(const Array<Bits>& array) {
        copies_.push_back(std::make_unique<DeviceBytes>(array.size() * sizeof(Bits), offset_));
        copies_.back()->from_host(array.data());
        return copies_.back()->data();
    }
    // The last copies made, as many as there are arrays.
    template <typename Bits>
    void copy_back(std::vector<Array<Bits>>& arrays) const {
        for (std::size_t i = 0; i < arrays.size(); ++i) {
            copies_[copies_.size() - arrays.size() + i]->to_host(arrays[i].data());
        }
    }

private:
    std::size_t offset_;
    std::vector<std::unique_ptr<DeviceBytes>> copies_;
};

}  // namespace xai::testing
