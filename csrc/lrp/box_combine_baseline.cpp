#include "lrp/box_combine_loops.h"

const xai::lrp::BoxLoops xai::lrp::box_combine_baseline = xai::lrp::box_loops;
