// What each output of a layer hands back along its positive and its negative contributions under LRP's alpha-beta
// rule, for inputs known to be >= 0. With z the sum of an output's contributions and z_plus that of its positive ones:
//
//     z_minus = min(z - z_plus, 0)
//     s_plus  = (alpha * relevance) / stab(z_plus, eps)                                    stab: lrp/stab.h
//     s_minus = (beta * relevance) / ((z_minus - eps) - floor * |z_plus|)
//
// floor is c units of roundoff of the type that z is stored in: 2^-21 for f32 (8 * 2^-24), 2^-50 for f64 (8 * 2^-53),
// 2^-7 for bf16 (2 * 2^-8).
//
// Why a floor: z and z_plus come rounded, and their difference is off by some roundoffs of z_plus. Where an output has
// next to no negative contributions that error is all there is of it, and dividing by it makes relevance out of
// nothing. c was measured: convolutions and linear layers with 64 to 25088 inputs an output, negative weights scaled
// down step by step to nothing. The most that an output then handed back along them, in units of beta * relevance,
// which is what it should be, was 1e7 with c = 0, 2.2 with c = 4 and 1.2 with c = 8 in f32; in bf16, whose sums are
// taken in f32 so that only the two roundings count, 6e10 with c = 0 and 1.0 with c = 2. The floor takes 5e-7 (f32)
// and 8e-3 (bf16) of what a layer with as many negative as positive weights hands back along the negative ones.
//
// Inputs: relevance (repeated), z, z_plus. Outputs: s_plus, s_minus. Parameters: alpha, beta, eps (>= 0).
// Kept of an element: relevance * (alpha - beta) - (z_plus * s_plus - z_minus * s_minus), z_minus taken in f64.
#pragma once

#include "common/kept.h"

XAI_DECLARE_ELEMENTWISE(alpha_beta_shares);
XAI_DECLARE_KEPT(alpha_beta_shares);
