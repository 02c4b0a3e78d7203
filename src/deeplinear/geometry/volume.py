"""The three volumes of a deep linear network: Riemannian, on a stratum of fixed rank, of orbits.

They are functions of the singular values alone, and answer different questions; see
docs/three_volumes.md. A matrix is given dense, with any leading batch axes, or as a `LogSVD`, whose
singular values may lie far below the floating-point range.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float
from scipy.special import gammaln

from ..checks import check_integer, check_matrix, is_traced, raise_if
from ..compilation import program
from ..energies import Energy, check_energy
from ..errors import DepthError, InputError, SingularOperatorError
from ..reals import as_reals
from .kernel import beside, degree, inverse_depth, log_kernel
from .leaf import Depth, DepthLike, Imbalance, at_zero, is_smooth_leaf, on_leaf
from .operator import log_determinant
from .point import LogSVD, log_spectrum


def log_volume(
    W: ArrayLike | LogSVD,
    depth: DepthLike,
    coordinates: str = "dense",
    *,
    imbalance: Imbalance = 0.0,
) -> Float[Array, "..."]:
    """log √det g^N, the density of the Riemannian volume at a W of full rank,

        log √det g^N = −½ Σ log λ_N over all m·n eigenvalues of A_{N,W},

    with respect to Lebesgue measure dW = ∏ dW_ij (``coordinates="dense"``), or with respect to
    dΣ dU dV in singular-value coordinates (``coordinates="svd"``), which adds
    log van(Σ²) + |m − n| Σ log σ_i. The density in the latter is, for m = n = d,

        N < ∞:  N^{d(d−1)/2} det(Σ²)^{(1−N)/(2N)} van(Σ^{2/N}),
        N = ∞:  det(Σ²)^{−1/2} van(log Σ²).

    **Arguments**: ``imbalance``: the leaf, as in `kernel`. There σ^{2/N} becomes the root x: the
    density is N^{d²/2} ∏ P′(x_i)^{−1/2} van(x), *finite* at rank loss where one c_p is the least
    (second derivatives are NaN there).

    **Shapes**: W is (…, m, n) or a `LogSVD`; its leading axes and those of ``depth`` broadcast.
    **Normalization**: [CMV], with the factor 1/N in A_N. Differentiable in W (dense coordinates:
    also at ties, where second derivatives are NaN) and in the depth.

    **Raises** `SingularOperatorError` where the density is infinite: W below full rank at N > 1, or
    not square at N = ∞.

    **Source**: Cohen, Menon, Veraszto 2023, Theorem 1.1.

    >>> import deeplinear as dl, numpy as np
    >>> value = dl.log_volume(np.diag([2.0, 1.0]), math.inf)
    >>> bool(np.isclose(value, -0.5 * np.log(2**2 * 1**2 * (3 / np.log(4)) ** 2)))
    True
    """
    if coordinates not in ("dense", "svd"):
        raise InputError(f"coordinates must be 'dense' or 'svd', got {coordinates!r}.")
    log_s, (m, n) = _log_spectrum(W)
    nu = _nu(depth, imbalance, log_s, (m, n))
    value = _log_volume(log_s, nu, abs(m - n), coordinates)
    if is_smooth_leaf(nu):
        value = value + _no_bend(log_s)
    error = SingularOperatorError(
        "W must have full rank (and be square at depth = math.inf), for the Riemannian volume "
        "density is infinite elsewhere: use log_stratum_volume, or entropy, or a LogSVD if small "
        "singular values are known better than W shows."
    )
    return raise_if(value, _is_infinite(value), error)


def log_stratum_volume(
    W: ArrayLike | LogSVD,
    depth: DepthLike,
    rank: int | None = None,
    *,
    imbalance: Imbalance = 0.0,
) -> Float[Array, "..."]:
    """The log volume density of the metric g^N on the matrices of rank r,

        −½ Σ_{i≤r} log λ(σ_i, σ_i) − Σ_{i<j≤r} log λ(σ_i, σ_j)
        − ½ (m + n − 2r) Σ_{i≤r} log λ(σ_i, 0),

    in orthonormal (Frobenius) coordinates of their tangent space at W. It is
    finite where `log_volume` diverges, so that it compares minimizers of equal rank.

    **Arguments**: ``rank`` = r; the r largest singular values of W count, the others are taken for
    zero. By default r is the numerical rank of W, the same for a whole batch. ``imbalance`` as in
    `log_volume`; where one c_p is the least, flows leave the matrices of rank r. **Shapes**,
    **normalization**: as in `log_volume`, which this is at full rank.

    **Raises** `SingularOperatorError` where it is infinite: W of a rank below r, or any r <
    max(m, n) at N = ∞, where the directions that leave the singular spaces have infinite length.
    `InputError` for a rank out of range.

    **Source**: the metric of Bah, Rauhut, Terstiege, Westdickenberg 2019 on matrices of fixed rank.

    >>> import deeplinear as dl, numpy as np
    >>> value = dl.log_stratum_volume(np.ones((2, 2)), 2)
    >>> bool(np.isclose(value, -0.5 * np.log(2) - np.log(2 / 2)))
    True
    """
    log_s, (m, n) = _log_spectrum(W)
    k = log_s.shape[-1]
    if rank is None:
        if is_traced(log_s):
            raise InputError(
                "rank must be given inside jit, grad or vmap: the rank of W is not known there."
            )
        ranks = np.unique(np.sum(np.asarray(log_s) > -np.inf, -1))
        if ranks.size != 1 or ranks[0] == 0:
            raise InputError(
                "rank must be given where W does not have one rank ≥ 1, got ranks "
                f"{ranks.tolist()}."
            )
        rank = int(ranks[0])
    rank = check_integer(rank, "rank")
    if rank > k:
        raise InputError(
            f"rank must be an integer from 1 to the number {k} of singular values of W, got "
            f"{rank!r}."
        )
    nu = _nu(depth, imbalance, log_s, (m, n))
    value = _log_volume(log_s[..., :rank], nu, m + n - 2 * int(rank), "dense")
    error = SingularOperatorError(
        "rank must not be above the rank of W (nor below max(m, n) at depth = math.inf) for a "
        f"finite volume, got {rank} for shape {(m, n)}: lower the rank or the depth."
    )
    return raise_if(value, _is_infinite(value), error)


def entropy(
    W: ArrayLike | LogSVD,
    depth: DepthLike,
    *,
    imbalance: Imbalance = 0.0,
    constant: bool | None = None,
) -> Float[Array, "..."]:
    """The entropy of W, the log volume of its orbit,

        S_N(W) = (N − 1) log c_d + ½ log( van(Σ²) / van(Σ^{2/N}) )
               = (N − 1) log c_d + ½ Σ_{i<j} log(N λ_N(σ_i, σ_j)).

    The orbit is the set of balanced factorizations (W_1, …, W_N) of W, on which O_d^{N−1} acts;
    c_d = 2^{d(d−1)/4} ∏_{k=1}^{d} 2π^{k/2}/Γ(k/2), the volume of O_d in the Frobenius metric.

    Finite at corank 1 (N < ∞; its derivatives in W do not exist there and are NaN); −∞ at corank ≥
    2, where the orbit has fewer dimensions, and at N = ∞ at every W that is singular. A W that is
    not square has the orbits of hidden width d = min(m, n). For real N the formula is continued.

    **Arguments**: ``imbalance``: the orbit on an isotropic leaf (see `kernel`), with the root x in
    the place of σ^{2/N}. ``constant``: False leaves what does not depend on W, (N − 1) log c_d + ½
    (d choose 2) log N, out. At N = ∞ this is infinite, so None (the default) leaves it out there,
    and only there: S_∞ = ½ Σ_{i<j} log λ_∞(σ_i, σ_j).

    **Shapes**: as in `log_volume`. **Normalization**: volume in the Frobenius metric of the
    factors, as in [MY], without the 1/N of [CMV]; another factor in the metric would change the
    constant alone.

    **Raises** `DepthError` for ``constant=True`` at N = ∞.

    **Source**: Menon, Yu, *An entropy formula for the deep linear network*, Theorem 4.

    >>> import deeplinear as dl, numpy as np
    >>> W = np.diag([4.0, 1.0])  # at depth 2: c_2 = 4π√2, van(Σ²)/van(Σ) = 4 + 1
    >>> bool(np.isclose(dl.entropy(W, 2), np.log(4 * np.pi * np.sqrt(2)) + 0.5 * np.log(5)))
    True
    """
    log_s, shape = _log_spectrum(W)
    nu = _nu(depth, imbalance, log_s, shape)
    value = _interaction(log_s, nu) + (_no_bend if is_smooth_leaf(nu) else _no_slope)(log_s)
    if constant is False:
        return value
    inverse = degree(depth, log_s.dtype)
    if constant and not is_traced(inverse) and np.any(np.asarray(inverse) == 0):
        raise DepthError(
            "depth must be finite for constant=True, for orbits have infinite volume at infinite "
            "depth."
        )
    return value + _orbit_constant(inverse, log_s.shape[-1])


def free_energy(
    energy: Energy,
    W: ArrayLike,
    depth: DepthLike,
    beta: ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    constant: bool | None = None,
) -> Float[Array, "..."]:
    """The free energy F_β(W) = E(W) − S_N(W)/β.

    Its minimizers balance the training loss against the number of factorizations.
    ``gradient_flow(lambda W: free_energy(energy, W, depth, beta), W0, depth)`` is the entropic flow
    Ẇ = −A_{N,W}(∇F_β), the limit of the Langevin equation whose noise acts along the orbits alone.

    **Arguments**: ``beta`` > 0, the inverse temperature; ``imbalance`` and ``constant`` as in
    `entropy`. **Shapes**: W is (…, m, n).

    **Raises** `InputError` for β ≤ 0. **Source**: Menon, Yu (2509.09088), §1.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.array([[1.0, np.nan], [np.nan, np.nan]]))
    >>> W = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> bool(np.isclose(dl.free_energy(energy, W, 3, 10.0), energy(W) - dl.entropy(W, 3) / 10))
    True
    """
    beta = check_beta(beta)
    W = check_matrix(W, batch=True)
    W = W.astype(check_energy(energy, W.shape[-2:], W.dtype))
    value = jnp.vectorize(lambda X: jnp.reshape(energy(X), ()), signature="(m,n)->()")(W)
    beta = jnp.asarray(beta, W.dtype)
    S = entropy(W, depth, imbalance=imbalance, constant=constant)
    return value - jnp.where(jnp.isinf(beta), 0.0, S / beta)


def check_beta(beta: ArrayLike) -> ArrayLike:
    """``beta`` if it is positive; `InputError` otherwise."""
    error = InputError(
        f"beta must be positive, got {beta!r}: it is an inverse temperature, and math.inf means no "
        "entropy."
    )
    if is_traced(beta):
        return raise_if(beta, ~(jnp.asarray(beta) > 0), error)
    return raise_if(beta, ~(as_reals(beta, "beta") > 0), error)


def _log_spectrum(W: ArrayLike | LogSVD) -> tuple[Float[Array, "*batch k"], tuple[int, int]]:
    """log σ_1 ≥ … ≥ log σ_k, k = min(m, n), and the shape (m, n) of W.

    Singular values of a dense W that are rounding noise, up to max(m, n) times machine precision
    times σ_1, count as zero, as in `Operator`.
    """
    if isinstance(W, LogSVD):
        log_s = W.log_s
        missing = min(W.shape) - log_s.shape[-1]
        padding = jnp.full((*log_s.shape[:-1], missing), -jnp.inf, log_s.dtype)
        return jnp.concatenate([log_s, padding], -1), W.shape
    W = check_matrix(W, batch=True)
    noise = max(W.shape[-2:]) * float(jnp.finfo(W.dtype).eps)
    return log_spectrum(W, noise), (W.shape[-2], W.shape[-1])


@program
def _log_volume(log_s: Array, nu: Depth, edges: int, coordinates: str) -> Array:
    value = -0.5 * log_determinant(log_s, edges, nu)
    # the Jacobian of the singular-value coordinates
    if coordinates == "svd":
        value = value + _log_vandermonde(log_s) + (edges * jnp.sum(log_s, -1) if edges else 0.0)
        infinite = jnp.any(jnp.isneginf(log_s), -1) & (at_zero(nu) < 1)
        infinite |= (at_zero(nu) == 0) & (edges > 0)
        # ∞ − ∞ there: the density wins over the Jacobian
        value = jnp.where(infinite, jnp.inf, value)
    return value


def _log_vandermonde(log_s: Array) -> Array:
    """log van(Σ²) = Σ_{i<j} log(σ_i² − σ_j²) for descending σ."""
    i, j = np.triu_indices(log_s.shape[-1], 1)
    big, small = log_s[..., i], log_s[..., j]
    # log(σ_i² − σ_j²) = 2 log σ_i + log(1 − e^{2 gap}); where both are zero, ∞ − ∞ is avoided
    tied = jnp.isneginf(big)
    gap = jnp.where(tied, 0.0, small) - jnp.where(tied, 0.0, big)
    return jnp.sum(2 * big + jnp.log(-jnp.expm1(2 * gap)), -1)


@program
def _interaction(log_s: Array, nu: Depth) -> Array:
    """½ Σ_{i<j} log λ_N(σ_i, σ_j): the part of the entropy that depends on W."""
    i, j = np.triu_indices(log_s.shape[-1], 1)
    return 0.5 * jnp.sum(log_kernel(log_s[..., i], log_s[..., j], beside(nu, 1)), -1)


@jax.custom_jvp
def _no_slope(log_s: Array) -> Array:
    """0, with derivative NaN where a singular value is 0.

    The entropy is finite at corank 1, but its slope is not.
    """
    return jnp.zeros(log_s.shape[:-1], log_s.dtype)


@_no_slope.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    singular = jnp.any(jnp.isneginf(primals[0]), -1, keepdims=True)
    return _no_slope(*primals), jnp.sum(jnp.where(singular, jnp.nan, 0.0) * tangents[0], -1)


@program
def _orbit_constant(nu: Array, d: int) -> Array:
    """(N − 1) log c_d + ½ (d choose 2) log N; 0 at N = ∞."""
    k = np.arange(1, d + 1)
    # log of c_d, the volume of O_d (see `entropy`)
    log_c = d * (d - 1) / 4 * math.log(2) + np.sum(
        math.log(2) + k / 2 * math.log(math.pi) - gammaln(k / 2)
    )
    safe = jnp.where(nu > 0, nu, 1.0)
    return jnp.where(nu > 0, (1 / safe - 1) * float(log_c) - d * (d - 1) / 4 * jnp.log(safe), 0.0)


@jax.custom_jvp
def _no_bend(log_s: Array) -> Array:
    """0, with second derivative NaN where a singular value is 0.

    On a leaf that is smooth there the slope is 0, as is right; the bend is not computed.
    """
    return jnp.zeros(log_s.shape[:-1], log_s.dtype)


@_no_bend.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _no_bend(*primals), _no_slope(*primals) * jnp.sum(tangents[0], -1)


def _nu(depth: DepthLike, imbalance: Imbalance, log_s: Array, shape: tuple[int, int]) -> Depth:
    return inverse_depth(on_leaf(depth, imbalance, shape=shape), log_s.dtype)


def _is_infinite(value: Array) -> ArrayLike:
    return jnp.isposinf(value) if is_traced(value) else np.isposinf(value)
