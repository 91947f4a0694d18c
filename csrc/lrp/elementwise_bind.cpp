#include "bindings/elementwise.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

namespace {

void bind(pybind11::module_& module) {
#define XAI_BIND(name, Op) xai::bind_elementwise_cpu(module, #name, xai::lrp::Op::about, xai_##name##_cpu);
    XAI_LRP_ELEMENTWISE(XAI_BIND)
#if XAIPIPE_HAS_CUDA
#define XAI_BIND_CUDA(name, Op) xai::bind_elementwise_cuda(module, #name, xai::lrp::Op::about, xai_##name##_cuda);
    XAI_LRP_ELEMENTWISE(XAI_BIND_CUDA)
#endif
}

const xai::Binding binding(bind);

}  // namespace
