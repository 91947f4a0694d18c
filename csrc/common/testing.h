// For test programs: a failure counter, random bits, arrays at any offset from an aligned address.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "common/isa.h"
#include "common/status.h"

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

// run(threads, words for it) with every instruction set and several numbers of threads.
template <typename Run>
void on_every_cpu(const Run& run) {
    for (const std::string& isa : isas_available()) {
        check(xai_set_isa(isa.c_str()) == XAI_OK, isa);
        for (int threads : {1, 2, 3, 7}) {
            run(threads, isa + " with " + std::to_string(threads) + " threads");
        }
    }
}

inline void refuses(int status, const std::string& words) {
    check(status == XAI_INVALID_ARGUMENT, "not refused: " + words);
    check(std::string(xai_last_error()).find(words) != std::string::npos,
          std::string(xai_last_error()) + " does not say: " + words);
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
    // Whether nobody wrote before the first element or behind the last.
    bool intact() const {
        const auto untouched = [this](std::size_t i) { return storage_[i] == Value{}; };
        bool all = true;
        for (std::size_t i = 0; i < first_; ++i) {
            all = all && untouched(i);
        }
        for (std::size_t i = first_ + n_; i < storage_.size(); ++i) {
            all = all && untouched(i);
        }
        return all;
    }

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
