#include "common/isa.h"

#include <atomic>
#include <cstring>
#include <string>

#include "common/status.h"

namespace {

constexpr int automatic = -1;
std::atomic<int> forced{automatic};

// __builtin_cpu_supports asks the operating system (XGETBV) as well as the processor.
bool runs_here(std::size_t index) {
#if XAIPIPE_X86
    if (index == 1) {
        return __builtin_cpu_supports("avx2");
    }
    if (index == 2) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    }
#endif
    return index == 0;
}

std::size_t best_here() {
    std::size_t best = xai::isa_names.size() - 1;
    while (!runs_here(best)) {
        --best;
    }
    return best;
}

// isa_names.size() where there is no such name.
std::size_t index_of(const char* name) {
    std::size_t index = 0;
    while (index < xai::isa_names.size() && std::strcmp(xai::isa_names[index], name) != 0) {
        ++index;
    }
    return index;
}

std::string names_available() {
    std::string names = "auto";
    for (std::size_t index = 0; index < xai::isa_names.size(); ++index) {
        if (runs_here(index)) {
            names += std::string(", ") + xai::isa_names[index];
        }
    }
    return names;
}

}  // namespace

std::size_t xai::isa_index_in_use() {
    static const std::size_t best = best_here();
    const int choice = forced.load(std::memory_order_relaxed);
    return choice == automatic ? best : static_cast<std::size_t>(choice);
}

int xai_isa_available(const char* name) {
    const std::size_t index = index_of(name);
    return index < xai::isa_names.size() && runs_here(index);
}

const char* xai_isa_in_use(void) { return xai::isa_names[xai::isa_index_in_use()]; }

int xai_set_isa(const char* name) {
    if (std::strcmp(name, "auto") == 0) {
        forced = automatic;
        return XAI_OK;
    }
    if (!xai_isa_available(name)) {
        return xai::fail(XAI_INVALID_ARGUMENT, "instruction set: got '%.40s', expected one that runs here: %s", name,
                         names_available().c_str());
    }
    forced = static_cast<int>(index_of(name));
    return XAI_OK;
}
