// The loop of an elementwise op on the CPU. Each per-ISA file compiles it with its own flags.
#pragma once

#include <cstdint>

#include "common/elementwise_element.h"

namespace xai {

// What crosses from the per-ISA files to the driver.
using ElementwiseLoop = void(const void* const* inputs, void* const* outputs, std::int64_t n, const double* parameters);
using ElementwiseLoops = PerDtype<ElementwiseLoop>;

namespace {

// A function of its own, because variables declared in the body of an `omp simd` loop keep it from becoming vector code.
template <typename Op, typename Value, int... input, int... output>
inline void at(std::int64_t i, const Value* const* inputs, Value* const* outputs,
               const typename Op::template Parameters<Value>& parameters,
               std::integer_sequence<int, input...>, std::integer_sequence<int, output...>) {
    const auto values = Op::element(load(inputs[input][i])..., parameters);
    (store(outputs[output][i], values.at[output]), ...);
}

template <typename Op, typename Value, int... input, int... output>
void loop_over(const void* const* inputs, void* const* outputs, std::int64_t n, const double* parameters,
               std::integer_sequence<int, input...> all_inputs, std::integer_sequence<int, output...> all_outputs) {
    const Value* const sources[] = {static_cast<const Value*>(inputs[input])...};
    Value* const targets[] = {static_cast<Value*>(outputs[output])...};
    const auto rounded = parameters_from<Op, Value>(parameters);
    // `omp simd` rather than restrict: an output may be one of the inputs.
#pragma omp simd
    for (std::int64_t i = 0; i < n; ++i) {
        at<Op>(i, sources, targets, rounded, all_inputs, all_outputs);
    }
}

template <typename Op, typename Value>
void loop(const void* const* inputs, void* const* outputs, std::int64_t n, const double* parameters) {
    loop_over<Op, Value>(inputs, outputs, n, parameters, Indices<Op::about.input_count>{},
                         Indices<Op::about.output_count>{});
}

template <typename Op>
constexpr ElementwiseLoops loops_of{loop<Op, float>, loop<Op, double>, loop<Op, xai::bf16>};

}  // namespace
}  // namespace xai
