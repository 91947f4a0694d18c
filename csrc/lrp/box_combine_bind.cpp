#include "bindings/binding.h"
#include "lrp/box_combine.h"

namespace py = pybind11;

namespace {

xai_box_combine make_call(int dtype, bool channels_last, std::int64_t repeats, std::int64_t images,
                          std::int64_t channels, std::int64_t points, std::uintptr_t x, std::uintptr_t g,
                          std::uintptr_t low, std::uintptr_t high, std::uintptr_t out) {
    return {dtype,           channels_last,   repeats,           images,             channels,         points,
            xai::pointer(x), xai::pointer(g), xai::pointer(low), xai::pointer(high), xai::pointer(out)};
}

void bind(py::module_& module) {
    // What the CPU and CUDA share.
    py::class_<xai_box_combine>(module, "BoxCombine")
        .def(py::init(&make_call), py::arg("dtype"), py::arg("channels_last"), py::arg("repeats"), py::arg("images"),
             py::arg("channels"), py::arg("points"), py::arg("x"), py::arg("g"), py::arg("low"), py::arg("high"),
             py::arg("out"));
    module.def(
        "box_combine_cpu",
        [](const xai_box_combine& call, int num_threads) {
            xai::raise_unless_ok(xai_box_combine_cpu(&call, num_threads));
        },
        py::arg("call"), py::arg("num_threads"), py::call_guard<py::gil_scoped_release>());
#if XAIPIPE_HAS_CUDA
    module.def(
        "box_combine_cuda",
        [](const xai_box_combine& call, int device, std::uintptr_t stream) {
            xai::raise_unless_ok(xai_box_combine_cuda(&call, device, xai::pointer(stream)));
        },
        py::arg("call"), py::arg("device"), py::arg("stream"), py::call_guard<py::gil_scoped_release>());
#endif
}

const xai::Binding binding(bind);

}  // namespace
