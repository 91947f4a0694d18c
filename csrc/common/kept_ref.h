// The reference's loop: the op's own reference, one element after another, and `formula(inputs, outputs, parameters)`
// for what is kept of it, which sees the numbers in f64.
#pragma once

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "common/kept_op.h"
#include "common/numbers.h"

namespace xai {

inline double sum_of_kept_chunk(const double* elements, std::int64_t n) {
    std::vector<double> sums(XAI_KEPT_LANES, 0.0);
    for (std::int64_t i = 0; i < n; ++i) {
        sums[static_cast<std::size_t>(i % kept_lanes)] += elements[i];
    }
    while (sums.size() > 1) {
        const std::size_t half = sums.size() / 2;
        for (std::size_t i = 0; i < half; ++i) {
            sums[i] += sums[half + i];
        }
        sums.resize(half);
    }
    return sums[0];
}

inline double sum_of_kept(const std::vector<double>& elements) {
    const auto n = static_cast<std::int64_t>(elements.size());
    double total = 0;
    for (std::int64_t first = 0; first < n; first += kept_chunk) {
        total += sum_of_kept_chunk(elements.data() + first, std::min(kept_chunk, n - first));
    }
    return std::isnan(total) ? std::numeric_limits<double>::quiet_NaN() : total;
}

// One element of a repeat: shared out by the op's reference, and what is kept of it.
template <typename Op, typename Value, typename Formula>
double define_kept_element(const xai_elementwise& all, int (*ref)(const xai_elementwise*), const Formula& formula,
                           std::int64_t repeat, std::int64_t i) {
    std::array<double, Op::about.input_count> inputs;
    std::array<double, Op::about.output_count> outputs;
    xai_elementwise one = all;
    one.n = one.repeats = 1;
    for (std::size_t k = 0; k < inputs.size(); ++k) {
        const std::int64_t place = Op::about.inputs[k].repeated ? repeat * all.n + i : i;
        const Value* input = static_cast<const Value*>(all.inputs[k]) + place;
        one.inputs[k] = input;
        inputs[k] = load(*input);
    }
    for (std::size_t k = 0; k < outputs.size(); ++k) {
        one.outputs[k] = static_cast<Value*>(all.outputs[k]) + repeat * all.n + i;
    }
    ref(&one);
    for (std::size_t k = 0; k < outputs.size(); ++k) {
        outputs[k] = load(*static_cast<const Value*>(one.outputs[k]));
    }
    return formula(inputs, outputs, all.parameters);
}

template <typename Op, typename Value, typename Formula>
void define_kept_images(const xai_kept& call, int (*ref)(const xai_elementwise*), const Formula& formula) {
    const std::int64_t image_elements = call.shares.n / call.images;
    for (std::int64_t repeat = 0; repeat < call.shares.repeats; ++repeat) {
        for (std::int64_t image = 0; image < call.images; ++image) {
            std::vector<double> elements;
            for (std::int64_t i = image * image_elements; i < (image + 1) * image_elements; ++i) {
                elements.push_back(define_kept_element<Op, Value>(call.shares, ref, formula, repeat, i));
            }
            call.kept[repeat * call.images + image] = sum_of_kept(elements);
        }
    }
}

template <typename Op, typename Formula>
int define_kept(const xai_kept& call, int (*ref)(const xai_elementwise*), const Formula& formula) {
    if (const int status = check_kept(Op::about, call)) {
        return status;
    }
    if (call.shares.dtype == XAI_F32) {
        define_kept_images<Op, float>(call, ref, formula);
    } else if (call.shares.dtype == XAI_F64) {
        define_kept_images<Op, double>(call, ref, formula);
    } else {
        define_kept_images<Op, bf16>(call, ref, formula);
    }
    return XAI_OK;
}

}  // namespace xai
