#include "bindings/elementwise.h"

#include <pybind11/stl.h>

#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace {

void check_length(const char* what, std::size_t got, int expected) {
    if (got != static_cast<std::size_t>(expected)) {
        throw std::invalid_argument(std::string(what) + ": got " + std::to_string(got) + " of them, expected " +
                                    std::to_string(expected));
    }
}

}  // namespace

xai_elementwise xai::make_elementwise(const ElementwiseOp& op, int dtype, const Addresses& inputs,
                                      const Addresses& outputs, std::int64_t n, std::int64_t repeats,
                                      const Numbers& parameters) {
    check_length("inputs", inputs.size(), op.input_count);
    check_length("outputs", outputs.size(), op.output_count);
    check_length("parameters", parameters.size(), op.parameter_count);
    xai_elementwise call{dtype, n, repeats, {}, {}, {}};
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        call.inputs[i] = pointer(inputs[i]);
    }
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        call.outputs[i] = pointer(outputs[i]);
    }
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        call.parameters[i] = parameters[i];
    }
    return call;
}

void xai::bind_elementwise_cpu(py::module_& module, const char* name, const ElementwiseOp& op,
                               int (*run)(const xai_elementwise*, int)) {
    const auto call = [=](int dtype, const Addresses& inputs, const Addresses& outputs, std::int64_t n,
                          std::int64_t repeats, const Numbers& parameters, int num_threads) {
        const xai_elementwise arguments = make_elementwise(op, dtype, inputs, outputs, n, repeats, parameters);
        raise_unless_ok(run(&arguments, num_threads));
    };
    module.def((std::string(name) + "_cpu").c_str(), call, py::arg("dtype"), py::arg("inputs"), py::arg("outputs"),
               py::arg("n"), py::arg("repeats"), py::arg("parameters"), py::arg("num_threads"),
               py::call_guard<py::gil_scoped_release>());
}

void xai::bind_elementwise_cuda(py::module_& module, const char* name, const ElementwiseOp& op,
                                int (*run)(const xai_elementwise*, int, void*)) {
    const auto call = [=](int dtype, const Addresses& inputs, const Addresses& outputs, std::int64_t n,
                          std::int64_t repeats, const Numbers& parameters, int device, std::uintptr_t stream) {
        const xai_elementwise arguments = make_elementwise(op, dtype, inputs, outputs, n, repeats, parameters);
        raise_unless_ok(run(&arguments, device, pointer(stream)));
    };
    module.def((std::string(name) + "_cuda").c_str(), call, py::arg("dtype"), py::arg("inputs"), py::arg("outputs"),
               py::arg("n"), py::arg("repeats"), py::arg("parameters"), py::arg("device"), py::arg("stream"),
               py::call_guard<py::gil_scoped_release>());
}
