#include "lrp/stabilise_loops.h"

const xai::lrp::StabiliseKernels xai::lrp::stabilise_baseline = xai::lrp::loops;
