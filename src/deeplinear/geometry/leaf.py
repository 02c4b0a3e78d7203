"""Isotropic leaves: balanced networks and all others whose imbalances are multiples of I.

Gradient flow on the factors conserves D_p = W_{p+1}ᵀW_{p+1} − W_pW_pᵀ. Where it is
(c_{p+1} − c_p) I, the theory of balanced factors holds with the root x(σ) of
P(x) = ∏_p (x + c_p) = σ² in the place of σ^{2/N}. A `Leaf` stands for such a metric wherever
functions take a depth (or ν = 1/N).
"""

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from ..checks import as_array, check_depth, check_integer_depth, check_known, is_traced
from ..errors import InputError

# Newton's method for the root is monotone, and the error squares: more never changed a digit.
_STEPS = 30

# What `imbalance` may be: a number δ for equal steps, or (c_1, …, c_N).
Imbalance = ArrayLike | Sequence[int | float]


class Leaf(eqx.Module):
    """The isotropic leaf D_p = (c_{p+1} − c_p) I of networks of depth N, min c = 0, not balanced.

    ``least``: which c_p are 0, known also where c is traced.
    """

    c: Float[Array, " N"]
    least: tuple[bool, ...] = eqx.field(static=True)

    def __init__(self, c: ArrayLike, least: tuple[bool, ...] | None = None):
        self.c = jnp.asarray(c) if is_traced(c) else jax.device_put(np.asarray(c))
        self.least = tuple((np.asarray(c) == 0).tolist()) if least is None else least

    @property
    def zeros(self) -> int:
        """How many c_p are 0. Where σ → 0 the metric behaves as at that depth: for one zero it is
        smooth at rank loss, and singular values cross zero.
        """
        return sum(self.least)

    @property
    def dtype(self) -> DTypeLike:
        return self.c.dtype

    def astype(self, dtype: DTypeLike) -> "Leaf":
        if self.dtype == dtype:
            return self
        c = as_array(self.c, dtype)
        if is_traced(c):
            return Leaf(c, self.least)
        if not np.isfinite(c).all():
            raise InputError(f"imbalance must be within the range of {np.dtype(dtype).name}.")
        return Leaf(c)  # what is too small for the type is 0

    def __repr__(self) -> str:
        if is_traced(self.c):
            return f"{self.c.size} on a leaf"
        return f"{self.c.size} on the leaf ({', '.join(f'{c:g}' for c in np.asarray(self.c))})"


# A depth as functions of the geometry take it, and as they have it inside (or ν = 1/N).
DepthLike = ArrayLike | Leaf
Depth = Array | Leaf


def on_leaf(
    depth: DepthLike,
    imbalance: Imbalance = 0.0,
    *,
    shape: tuple[int, ...] | None = None,
    scalar: bool = False,
) -> DepthLike:
    """What the depth and the imbalance that a user gives stand for: the depth itself, if balanced.

    ``shape``: that of W, which not every leaf is for. Raises as `check_depth` and `check_imbalance`
    do.
    """
    if isinstance(depth, Leaf):
        if shape is not None:
            check_leaf_shape(depth, shape)
        return depth
    depth = check_depth(depth, scalar=scalar)
    if not is_traced(imbalance) and isinstance(imbalance, int | float) and imbalance == 0:
        return depth
    if is_traced(depth):
        raise InputError("depth must be known beside an imbalance, not an argument of jit or vmap.")
    c = check_imbalance(imbalance, depth)
    if not np.any(c > 0):
        return depth
    leaf = Leaf(c)
    if shape is not None:
        check_leaf_shape(leaf, shape)
    return leaf


def in_precision(depth: DepthLike, dtype: DTypeLike) -> Depth:
    """A depth as array, or a leaf, of this type."""
    return depth.astype(dtype) if isinstance(depth, Leaf) else as_array(depth, dtype)


def at_zero(nu: Depth) -> Array | float:
    """The ν = 1/N whose metric is as this one where σ → 0."""
    return 1 / nu.zeros if isinstance(nu, Leaf) else nu


def exponent(nu: Depth) -> Array | float:
    """ν itself; 1/N of a leaf."""
    return 1 / nu.c.size if isinstance(nu, Leaf) else nu


def is_smooth_leaf(depth: DepthLike) -> bool:
    """Whether it is a leaf whose metric is smooth at rank loss: one c_p is 0."""
    return isinstance(depth, Leaf) and depth.zeros == 1


def is_smooth(depth: Depth) -> Array:
    """Whether the metric is smooth at rank loss: also at N = 1."""
    return jnp.asarray(is_smooth_leaf(depth) if isinstance(depth, Leaf) else depth == 1)


