// For test programs: a failure counter, random bits, arrays at any offset from an aligned address.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/isa.h"

namespace xai::testing {

inline int failures = 0;

// Counts and prints a failure, the first twenty of them.
inline void check(bool holds, const std::string& what) {
    if (!holds && ++failures <= 20) {
        std::fprintf(stderr, "FAILED: %s\n", what.c_str());
    }
}

inline std::vector<std::string> isas_available() {
    std::vector<std::string> names;
    for (const char* name : isa_names) {
        if (xai_isa_available(name)) {
            names.emplace_back(name);
        }
    }
    return names;
}

// n elements that start `offset` elements after a 64-byte boundary: an offset of 1 is what vector code trips over.
template <typename Value>
class Array {
public:
    Array(std::size_t n, std::size_t offset) : storage_(n + offset + 64 / sizeof(Value)), n_(n) {
        const auto address = reinterpret_cast<std::uintptr_t>(storage_.data());
        const std::uintptr_t to_boundary = (64 - address % 64) % 64;
        first_ = to_boundary / sizeof(Value) + offset;
    }
    Value* data() { return storage_.data() + first_; }
    const Value* data() const { return storage_.data() + first_; }
    std::size_t size() const { return n_; }

private:
    std::vector<Value> storage_;
    std::size_t n_;
    std::size_t first_ = 0;
};

// A size in [0, limit], small ones often: they are where the edges lie.
inline std::size_t random_size(std::mt19937_64& random, std::size_t limit) {
    return random() % (1 + (random() % 4 == 0 ? limit : std::min<std::size_t>(limit, 70)));
}

}  // namespace xai::testing
