#include "common/elementwise_cpu.h"
#include "common/isa.h"
#include "lrp/elementwise_abi.h"
#include "lrp/elementwise_kernels.h"

namespace xai::lrp {
namespace {

constexpr PerIsa<ElementwiseKernels> kernels{
    &elementwise_baseline,
#if XAIPIPE_X86
    &elementwise_avx2,
    &elementwise_avx512,
#endif
};

}  // namespace
}  // namespace xai::lrp

#define XAI_DEFINE_CPU(name, Op)                                                                              \
    int xai_##name##_cpu(const xai_elementwise* call, int num_threads) {                                      \
        const auto& loops = xai::kernels_in_use(xai::lrp::kernels).name;                                      \
        return xai::run_elementwise(xai::lrp::Op::about, loops, *call, num_threads);                          \
    }
XAI_LRP_ELEMENTWISE(XAI_DEFINE_CPU)
