// Preconditions that several ops share. Each returns XAI_OK, or a status with words in xai_last_error().
#pragma once

#include <cstddef>
#include <cstdint>

namespace xai {

constexpr int max_threads = 1024;

int check_count(std::int64_t n);
int check_threads(int num_threads);
// Null is allowed for an empty array.
int check_pointer(const char* name, const void* pointer, std::int64_t n, std::size_t alignment);
// `eps` as given and `rounded` to the type that computes with it.
int check_epsilon(double eps, double rounded);
int unknown_dtype(int dtype);

}  // namespace xai
