// Puts an elementwise op that sums what it keeps into the module.
#pragma once

#include "bindings/elementwise.h"
#include "common/kept_op.h"

namespace xai {

// As in bindings/elementwise.h, with (..., images, kept, chunk_sums) before the last arguments.
void bind_kept_cpu(pybind11::module_& module, const char* name, const ElementwiseOp& op,
                   int (*run)(const xai_kept*, int));
void bind_kept_cuda(pybind11::module_& module, const char* name, const ElementwiseOp& op,
                    int (*run)(const xai_kept*, int, void*));

}  // namespace xai
