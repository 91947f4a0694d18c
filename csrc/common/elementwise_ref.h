// The reference's loop: `formula(inputs, parameters, outputs)` sees one element's numbers, as arrays in the type
// computed in.
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "common/bf16.h"
#include "common/elementwise_op.h"

namespace xai {

template <typename Op, typename Real, typename Value, typename Formula, typename Read, typename Write>
void define_elements(const xai_elementwise& call, const Formula& formula, const Read& read, const Write& write) {
    std::array<Real, Op::about.input_count> inputs;
    std::array<Real, Op::about.parameter_count> parameters;
    std::array<Real, Op::about.output_count> outputs;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        parameters[i] = static_cast<Real>(call.parameters[i]);
    }
    for (std::int64_t element = 0; element < call.repeats * call.n; ++element) {
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            const std::int64_t place = Op::about.inputs[i].repeated ? element : element % call.n;
            inputs[i] = read(static_cast<const Value*>(call.inputs[i])[place]);
        }
        formula(inputs, parameters, outputs);
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            const Real quiet = std::isnan(outputs[i]) ? std::numeric_limits<Real>::quiet_NaN() : outputs[i];
            static_cast<Value*>(call.outputs[i])[element] = write(quiet);
        }
    }
}

template <typename Op, typename Formula>
int define_elementwise(const xai_elementwise& call, const Formula& formula) {
    if (const int status = check_elementwise(Op::about, call)) {
        return status;
    }
    const auto as_it_is = [](auto value) { return value; };
    if (call.dtype == XAI_F32) {
        define_elements<Op, float, float>(call, formula, as_it_is, as_it_is);
    } else if (call.dtype == XAI_F64) {
        define_elements<Op, double, double>(call, formula, as_it_is, as_it_is);
    } else {
        define_elements<Op, float, bf16>(call, formula, to_float, to_bf16);
    }
    return XAI_OK;
}

}  // namespace xai