def rescaled(depth: Depth, size: Array) -> Depth:
    """The metric at W/size: A_W = size^{2−2ν} A′_{W/size}, where A′ has this depth or leaf."""
    if not isinstance(depth, Leaf):
        return depth
    return Leaf(depth.c / size ** (2 / depth.c.size), depth.least)


def check_leaf_shape(depth: DepthLike, shape: tuple[int, ...]) -> None:
    """`InputError` for a leaf on which λ^c alone does not make the metric at a W of this shape.

    Directions outside the row space of W move the first layer only: A is (1/N) ∏_{q>1} (x + c_q)
    there, which is λ^c(σ, 0) where c_1 is the least. Likewise for columns and the last layer.
    """
    if not isinstance(depth, Leaf) or shape[-2] == shape[-1]:
        return
    wide = shape[-2] < shape[-1]
    if not depth.least[0 if wide else -1]:
        raise InputError(
            f"imbalance must be least at its {'first' if wide else 'last'} entry for a W of shape "
            f"{shape[-2:]}, got depth {depth}: follow factor_flow from leaf_factors instead."
        )


def check_imbalance(imbalance: Imbalance, depth: object) -> np.ndarray:
    """(c_1, …, c_N) with min c = 0, of a sequence or of a number δ for c_p = (p − 1)δ.

    `InputError` where c is no vector of N finite numbers, `DepthError` where N is no integer.
    """
    check_known(imbalance, "imbalance")
    check_known(depth, "depth")
    try:
        c = np.asarray(imbalance)
        c = c.astype(float) if c.dtype.kind in "iuf" else np.asarray(math.nan)
    except (TypeError, ValueError):
        c = np.asarray(math.nan)
    if depth is not None:
        depth = check_integer_depth(depth, "beside an imbalance", "leave the imbalance out")
    if c.ndim == 0 and depth is None:
        raise InputError("imbalance must be (c_1, …, c_N), or depth given beside a number.")
    with np.errstate(over="ignore", invalid="ignore"):
        if c.ndim == 0 and depth is not None:
            c = c * np.arange(depth)
        shifted = c - c.min(initial=math.inf)
    if c.ndim != 1 or c.size == 0 or not np.isfinite(shifted).all():
        raise InputError(f"imbalance must be a finite number or vector, got {imbalance!r}.")
    if depth is not None and c.size != depth:
        raise InputError(f"imbalance must hold depth = {depth} numbers, got {c.size}.")
    return shifted


def log_root(log_s: Float[Array, "..."], c: Float[ArrayLike, " N"]) -> Float[Array, "..."]:
    """log x of the root x ≥ 0 of ∏_p (x + c_p) = σ², from log σ and c with min c = 0.

    Σ_p log(e^ℓ + c_p) is convex and increasing in ℓ = log x, so that Newton's method comes down to
    the root from any point above it. Differentiable in log σ; −∞ at σ = 0.
    """
    return _log_root(log_s, jnp.asarray(c, log_s.dtype))


@jax.custom_jvp
def _log_root(log_s: Array, c: Array) -> Array:
    present = ~jnp.isneginf(log_s)
    goal = 2 * jnp.where(present, log_s, 0.0)[..., None]
    # two bounds: every factor is at least x, and at least its own c
    zeros = jnp.sum(c == 0)
    rest = jnp.sum(jnp.log(jnp.where(c == 0, 1.0, c)))
    start = jnp.minimum(goal / c.size, (goal - rest) / zeros)

    def step(_: int, l: Array) -> Array:
        # log(e^ℓ + c) = max(ℓ, log c) + log(1 + e^{−|ℓ − log c|})
        excess = jnp.sum(jnp.logaddexp(l, jnp.log(c)), -1, keepdims=True) - goal
        return l - excess / _slope(l, c)[..., None]

    root = jax.lax.fori_loop(0, _STEPS, step, start)[..., 0]
    return jnp.where(present, root, -jnp.inf)


def _slope(l: Array, c: Array) -> Array:
    """d log P / d log x = Σ_p x/(x + c_p), between the number of zeros among c and N."""
    return jnp.sum(jax.nn.sigmoid(l - jnp.log(c)), -1)


@_log_root.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    log_s, c = primals
    root = _log_root(log_s, c)
    finite = jnp.where(jnp.isneginf(root), 0.0, root)
    return root, 2 * tangents[0] / _slope(finite[..., None], c)


@jax.custom_jvp
def root_of_square(u: Float[Array, "..."], c: Float[Array, " N"]) -> Float[Array, "..."]:
    """The root x of ∏_p (x + c_p) = u ≥ 0, differentiable in u to any order.

    dx/du = 1/P′(x); where that is infinite (u = 0, two zeros among c) it is defined as 0.
    """
    safe = jnp.where(u > 0, u, 1.0)
    return jnp.where(u > 0, jnp.exp(log_root(0.5 * jnp.log(safe), c)), 0.0)


