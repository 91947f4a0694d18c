#include "lrp/flat_spread_loops.h"

const xai::lrp::FlatLoops xai::lrp::flat_spread_baseline = xai::lrp::flat_loops;
