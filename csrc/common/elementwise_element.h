// One element of an elementwise op, shared by the CPU loops and the CUDA kernel. Everything has internal linkage, for
// the reason given in common/bf16.h.
//
// An op is a struct, in an unnamed namespace too, with
//   static constexpr ElementwiseOp about;
//   template <typename Value> struct Parameters { Computed<Value> ...; };   in the order of about.parameters
//   template <typename Value, typename Real = Computed<Value>>
//   static Values<Real, outputs> element(Real input, ..., const Parameters<Value>&);
#pragma once

#include <utility>

#include "common/elementwise_op.h"
#include "common/numbers.h"

namespace xai {
namespace {

template <typename Real, int count>
struct Values {
    Real at[count];
};

template <int count>
using Indices = std::make_integer_sequence<int, count>;

template <typename Op, typename Value, int... index>
typename Op::template Parameters<Value> parameters_from(const double* values, std::integer_sequence<int, index...>) {
    return {static_cast<Computed<Value>>(values[index])...};
}

// The op's parameters, rounded to the type computed in.
template <typename Op, typename Value>
typename Op::template Parameters<Value> parameters_from(const double* values) {
    return parameters_from<Op, Value>(values, Indices<Op::about.parameter_count>{});
}

}  // namespace
}  // namespace xai
