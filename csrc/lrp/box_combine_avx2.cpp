#include "lrp/box_combine_loops.h"

const xai::lrp::BoxLoops xai::lrp::box_combine_avx2 = xai::lrp::box_loops;
