#include "lrp/stabilise_loops.h"

const xai::lrp::StabiliseKernels xai::lrp::stabilise_avx2 = xai::lrp::loops;
