// What each output of a layer hands back under LRP's gamma rule, for inputs known to be >= 0. With z the sum of an
// output's contributions and z_plus that of its positive ones:
//
//     where z >= 0 (-0.0 among them)                     elsewhere
//     s      = relevance / stab(z + gamma * z_plus, eps)      s      = relevance / stab(z + gamma * (z - z_plus), eps)
//     s_w    = s                                              s_w    = (1 + gamma) * s
//     s_plus = gamma * s                                      s_plus = (-gamma) * s               stab: lrp/stab.h
//
// so that input i receives x_i (W^T s_w + W_plus^T s_plus)_i: weights W + gamma W_plus for outputs that are positive,
// W + gamma W_minus for those that are negative. 1 + gamma is rounded to the type computed in.
//
// Inputs: relevance (repeated), z, z_plus. Outputs: s_w, s_plus. Parameters: gamma (>= 0), eps (>= 0).
// Kept of an element: relevance - (z * s_w + z_plus * s_plus).
#pragma once

#include "common/kept.h"

XAI_DECLARE_ELEMENTWISE(gamma_shares);
XAI_DECLARE_KEPT(gamma_shares);
