// The stabilised division of layer-wise relevance propagation, element by element:
//
//     out = relevance / stab(z, eps)        stab: lrp/stab.h
//
// Inputs: relevance (repeated), z. Outputs: out. Parameters: eps (>= 0).
// Division is IEEE's: with eps = 0, x/0 is an infinity and 0/0 a NaN.
// Kept of an element: relevance - z * out.
#pragma once

#include "common/kept.h"

XAI_DECLARE_ELEMENTWISE(stabilised_divide);
XAI_DECLARE_KEPT(stabilised_divide);
