#include "bindings/binding.h"
#include "lrp/stabilise.h"

namespace py = pybind11;

namespace {

void divide_cpu(int dtype, std::uintptr_t relevance, std::uintptr_t z, std::uintptr_t out, std::int64_t n, double eps,
                int num_threads) {
    xai::raise_unless_ok(xai_stabilised_divide_cpu(dtype, xai::pointer(relevance), xai::pointer(z), xai::pointer(out),
                                                   n, eps, num_threads));
}

#if XAIPIPE_HAS_CUDA
void divide_cuda(int dtype, std::uintptr_t relevance, std::uintptr_t z, std::uintptr_t out, std::int64_t n, double eps,
                 int device, std::uintptr_t stream) {
    xai::raise_unless_ok(xai_stabilised_divide_cuda(dtype, xai::pointer(relevance), xai::pointer(z), xai::pointer(out),
                                                    n, eps, device, xai::pointer(stream)));
}
#endif

void bind(py::module_& module) {
    module.def("stabilised_divide_cpu", &divide_cpu, py::arg("dtype"), py::arg("relevance"), py::arg("z"),
               py::arg("out"), py::arg("n"), py::arg("eps"), py::arg("num_threads"),
               py::call_guard<py::gil_scoped_release>());
#if XAIPIPE_HAS_CUDA
    module.def("stabilised_divide_cuda", &divide_cuda, py::arg("dtype"), py::arg("relevance"), py::arg("z"),
               py::arg("out"), py::arg("n"), py::arg("eps"), py::arg("device"), py::arg("stream"),
               py::call_guard<py::gil_scoped_release>());
#endif
}

const xai::Binding binding(bind);

}  // namespace
