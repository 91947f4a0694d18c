#include "bindings/kept.h"

#include <pybind11/stl.h>

#include <string>

namespace py = pybind11;

namespace {

double* numbers(std::uintptr_t address) { return static_cast<double*>(xai::pointer(address)); }

}  // namespace

void xai::bind_kept_cpu(py::module_& module, const char* name, const ElementwiseOp& op,
                        int (*run)(const xai_kept*, int)) {
    const auto call = [=](int dtype, const Addresses& inputs, const Addresses& outputs, std::int64_t n,
                          std::int64_t repeats, const Numbers& parameters, std::int64_t images, std::uintptr_t kept,
                          std::uintptr_t chunk_sums, int num_threads) {
        const xai_kept arguments{make_elementwise(op, dtype, inputs, outputs, n, repeats, parameters), images,
                                 numbers(kept), numbers(chunk_sums)};
        raise_unless_ok(run(&arguments, num_threads));
    };
    module.def((std::string(name) + "_cpu").c_str(), call, py::arg("dtype"), py::arg("inputs"), py::arg("outputs"),
               py::arg("n"), py::arg("repeats"), py::arg("parameters"), py::arg("images"), py::arg("kept"),
               py::arg("chunk_sums"), py::arg("num_threads"), py::call_guard<py::gil_scoped_release>());
}

void xai::bind_kept_cuda(py::module_& module, const char* name, const ElementwiseOp& op,
                         int (*run)(const xai_kept*, int, void*)) {
    const auto call = [=](int dtype, const Addresses& inputs, const Addresses& outputs, std::int64_t n,
                          std::int64_t repeats, const Numbers& parameters, std::int64_t images, std::uintptr_t kept,
                          std::uintptr_t chunk_sums, int device, std::uintptr_t stream) {
        const xai_kept arguments{make_elementwise(op, dtype, inputs, outputs, n, repeats, parameters), images,
                                 numbers(kept), numbers(chunk_sums)};
        raise_unless_ok(run(&arguments, device, pointer(stream)));
    };
    module.def((std::string(name) + "_cuda").c_str(), call, py::arg("dtype"), py::arg("inputs"), py::arg("outputs"),
               py::arg("n"), py::arg("repeats"), py::arg("parameters"), py::arg("images"), py::arg("kept"),
               py::arg("chunk_sums"), py::arg("device"), py::arg("stream"), py::call_guard<py::gil_scoped_release>());
}
