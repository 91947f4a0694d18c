#include <stdexcept>
#include <vector>

#include "bindings/binding.h"
#include "common/isa.h"
#include "common/status.h"

namespace py = pybind11;

namespace {

// Inside a function, because the other files' Binding objects may be constructed before this file's globals.
std::vector<void (*)(py::module_&)>& bindings() {
    static std::vector<void (*)(py::module_&)> all;
    return all;
}

void set_isa(const char* name) { xai::raise_unless_ok(xai_set_isa(name)); }

py::list isas() {
    py::list available;
    for (const char* name : xai::isa_names) {
        if (xai_isa_available(name)) {
            available.append(name);
        }
    }
    return available;
}

py::list isas_compiled() {
    py::list compiled;
    for (const char* name : xai::isa_names) {
        compiled.append(name);
    }
    return compiled;
}

py::dict build_info() {
    py::dict info;
    info["version"] = XAIPIPE_VERSION;
    info["compiler"] = XAIPIPE_COMPILER;
    info["openmp"] = bool(XAIPIPE_HAS_OPENMP);
    info["isas_compiled"] = isas_compiled();
    info["isas_available"] = isas();
    info["isa_in_use"] = xai_isa_in_use();
    info["cuda"] = bool(XAIPIPE_HAS_CUDA);
    info["cuda_version"] = XAIPIPE_CUDA_VERSION;
    info["cuda_architectures"] = XAIPIPE_CUDA_ARCHITECTURES;
    return info;
}

}  // namespace

xai::Binding::Binding(void (*bind)(py::module_&)) { bindings().push_back(bind); }

void xai::raise_unless_ok(int status) {
    if (status == XAI_INVALID_ARGUMENT) {
        throw std::invalid_argument(xai_last_error());
    }
    if (status != XAI_OK) {
        throw std::runtime_error(xai_last_error());
    }
}

PYBIND11_MODULE(_kernels, module) {
    module.doc() = "xaipipe's kernels on raw memory. Use xaipipe.ops, which checks tensors and knows autograd.";
    module.def("build_info", &build_info, "How this module was built, and the instruction set in use.");
    module.def("set_isa", &set_isa, py::arg("name"),
               "Use 'baseline', 'avx2', 'avx512', or 'auto' for the best one here, in the whole process.");
    for (auto bind : bindings()) {
        bind(module);
    }
}
