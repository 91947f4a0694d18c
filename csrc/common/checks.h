// Preconditions that several ops share. Each returns XAI_OK, or a status with words in xai_last_error().
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace xai {

constexpr int max_threads = 1024;

int check_at_least(const char* name, std::int64_t value, std::int64_t least);
// That the product of numbers that are not negative leaves room for offsets in bytes.
int check_product(std::initializer_list<std::int64_t> factors);
int check_threads(int num_threads);
// Null is allowed for an empty array.
int check_pointer(const char* name, const void* pointer, std::int64_t n, std::size_t alignment);
int check_dtype(int dtype);
// Bytes of an element of a dtype that check_dtype has let pass.
std::size_t element_size(int dtype);
// `value` as given and `rounded` to the type that computes with it.
int check_finite(const char* name, double value, double rounded);
int check_not_negative(const char* name, double value, double rounded);

}  // namespace xai
