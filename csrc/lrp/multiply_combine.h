// An input times the sum of what two sets of weights hand back to it:
//
//     out = x * ((a * g1) + (b * g2))
//
// Inputs: x, g1 (repeated), g2 (repeated). Outputs: out. Parameters: a, b.
#pragma once

#include "common/elementwise.h"

XAI_DECLARE_ELEMENTWISE(multiply_combine);
