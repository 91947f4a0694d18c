#include <pybind11/stl.h>

#include <array>

#include "bindings/binding.h"
#include "lrp/flat_spread.h"

namespace py = pybind11;

namespace {

using Pair = std::array<std::int64_t, 2>;

xai_flat_spread make_call(int dtype, bool channels_last, std::int64_t batch, std::int64_t channels,
                          std::int64_t input_channels, Pair size_out, Pair size_in, Pair kernel, Pair stride,
                          Pair padding, Pair dilation, std::uintptr_t relevance, std::uintptr_t out) {
    return {dtype,
            channels_last,
            batch,
            channels,
            input_channels,
            {size_out[0], size_out[1]},
            {size_in[0], size_in[1]},
            {kernel[0], kernel[1]},
            {stride[0], stride[1]},
            {padding[0], padding[1]},
            {dilation[0], dilation[1]},
            xai::pointer(relevance),
            nullptr,
            xai::pointer(out)};
}

void bind(py::module_& module) {
    // What the CPU and CUDA share.
    py::class_<xai_flat_spread>(module, "FlatSpread")
        .def(py::init(&make_call), py::arg("dtype"), py::arg("channels_last"), py::arg("batch"), py::arg("channels"),
             py::arg("input_channels"), py::arg("size_out"), py::arg("size_in"), py::arg("kernel"), py::arg("stride"),
             py::arg("padding"), py::arg("dilation"), py::arg("relevance"), py::arg("out"))
        .def("workspace_elements", [](const xai_flat_spread& call) { return xai_flat_spread_workspace(&call); })
        .def("use_workspace",
             [](xai_flat_spread& call, std::uintptr_t address) { call.workspace = xai::pointer(address); });
    module.def(
        "flat_spread_cpu",
        [](const xai_flat_spread& call, int num_threads) {
            xai::raise_unless_ok(xai_flat_spread_cpu(&call, num_threads));
        },
        py::arg("call"), py::arg("num_threads"), py::call_guard<py::gil_scoped_release>());
#if XAIPIPE_HAS_CUDA
    module.def(
        "flat_spread_cuda",
        [](const xai_flat_spread& call, int device, std::uintptr_t stream) {
            xai::raise_unless_ok(xai_flat_spread_cuda(&call, device, xai::pointer(stream)));
        },
        py::arg("call"), py::arg("device"), py::arg("stream"), py::call_guard<py::gil_scoped_release>());
#endif
}

const xai::Binding binding(bind);

}  // namespace
