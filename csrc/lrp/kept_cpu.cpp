#include "common/kept_cpu.h"

#include "common/isa.h"
#include "lrp/elementwise_abi.h"
#include "lrp/kept_kernels.h"

namespace xai::lrp {
namespace {

constexpr PerIsa<KeptKernels> kernels{
    &kept_baseline,
#if XAIPIPE_X86
    &kept_avx2,
    &kept_avx512,
#endif
};

}  // namespace
}  // namespace xai::lrp

#define XAI_DEFINE_CPU(name, Op)                                                                              \
    int xai_##name##_and_kept_cpu(const xai_kept* call, int num_threads) {                                    \
        const auto& loops = xai::kernels_in_use(xai::lrp::kernels).name;                                      \
        return xai::run_kept(xai::lrp::Op::about, loops, *call, num_threads);                                 \
    }
XAI_LRP_SHARES(XAI_DEFINE_CPU)
