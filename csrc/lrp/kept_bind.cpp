#include "bindings/kept.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_ops.h"

namespace {

void bind(pybind11::module_& module) {
    module.def("kept_chunks", &xai_kept_chunks, pybind11::arg("n"), pybind11::arg("images"));
#define XAI_BIND(name, Op) xai::bind_kept_cpu(module, #name "_and_kept", xai::lrp::Op::about, xai_##name##_and_kept_cpu);
    XAI_LRP_SHARES(XAI_BIND)
#if XAIPIPE_HAS_CUDA
#define XAI_BIND_CUDA(name, Op) \
    xai::bind_kept_cuda(module, #name "_and_kept", xai::lrp::Op::about, xai_##name##_and_kept_cuda);
    XAI_LRP_SHARES(XAI_BIND_CUDA)
#endif
}

const xai::Binding binding(bind);

}  // namespace
