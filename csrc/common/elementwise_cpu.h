// Runs an elementwise op's loops on the CPU.
#pragma once

#include "common/elementwise_loops.h"

namespace xai {

int run_elementwise(const ElementwiseOp& op, const ElementwiseLoops& loops, const xai_elementwise& call,
                    int num_threads);

}  // namespace xai
