#include "common/isa.h"
#include "common/parallel.h"
#include "lrp/stabilise.h"
#include "lrp/stabilise_check.h"
#include "lrp/stabilise_kernels.h"

namespace xai::lrp {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr std::int64_t grain = 32768;

constexpr PerIsa<StabiliseKernels> kernels{
    &stabilise_baseline,
#if XAIPIPE_X86
    &stabilise_avx2,
    &stabilise_avx512,
#endif
};

template <typename Value, typename Eps>
void divide(void (*loop)(const Value*, const Value*, Value*, std::int64_t, Eps), const void* relevance, const void* z,
            void* out, std::int64_t n, double eps, int num_threads) {
    parallel_ranges(n, grain, num_threads, [=](std::int64_t begin, std::int64_t end) {
        loop(static_cast<const Value*>(relevance) + begin, static_cast<const Value*>(z) + begin,
             static_cast<Value*>(out) + begin, end - begin, static_cast<Eps>(eps));
    });
}

}  // namespace
}  // namespace xai::lrp

int xai_stabilised_divide_cpu(int dtype, const void* relevance, const void* z, void* out, int64_t n, double eps,
                              int num_threads) {
    using namespace xai;
    int status = lrp::check_stabilised_divide(dtype, relevance, z, out, n, eps);
    status = status == XAI_OK ? check_threads(num_threads) : status;
    if (status != XAI_OK || n == 0) {
        return status;
    }
    const lrp::StabiliseKernels& loops = kernels_in_use(lrp::kernels);
    if (dtype == XAI_F32) {
        lrp::divide(loops.f32, relevance, z, out, n, eps, num_threads);
    } else if (dtype == XAI_F64) {
        lrp::divide(loops.f64, relevance, z, out, n, eps, num_threads);
    } else {
        lrp::divide(loops.bf16, relevance, z, out, n, eps, num_threads);
    }
    return XAI_OK;
}
