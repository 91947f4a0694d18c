// The elementwise ops of this folder: X(name in the C ABI, what one element is).
#pragma once

#include "lrp/alpha_beta_shares_math.h"
#include "lrp/gamma_shares_math.h"
#include "lrp/multiply_combine_math.h"
#include "lrp/residual_shares_math.h"
#include "lrp/stabilised_divide_math.h"

// Those that share relevance out, and can say how much of it they kept.
#define XAI_LRP_SHARES(X)                    \
    X(stabilised_divide, StabilisedDivide)   \
    X(alpha_beta_shares, AlphaBetaShares)    \
    X(gamma_shares, GammaShares)             \
    X(residual_shares, ResidualShares)

#define XAI_LRP_ELEMENTWISE(X)               \
    XAI_LRP_SHARES(X)                        \
    X(multiply_combine, MultiplyCombine)
