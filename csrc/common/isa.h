// Instruction sets with kernels of their own. The best one that this machine and its operating system run is used,
// unless the caller forces another. All give the same bits.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

// Names are "baseline", "avx2" and "avx512"; `name` may also be "auto", which means the best one here.
// Fails with XAI_INVALID_ARGUMENT for a name that is unknown, not compiled in, or not run by this machine.
// Holds for the whole process from the next call of a kernel on.
int xai_set_isa(const char* name);

// The name of the instruction set that the next call of a kernel uses.
const char* xai_isa_in_use(void);

// Not 0 where `name` is compiled in and runs on this machine.
int xai_isa_available(const char* name);

#ifdef __cplusplus
}

#include <array>
#include <cstddef>

namespace xai {

#if XAIPIPE_X86
constexpr std::array<const char*, 3> isa_names{"baseline", "avx2", "avx512"};
#else
constexpr std::array<const char*, 1> isa_names{"baseline"};
#endif

// One op's kernels in the order of `isa_names`; null where the op has none for an instruction set.
template <typename Kernels>
using PerIsa = std::array<const Kernels*, isa_names.size()>;

std::size_t isa_index_in_use();

// The op's kernels for the instruction set in use, or for the next lower one that the op has.
template <typename Kernels>
const Kernels& kernels_in_use(const PerIsa<Kernels>& kernels) {
    std::size_t index = isa_index_in_use();
    while (index > 0 && kernels[index] == nullptr) {
        --index;
    }
    return *kernels[index];
}

}  // namespace xai
#endif
