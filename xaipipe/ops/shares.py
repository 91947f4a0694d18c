"""What the outputs of a layer hand back under LRP's rules that look at more than one sum of contributions."""

from torch import Tensor

from xaipipe.ops import _elementwise, _kept
from xaipipe.ops._elementwise import Elementwise

_RELEVANCE = frozenset({"relevance"})
_alpha_beta = Elementwise(
    "alpha_beta_shares",
    ("relevance", "z", "z_plus"),
    repeated=_RELEVANCE,
    outputs=2,
    parameters={"alpha": None, "beta": None, "eps": 0.0},
)
_gamma = Elementwise(
    "gamma_shares",
    ("relevance", "z", "z_plus"),
    repeated=_RELEVANCE,
    outputs=2,
    parameters={"gamma": 0.0, "eps": 0.0},
)
_residual = Elementwise(
    "residual_shares", ("relevance", "a", "b"), repeated=_RELEVANCE, outputs=2, parameters={"eps": 0.0}
)
_alpha_beta_and_kept, _gamma_and_kept, _residual_and_kept = map(_kept.with_kept, (_alpha_beta, _gamma, _residual))
_alpha_beta_op = _elementwise.define(_alpha_beta)
_gamma_op = _elementwise.define(_gamma)
_residual_op = _elementwise.define(_residual)
_alpha_beta_and_kept_op = _kept.define(_alpha_beta_and_kept)
_gamma_and_kept_op = _kept.define(_gamma_and_kept)
_residual_and_kept_op = _kept.define(_residual_and_kept)


def alpha_beta_shares(
    relevance: Tensor, z: Tensor, z_plus: Tensor, alpha: float, beta: float, eps: float
) -> tuple[Tensor, Tensor]:
    """(s_plus, s_minus) of the alpha-beta rule, for a layer whose inputs are known to be >= 0.

    `z` is the sum of an output's contributions, `z_plus` that of the positive ones, and z_minus = min(z − z_plus, 0):

        s_plus  = alpha·relevance / (z_plus + eps·sign(z_plus))
        s_minus = beta·relevance / (z_minus − eps − floor·|z_plus|)

    Input i then receives x_i·(W₊ᵀ s_plus − W₋ᵀ s_minus)_i. floor is 2⁻²¹ in float32, 2⁻⁵⁰ in float64 and 2⁻⁷ in
    bfloat16: z − z_plus is not known better, and dividing by its error alone would make relevance out of nothing.
    Types, layouts and axes for targets as in `stabilised_divide`. Not differentiable.

    Reference: Bach et al., PLOS ONE 10(7), 2015.
    """
    _elementwise.prepare(_alpha_beta, relevance, z, z_plus)
    s_plus, s_minus = _alpha_beta_op(relevance, z, z_plus, alpha, beta, eps)
    return s_plus, s_minus


def alpha_beta_shares_and_kept(
    relevance: Tensor, z: Tensor, z_plus: Tensor, alpha: float, beta: float, eps: float, images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(s_plus, s_minus, kept): `alpha_beta_shares`, and what the stabilisers and the floor keep of each image.

    kept as in `stabilised_divide_and_kept`: Σ relevance·(alpha − beta) − (z_plus·s_plus − z_minus·s_minus).
    """
    _elementwise.prepare(_alpha_beta_and_kept, relevance, z, z_plus)
    s_plus, s_minus, kept = _alpha_beta_and_kept_op(relevance, z, z_plus, alpha, beta, eps, images)
    return s_plus, s_minus, kept


def gamma_shares(relevance: Tensor, z: Tensor, z_plus: Tensor, gamma: float, eps: float) -> tuple[Tensor, Tensor]:
    """(s_w, s_plus) of the gamma rule, for a layer whose inputs are known to be >= 0.

    `z` is the sum of an output's contributions, `z_plus` that of the positive ones. Where z >= 0:

        s_w = relevance / stab(z + gamma·z_plus),  s_plus = gamma·s_w

    and elsewhere, with s = relevance / stab(z + gamma·(z − z_plus)): s_w = (1 + gamma)·s, s_plus = −gamma·s.
    stab(z) = z + eps·sign(z) with sign(0) = +1. Input i then receives x_i·(Wᵀ s_w + W₊ᵀ s_plus)_i, which is what
    weights W + gamma·W₊ hand back for outputs that are positive, W + gamma·W₋ for those that are negative.
    Types, layouts and axes for targets as in `stabilised_divide`. Not differentiable.

    Reference: Montavon et al., Layer-Wise Relevance Propagation: An Overview, LNCS 11700, 2019.
    """
    _elementwise.prepare(_gamma, relevance, z, z_plus)
    s_w, s_plus = _gamma_op(relevance, z, z_plus, gamma, eps)
    return s_w, s_plus


def gamma_shares_and_kept(
    relevance: Tensor, z: Tensor, z_plus: Tensor, gamma: float, eps: float, images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(s_w, s_plus, kept): `gamma_shares`, and what the stabiliser keeps of each image.

    kept as in `stabilised_divide_and_kept`: Σ relevance − (z·s_w + z_plus·s_plus).
    """
    _elementwise.prepare(_gamma_and_kept, relevance, z, z_plus)
    s_w, s_plus, kept = _gamma_and_kept_op(relevance, z, z_plus, gamma, eps, images)
    return s_w, s_plus, kept


def residual_shares(relevance: Tensor, a: Tensor, b: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The relevance of a + b, split by what each contributed: (a·s, b·s) with s = relevance / stab(a + b).

    stab(z) = z + eps·sign(z) with sign(0) = +1. Types, layouts and axes for targets as in `stabilised_divide`.
    Not differentiable.
    """
    _elementwise.prepare(_residual, relevance, a, b)
    r_a, r_b = _residual_op(relevance, a, b, eps)
    return r_a, r_b


def residual_shares_and_kept(
    relevance: Tensor, a: Tensor, b: Tensor, eps: float, images: int
) -> tuple[Tensor, Tensor, Tensor]:
    """(a·s, b·s, kept): `residual_shares`, and what the stabiliser keeps of each image.

    kept as in `stabilised_divide_and_kept`: Σ relevance − (a·s + b·s), the two terms as they are stored.
    """
    _elementwise.prepare(_residual_and_kept, relevance, a, b)
    r_a, r_b, kept = _residual_and_kept_op(relevance, a, b, eps, images)
    return r_a, r_b, kept