@root_of_square.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    u, c = primals
    x = root_of_square(u, c)
    slope = c.size * leaf_kernel(x, x, c)
    return x, jnp.where(slope > 0, 1 / jnp.where(slope > 0, slope, 1.0), 0.0) * tangents[0]


@jax.custom_jvp
def root_of(s: Float[Array, "..."], c: Float[Array, " N"]) -> Float[Array, "..."]:
    """The root x of ∏_p (x + c_p) = σ², σ ≥ 0 of any size; its derivative is 0 at σ = 0."""
    safe = jnp.where(s > 0, s, 1.0)
    return jnp.where(s > 0, jnp.exp(log_root(jnp.log(safe), c)), 0.0)


@root_of.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    s, c = primals
    x = root_of(s, c)
    # 2x/(σ d log P/d log x), which is 2σ/P′(x), from numbers that neither overflow nor vanish
    shares = x[..., None] / (x[..., None] + jnp.where(c > 0, c, 1.0))
    slope = jnp.sum(jnp.where(c > 0, shares, 1.0), -1)
    safe = jnp.where(s > 0, s, 1.0)
    return x, jnp.where(s > 0, 2 * x / (safe * slope), 0.0) * tangents[0]


def leaf_kernel(x: Array, y: Array, c: Float[ArrayLike, " N"]) -> Array:
    """λ^c = (P(x) − P(y)) / (N (x − y)) of two roots x, y.

    As (1/N) Σ_p ∏_{q<p} (x + c_q) ∏_{q>p} (y + c_q) it is a sum of positive terms, exact at ties.
    **Normalization**: [CMV]'s, with 1/N.
    """
    c = jnp.asarray(c, x.dtype)
    lower = [jnp.ones_like(x)]
    upper = [jnp.ones_like(y)]
    for p in range(c.size - 1):
        lower.append(lower[-1] * (x + c[p]))
        upper.append(upper[-1] * (y + c[c.size - 1 - p]))
    products = [a * b for a, b in zip(lower, reversed(upper), strict=True)]
    return jnp.sum(jnp.stack(products), axis=0) / c.size


# Stands for log x = −∞: exact beside any log c, and without infinities for derivatives to meet.
_NOWHERE = -1e30


def log_leaf_kernel(log_a: Array, log_b: Array, c: Float[ArrayLike, " N"]) -> Array:
    """log λ^c of two singular values, from their logarithms (−∞ for a zero one): no underflow."""
    log_a, log_b = jnp.broadcast_arrays(log_a, log_b)
    c = jnp.asarray(c, log_a.dtype)
    log_c = jnp.log(jnp.where(c > 0, c, 1.0))
    roots = (log_root(l, c) for l in (log_a, log_b))
    x, y = (jnp.where(jnp.isneginf(l), _NOWHERE, l) for l in roots)

    def sums(l: Array) -> list[Array]:
        """log(x + c_p) for each p."""
        return [jnp.where(c[p] > 0, jnp.logaddexp(l, log_c[p]), l) for p in range(c.size)]

    in_x, in_y = sums(x), sums(y)
    terms = []
    for p in range(c.size):
        parts = [*in_x[:p], *in_y[p + 1 :]]
        terms.append(sum(parts[1:], parts[0]) if parts else jnp.zeros_like(x))
    value = jax.nn.logsumexp(jnp.stack(terms), axis=0) - np.log(c.size)
    return jnp.where(value < _NOWHERE / 2, -jnp.inf, value)


def leaf_turning(log_a: Array, log_b: Array, leaf: Leaf, tie: Array) -> tuple[Array, Array]:
    """(c σ_i, c σ_j) with c = λ(σ_i, σ_j)/(σ_i² − σ_j²), the rates at which singular vectors turn.

    From a = log σ_i and b = log σ_j; zero for equal ones, and cut off below a gap ``tie`` of them.
    """
    same = log_a == log_b  # two zeros as well
    big = jnp.where(same, 0.0, jnp.maximum(log_a, log_b))
    gap = jnp.where(same, 1.0, log_a - jnp.where(same, 0.0, log_b))
    share = -jnp.expm1(-2 * jnp.abs(gap))  # |σ_i² − σ_j²| / max²
    inverse = jnp.where(same, 0.0, jnp.sign(gap) / (share + tie**2 / share))
    log_pair = log_leaf_kernel(log_a, log_b, leaf.c) - 2 * big
    return inverse * jnp.exp(log_a + log_pair), inverse * jnp.exp(log_b + log_pair)
