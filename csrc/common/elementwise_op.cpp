#include "common/elementwise_op.h"

#include <cstddef>

#include "common/checks.h"

namespace {

using xai::ElementwiseOp;

int check_parameter(const ElementwiseOp::Parameter& parameter, double value, bool in_double) {
    const double rounded = in_double ? value : static_cast<double>(static_cast<float>(value));
    return parameter.may_be_negative ? xai::check_finite(parameter.name, value, rounded)
                                     : xai::check_not_negative(parameter.name, value, rounded);
}

int check_arrays(const ElementwiseOp& op, const xai_elementwise& call, std::size_t size) {
    int status = XAI_OK;
    for (int i = 0; status == XAI_OK && i < op.input_count; ++i) {
        status = xai::check_pointer(op.inputs[i].name, call.inputs[i], call.n, size);
    }
    for (int i = 0; status == XAI_OK && i < op.output_count; ++i) {
        status = xai::check_pointer(op.outputs[i], call.outputs[i], call.n, size);
    }
    return status;
}

}  // namespace

int xai::check_elementwise(const ElementwiseOp& op, const xai_elementwise& call) {
    int status = check_dtype(call.dtype);
    status = status == XAI_OK ? check_at_least("n", call.n, 0) : status;
    status = status == XAI_OK ? check_at_least("repeats", call.repeats, 1) : status;
    status = status == XAI_OK ? check_product({call.n, call.repeats}) : status;
    for (int i = 0; status == XAI_OK && i < op.parameter_count; ++i) {
        status = check_parameter(op.parameters[i], call.parameters[i], call.dtype == XAI_F64);
    }
    return status == XAI_OK ? check_arrays(op, call, element_size(call.dtype)) : status;
}
