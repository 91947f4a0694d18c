#include "common/elementwise_cuda.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

#define XAI_DEFINE_CUDA(name, Op)                                                                             \
    int xai_##name##_cuda(const xai_elementwise* call, int device, void* stream) {                            \
        return xai::launch_elementwise<xai::lrp::Op>("launching " #name, *call, device, stream);              \
    }
XAI_LRP_ELEMENTWISE(XAI_DEFINE_CUDA)
