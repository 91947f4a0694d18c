// What each output of a layer hands back along its positive and its negative contributions under LRP's alpha-beta
// rule, for inputs known to be >= 0. With z the sum of an output's contributions and z_plus that of its positive ones:
//
//     z_minus = min(z - z_plus, 0)
//     s_plus  = (alpha * relevance) / stab(z_plus, eps)                                         stab: lrp/stab.h
//     s_minus = (beta * relevance) / ((z_minus - eps) - floor * |z_plus|)       floor = 4 u
//
// u is the unit roundoff of the type that z is stored in: 2^-24 for f32, 2^-53 for f64, 2^-8 for bf16.
//
// Why a floor: z and z_plus come rounded, so that their difference is off by some u * |z_plus|. Where an output has next
// to no negative contributions that error is all there is, and dividing by it would multiply relevance out of nothing.
// A floor as large as the error keeps what is handed back at or below beta * relevance; an output whose true z_minus
// is t then hands back t / (t + floor * |z_plus|) of it.
//
// Inputs: relevance (repeated), z, z_plus. Outputs: s_plus, s_minus. Parameters: alpha, beta, eps (>= 0).
#pragma once

#include "common/elementwise.h"

XAI_DECLARE_ELEMENTWISE(alpha_beta_shares);
