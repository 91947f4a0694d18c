#include "common/kept_cuda.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

#define XAI_DEFINE_CUDA(name, Op)                                                                             \
    int xai_##name##_and_kept_cuda(const xai_kept* call, int device, void* stream) {                          \
        return xai::launch_kept<xai::lrp::Op>("launching " #name "_and_kept", *call, device, stream);         \
    }
XAI_LRP_SHARES(XAI_DEFINE_CUDA)
