// The loops of every op that sums what it keeps, as each per-ISA file compiles them and kept_cpu.cpp chooses from them.
#pragma once

#include "common/kept_loops.h"
#include "lrp/elementwise_ops.h"

namespace xai::lrp {

struct KeptKernels {
#define XAI_LOOPS(name, Op) KeptLoops name;
    XAI_LRP_SHARES(XAI_LOOPS)
#undef XAI_LOOPS
};

extern const KeptKernels kept_baseline;
extern const KeptKernels kept_avx2;
extern const KeptKernels kept_avx512;

// Compiled into a per-ISA file: const KeptKernels kept_avx2{XAI_LRP_ALL_KEPT_LOOPS};
#define XAI_KEPT_LOOPS_OF(name, Op) kept_loops_of<Op>,
#define XAI_LRP_ALL_KEPT_LOOPS XAI_LRP_SHARES(XAI_KEPT_LOOPS_OF)

}  // namespace xai::lrp
