#include "lrp/elementwise_kernels.h"

const xai::lrp::ElementwiseKernels xai::lrp::elementwise_avx2{XAI_LRP_ALL_LOOPS};
