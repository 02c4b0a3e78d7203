"""Root coordinates R = U Σ^{1/N} Vᵀ, in which the Riemannian volume is flat, and its Gibbs law.

√det g^N dW = N^p dR with p = k(k + 1)/2 + k|m − n|/2, k = min(m, n): that √det g^N diverges at low
rank is a matter of the coordinates W. With weight decay alone, E = (λN/2) Σ σ_i^{2/N} = (λN/2)‖R‖²,
the law e^{−βE} dvol is Gaussian in R.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    RandomKey,
    check_depth,
    check_integer,
    check_key,
    check_known,
    check_matrix,
    check_positive,
    check_shape,
    is_traced,
    raise_if,
)
from ..errors import DepthError, InputError, PrecisionError
from .kernel import log_gap, shrink


def root(W: ArrayLike, depth: float) -> Float[Array, "*batch m n"]:
    """R = U Σ^{1/N} Vᵀ of W = U Σ Vᵀ, at any rank.

    Balanced factors are Q_p diag(R's singular values) Q_{p−1}ᵀ. **Shapes**: W is (…, m, n).
    Differentiable once where W has full rank, also where singular values are tied.

    **Raises** `DepthError` at N = ∞, where the root is the orthogonal factor alone, `InputError`.
    **Source**: theory: √det g^N dW = N^{d(d+1)/2} dR.

    >>> import deeplinear as dl, numpy as np
    >>> dl.root(np.diag([9.0, 4.0]), 2).round(6).tolist()
    [[3.0, 0.0], [0.0, 2.0]]
    """
    return _finite_power(check_matrix(W, batch=True), 1 / _finite(depth))


def from_root(R: ArrayLike, depth: float) -> Float[Array, "*batch m n"]:
    """W = U P^N Vᵀ of R = U P Vᵀ: the inverse of `root`, which see.

    **Raises** also `PrecisionError` where P^N is beyond the floating-point range.

    >>> import deeplinear as dl, numpy as np
    >>> dl.from_root(np.diag([3.0, 2.0]), 2).round(6).tolist()
    [[9.0, 0.0], [0.0, 4.0]]
    """
    return _finite_power(check_matrix(R, "R", batch=True), _finite(depth))


def sample_prior(
    depth: float,
    shape: tuple[int, int],
    beta: float,
    weight_decay: float,
    key: RandomKey,
    samples: int | None = None,
) -> Float[Array, "*samples m n"]:
    """Exact, independent samples of e^{−βE} dvol with the energy of weight decay alone,

        E = (λN/2) Σ σ_i^{2/N}:   W = `from_root` of R,  R_ij ~ N(0, 1/(βλN)) independent,

    the stationary law of `langevin` with that energy. **Arguments**: ``shape`` (m, n);
    ``samples`` None for one matrix. **Normalization**: the volume of g^N, [CMV]'s; λ as in
    `gradient_flow`. **Raises** `DepthError` (N = ∞ has no such law), `InputError`.

    >>> import deeplinear as dl
    >>> dl.sample_prior(3, (2, 2), beta=10.0, weight_decay=0.1, key=0, samples=5).shape
    (5, 2, 2)
    """
    N, (m, n), rate = _law(depth, shape, beta, weight_decay)
    lead = () if samples is None else (check_integer(samples, "samples"),)
    R = jax.random.normal(check_key(key), (*lead, m, n)) / math.sqrt(rate)
    return _finite_power(R, N)


def log_partition_function(
    depth: float, shape: tuple[int, int], beta: float, weight_decay: float
) -> float:
    """log Z of the law of `sample_prior`, Z = ∫ e^{−βE} dvol = N^p (2π/(βλN))^{mn/2},

    with p = k(k + 1)/2 + k|m − n|/2 and k = min(m, n). Everything as in `sample_prior`.

    >>> import deeplinear as dl, math
    >>> log_Z = dl.log_partition_function(1, (1, 1), beta=2.0, weight_decay=0.5)
    >>> math.isclose(log_Z, math.log(math.sqrt(2 * math.pi)))  # depth 1: a Gaussian of variance 1
    True
    """
    N, (m, n), rate = _law(depth, shape, beta, weight_decay)
    k = min(m, n)
    p = k * (k + 1) / 2 + k * abs(m - n) / 2
    return p * math.log(N) + m * n / 2 * (math.log(2 * math.pi) - math.log(rate))


def _law(
    depth: float, shape: tuple[int, int], beta: float, weight_decay: float
) -> tuple[float, tuple[int, int], float]:
    """N, (m, n) and βλN, checked."""
    N = _finite(depth)
    sizes = check_shape(shape)
    rate = check_positive(beta, "beta") * check_positive(weight_decay, "weight_decay") * N
    if not 0 < rate < math.inf:
        raise InputError(
            f"beta and weight_decay must have a product in the range of floats, got {beta!r} and "
            f"{weight_decay!r}."
        )
    return N, sizes, rate


def _finite(depth: float) -> float:
    check_known(depth, "depth")
    check_depth(depth, scalar=True)
    N = float(np.asarray(depth))
    if math.isinf(N):
        raise DepthError("depth must be finite: at N = ∞ W has no root that determines it.")
    return N


def _finite_power(W: Array, q: float) -> Array:
    value = _power(W, q)
    return raise_if(
        value,
        ~(jnp if is_traced(value) else np).isfinite(value),
        PrecisionError(
            f"depth must be smaller here: σ^{q:g} is beyond the range of {value.dtype.name}."
        ),
    )


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _power(W: Array, q: float) -> Array:
    """U Σ^q Vᵀ."""
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    return (U * s[..., None, :] ** q) @ Vt


@_power.defjvp
def _(q: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """By divided differences of s ↦ s^q, continued as an odd function of s."""
    (W,), (dW,) = primals, tangents
    U, s, Vt = jnp.linalg.svd(W, full_matrices=False)
    V = jnp.swapaxes(Vt, -1, -2)
    frame = jnp.swapaxes(U, -1, -2) @ dW @ V
    turned = jnp.swapaxes(frame, -1, -2)
    a, b = jnp.broadcast_arrays(s[..., :, None], s[..., None, :])
    big, z = log_gap(a, b)
    w = z / 2  # log of their ratio
    # (a^q − b^q)/(a − b) = a^{q−1} (1 − e^{−qw})/(1 − e^{−w})
    quotient = q / shrink(w, q) if q <= 1 else shrink(q * w, 1 / q) * q
    symmetric = big ** (q - 1) * quotient
    skew = (a**q + b**q) / (a + b)
    inside = (symmetric * (frame + turned) + skew * (frame - turned)) / 2
    value = (U * s[..., None, :] ** q) @ Vt
    # directions that leave the column or the row space: f(s)/s
    ratio = s[..., None, :] ** (q - 1)
    along = U @ inside @ Vt
    outside_rows = dW @ V - U @ frame
    outside_cols = jnp.swapaxes(U, -1, -2) @ dW - frame @ Vt
    slope = along + (outside_rows * ratio) @ Vt + (U * ratio) @ outside_cols
    return value, slope
