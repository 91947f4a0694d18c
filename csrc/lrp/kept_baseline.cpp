#include "lrp/kept_kernels.h"

const xai::lrp::KeptKernels xai::lrp::kept_baseline{XAI_LRP_ALL_KEPT_LOOPS};
