#include "lrp/flat_spread_loops.h"

const xai::lrp::FlatLoops xai::lrp::flat_spread_avx512 = xai::lrp::flat_loops;
