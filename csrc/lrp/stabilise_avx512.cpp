#include "lrp/stabilise_loops.h"

const xai::lrp::StabiliseKernels xai::lrp::stabilise_avx512 = xai::lrp::loops;
