// The loop of an op that sums what it keeps, over one chunk. Each per-ISA file compiles it with its own flags.
#pragma once

#include "common/elementwise_loops.h"
#include "common/kept_element.h"

namespace xai {

// Writes the outputs of at most kept_chunk elements and returns the chunk's sum.
using KeptLoop = double(const void* const* inputs, void* const* outputs, std::int64_t n, const double* parameters);
using KeptLoops = PerDtype<KeptLoop>;

namespace {

// Computes element i, stores it, and returns what is kept of it.
template <typename Op, typename Value, int... input, int... output>
inline double share_one(std::int64_t i, const Value* const* inputs, Value* const* outputs,
                        const typename Op::template Parameters<Value>& rounded,
                        const typename Op::template Parameters<double>& given, std::integer_sequence<int, input...>,
                        std::integer_sequence<int, output...>) {
    const Values<Computed<Value>, sizeof...(input)> numbers{{load(inputs[input][i])...}};
    const auto shares = Op::element(numbers.at[input]..., rounded);
    (store(outputs[output][i], shares.at[output]), ...);
    return Op::kept({{static_cast<double>(numbers.at[input])...}}, {{as_stored(Value{}, shares.at[output])...}}, given);
}

inline double sum_of_lanes(double* lanes) {
    for (std::int64_t half = kept_lanes / 2; half > 0; half /= 2) {
#pragma omp simd
        for (std::int64_t lane = 0; lane < half; ++lane) {
            lanes[lane] += lanes[lane + half];
        }
    }
    return lanes[0];
}

template <typename Op, typename Value, int... input, int... output>
double sum_kept(const void* const* inputs, void* const* outputs, std::int64_t n, const double* parameters,
                std::integer_sequence<int, input...> all_inputs, std::integer_sequence<int, output...> all_outputs) {
    const auto rounded = parameters_from<Op, Value>(parameters);
    const auto given = parameters_from<Op, double>(parameters);
    double lanes[kept_lanes] = {};
    for (std::int64_t first = 0; first < n; first += kept_lanes) {
        const Value* const sources[] = {static_cast<const Value*>(inputs[input]) + first...};
        Value* const targets[] = {static_cast<Value*>(outputs[output]) + first...};
        const std::int64_t count = first + kept_lanes < n ? kept_lanes : n - first;
#pragma omp simd
        for (std::int64_t lane = 0; lane < count; ++lane) {
            lanes[lane] += share_one<Op>(lane, sources, targets, rounded, given, all_inputs, all_outputs);
        }
    }
    return sum_of_lanes(lanes);
}

template <typename Op, typename Value>
double sum_kept(const void* const* inputs, void* const* outputs, std::int64_t n, const double* parameters) {
    return sum_kept<Op, Value>(inputs, outputs, n, parameters, Indices<Op::about.input_count>{},
                               Indices<Op::about.output_count>{});
}

template <typename Op>
constexpr KeptLoops kept_loops_of{sum_kept<Op, float>, sum_kept<Op, double>, sum_kept<Op, xai::bf16>};

}  // namespace
}  // namespace xai
