// What the checks, the drivers and the bindings need to know about an elementwise op.
#pragma once

#include "common/elementwise.h"

namespace xai {

struct ElementwiseOp {
    struct Input {
        const char* name;
        bool repeated;
    };
    struct Parameter {
        const char* name;
        bool may_be_negative;
    };

    int input_count;
    int output_count;
    int parameter_count;
    Input inputs[XAI_MOST_INPUTS];
    const char* outputs[XAI_MOST_OUTPUTS];
    Parameter parameters[XAI_MOST_PARAMETERS];
};

// The preconditions of common/elementwise.h, once for the reference, the CPU and CUDA.
int check_elementwise(const ElementwiseOp& op, const xai_elementwise& call);

}  // namespace xai
