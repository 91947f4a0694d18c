// Runs the loops of an op that sums what it keeps on the CPU.
#pragma once

#include "common/kept_loops.h"
#include "common/kept_op.h"

namespace xai {

int run_kept(const ElementwiseOp& op, const KeptLoops& loops, const xai_kept& call, int num_threads);

}  // namespace xai
