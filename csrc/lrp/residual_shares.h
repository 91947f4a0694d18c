// The relevance of a sum, split between its two terms by what each contributed:
//
//     s   = relevance / stab(a + b, eps)        stab: lrp/stab.h
//     r_a = a * s
//     r_b = b * s
//
// Inputs: relevance (repeated), a, b. Outputs: r_a, r_b. Parameters: eps (>= 0).
// Kept of an element: relevance - (r_a + r_b).
#pragma once

#include "common/kept.h"

XAI_DECLARE_ELEMENTWISE(residual_shares);
XAI_DECLARE_KEPT(residual_shares);
