#include "lrp/box_combine_loops.h"

const xai::lrp::BoxLoops xai::lrp::box_combine_avx512 = xai::lrp::box_loops;
