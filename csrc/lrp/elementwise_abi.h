// The contracts of the ops that elementwise_ops.h lists.
#pragma once

#include "lrp/alpha_beta_shares.h"
#include "lrp/gamma_shares.h"
#include "lrp/multiply_combine.h"
#include "lrp/residual_shares.h"
#include "lrp/stabilised_divide.h"
