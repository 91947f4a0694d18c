// Puts an elementwise op into the module.
#pragma once

#include <vector>

#include "bindings/binding.h"
#include "common/elementwise_op.h"

namespace xai {

using Addresses = std::vector<std::uintptr_t>;
using Numbers = std::vector<double>;

// Throws where the op has other numbers of inputs, outputs or parameters.
xai_elementwise make_elementwise(const ElementwiseOp& op, int dtype, const Addresses& inputs, const Addresses& outputs,
                                 std::int64_t n, std::int64_t repeats, const Numbers& parameters);

// NAME_cpu(dtype, inputs, outputs, n, repeats, parameters, num_threads); inputs and outputs are addresses.
void bind_elementwise_cpu(pybind11::module_& module, const char* name, const ElementwiseOp& op,
                          int (*run)(const xai_elementwise*, int));

// NAME_cuda(dtype, inputs, outputs, n, repeats, parameters, device, stream).
void bind_elementwise_cuda(pybind11::module_& module, const char* name, const ElementwiseOp& op,
                           int (*run)(const xai_elementwise*, int, void*));

}  // namespace xai
