// The loops of every op, as each per-ISA file compiles them and elementwise_cpu.cpp chooses from them.
#pragma once

#include "common/elementwise_loops.h"
#include "lrp/elementwise_ops.h"

namespace xai::lrp {

struct ElementwiseKernels {
#define XAI_LOOPS(name, Op) ElementwiseLoops name;
    XAI_LRP_ELEMENTWISE(XAI_LOOPS)
#undef XAI_LOOPS
};

extern const ElementwiseKernels elementwise_baseline;
extern const ElementwiseKernels elementwise_avx2;
extern const ElementwiseKernels elementwise_avx512;

// Compiled into a per-ISA file: const ElementwiseKernels elementwise_avx2{XAI_LRP_ALL_LOOPS};
#define XAI_LOOPS_OF(name, Op) loops_of<Op>,
#define XAI_LRP_ALL_LOOPS XAI_LRP_ELEMENTWISE(XAI_LOOPS_OF)

}  // namespace xai::lrp
