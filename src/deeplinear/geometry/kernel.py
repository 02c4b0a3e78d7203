"""The pair kernel λ_N(a, b), accurate at ties, at zero and at any ratio of a and b.

Metric, volume and flows follow from it.
Everything is written in ν = 1/N, so that depth is an ordinary array argument and N = ∞ is ν = 0:

    λ_N(a, b) = (a² − b²) / (N (a^{2/N} − b^{2/N})) = max(a, b)^{2−2ν} φ(z)/φ(νz),

with z = 2 |log a − log b| and φ(z) = (1 − e^{−z})/z. Nothing cancels in the second form.
"""

from types import ModuleType
from typing import TypeVar, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from ..checks import is_traced
from ..reals import as_reals
from .leaf import Depth, DepthLike, Imbalance, Leaf, leaf_kernel, log_leaf_kernel, on_leaf, root_of

ArrayT = TypeVar("ArrayT", Array, np.ndarray)  # a formula for both gives what it is given


@overload
def inverse_depth(depth: Leaf, dtype: DTypeLike) -> Leaf: ...  # type: ignore[overload-overlap]


@overload
def inverse_depth(depth: DepthLike, dtype: DTypeLike) -> Float[Array, "..."]: ...


def inverse_depth(depth: DepthLike, dtype: DTypeLike) -> Depth:
    """ν = 1/N as an array of ``dtype``; 0 at N = ∞, NaN where N < 1. A leaf stands for itself."""
    if isinstance(depth, Leaf):
        return depth.astype(dtype)
    xp = jnp if is_traced(depth) else np
    N = xp.asarray(depth, dtype)
    with np.errstate(divide="ignore"):
        return jnp.asarray(xp.where(N >= 1, 1 / N, jnp.nan), N.dtype)


def degree(depth: DepthLike, dtype: DTypeLike) -> Float[Array, "..."]:
    """ν = 1/N, also of a leaf: A_W is homogeneous of degree 2 − 2ν in W (see `rescaled`)."""
    return inverse_depth(depth.c.size if isinstance(depth, Leaf) else depth, dtype)


def beside(nu: DepthLike, axes: int) -> DepthLike:
    """ν, or one for each leading axis, with so many axes more for singular values to fill."""
    return nu if isinstance(nu, Leaf) else jnp.reshape(nu, jnp.shape(nu) + (1,) * axes)


def depth_of(nu: Depth) -> Depth:
    """The depth N = 1/ν; a leaf stands for itself."""
    return nu if isinstance(nu, Leaf) else 1 / nu


def log_growth(log_s: Array, nu: Depth) -> Array:
    """log(λ(σ, σ)/σ) = (1 − 2ν) log σ: how fast log σ moves, per unit of the gradient."""
    if isinstance(nu, Leaf):
        return log_kernel(log_s, log_s, nu) - log_s
    return (1 - 2 * nu) * log_s


def _rounding_of_inverse(N: Array, nu: Array) -> Array:
    """1/N − ν, the rounding error of ν = fl(1/N): (1 − N·ν)/N, with N·ν in exact pieces."""
    # Dekker's product: halves of the mantissa, whose products are exact
    half = 26 if N.dtype == jnp.float64 else 12
    exponent = 11 if N.dtype == jnp.float64 else 8
    N0, nu0 = (jax.lax.reduce_precision(x, exponent, half - 1) for x in (N, nu))
    missing = (((1 - N0 * nu0) - N0 * (nu - nu0)) - (N - N0) * nu0) - (N - N0) * (nu - nu0)
    return jnp.where(jnp.isfinite(N), missing / N, 0.0)


def shrink(z: ArrayT, nu: ArrayT | float, xp: ModuleType = jnp) -> ArrayT:
    """φ(z)/φ(νz) = (1 − e^{−z}) ν / (1 − e^{−νz}) for z in [0, ∞], ν in [0, 1], with its limits.

    The limits are 1 at z = 0, ν at z = ∞ and φ(z) at ν = 0. ``xp``: the array module,
    ``jax.numpy`` or ``numpy``.
    """
    small = nu * z < 1e-30  # there 1 − e^{−νz} = νz to the last digit
    safe_nu = xp.where(nu > 0, nu, 1.0)
    denominator = xp.where(small | (nu == 0), z, -xp.expm1(-safe_nu * z) / safe_nu)
    return xp.where(z == 0, 1.0, -xp.expm1(-z) / xp.where(z == 0, 1.0, denominator))


def log_kernel_of(log_a: ArrayT, log_b: ArrayT, nu: ArrayT | float, xp: ModuleType = jnp) -> ArrayT:
    """The formula of `log_kernel` for JAX or NumPy arrays (``xp``), without derivative rules."""
    infinite = xp.isposinf(log_a) | xp.isposinf(log_b)
    big, z = _difference(xp.where(infinite, 0.0, log_a), xp.where(infinite, 0.0, log_b), xp)
    # At N = 1 the head is 0 also where both singular values are, 0 · (−∞).
    head = xp.where(nu == 1, 0.0, (2 - 2 * nu) * big)
    value = head + xp.log(shrink(z, nu, xp))
    value = xp.where(infinite, xp.where(nu == 1, 0.0, xp.inf), value)
    return xp.where(xp.isnan(log_a) | xp.isnan(log_b), xp.nan, value)


def _bernoulli(z: Array) -> Array:
    """z / (e^z − 1) for finite z ≥ 0, without overflow; 1 at 0."""
    safe = jnp.where(z == 0, 1.0, z)
    return jnp.where(z == 0, 1.0, safe * jnp.exp(-safe) / -jnp.expm1(-safe))


# B_{2k}/(2k)!, k = 1 …: z/(e^z − 1) = 1 − z/2 + Σ_k c_k z^{2k}, used for z ≤ 1 (the radius of
# convergence is 2π).
_SERIES = (
    1 / 12,
    -1 / 720,
    1 / 30240,
    -1 / 1209600,
    1 / 47900160,
    -691 / 1307674368000,
    1 / 74724249600,
    -3617 / 10670622842880000,
    43867 / 5109094217170944000,
)


def _log_slopes(a_is_larger: Array, z: Array, nu: Array) -> tuple[Array, Array]:
    """∂ log λ / ∂ log a and ∂ log λ / ∂ log b.

    In the smaller argument it is S = 2 (B(νz) − B(z))/z with B(z) = z/(e^z − 1), which is 1 − ν at
    z = 0; in the larger one 2(1 − ν) − S. This S keeps its digits in the far tail, where a
    difference of hyperbolic cotangents has none.
    """
    near = z <= 1
    x = jnp.where(near, z, 0.0)
    series, power_nu, power = (1 - nu) / 2 + 0 * x, nu * nu * x, x  # ν^{2k} z^{2k−1} and z^{2k−1}
    for c in _SERIES:
        series = series + c * (power_nu - power)
        power_nu, power = power_nu * (nu * x) ** 2, power * x**2
    far = jnp.where(near, 2.0, z)
    # at z = ∞ it is 0, by the division
    finite = jnp.where(jnp.isinf(far), 2.0, far)
    smaller = 2 * jnp.where(near, series, (_bernoulli(nu * finite) - _bernoulli(finite)) / far)
    larger = 2 * (1 - nu) - smaller
    return jnp.where(a_is_larger, larger, smaller), jnp.where(a_is_larger, smaller, larger)


def log_slope(z: Array, nu: Array) -> tuple[Array, Array]:
    """S(z), the ∂ log λ / ∂ log of the smaller argument as in `_log_slopes`, and dS/dz, z ≥ 0.

    S moves by −2 dS/dz with the log of the smaller argument and by 2 dS/dz with that of the larger.
    """
    near = z <= 1
    x = jnp.where(near, z, 0.0)
    # S/2 = (1 − ν)/2 + Σ_k c_k (ν^{2k} − 1) z^{2k−1}, and its derivative, by Horner's rule
    even, slope = jnp.zeros_like(x), jnp.zeros_like(x)
    for k, c in reversed(list(enumerate(_SERIES, 1))):
        weight = c * (nu ** (2 * k) - 1)
        even, slope = even * x**2 + weight, slope * x**2 + (2 * k - 1) * weight
    series = (1 - nu) + 2 * x * even, 2 * slope
    far = jnp.where(near | jnp.isinf(z), 2.0, z)
    y = nu * far
    inner, outer = _bernoulli(y), _bernoulli(far)
    # B′(y) = (B/y)(1 − y − B), and so ν B′(νz) = (B/z)(1 − y − B), also at ν = 0
    change = inner * (1 - y - inner) - outer * (1 - far - outer)
    change = jnp.where(nu == 1, 0.0, change)  # exactly: rounded once, a product differs from itself
    S = 2 * (inner - outer) / far
    far_values = S, (2 * change / far - S) / far
    return tuple(  # type: ignore[return-value]
        jnp.where(near, a, jnp.where(jnp.isinf(z), 0.0, b))
        for a, b in zip(series, far_values, strict=True)
    )


def _log_slope_nu(z: Array, nu: Array, log_max: Array) -> Array:
    """∂ log λ / ∂ν = −2 log max(a, b) − z ℓ′(νz) with ℓ = log φ, ℓ′(y) = (B(y) − 1)/y."""
    y = nu * jnp.where(jnp.isinf(z), 0.0, z)
    near = y <= 0.5
    x = jnp.where(near, y, 0.0)
    series, power = -0.5 + jnp.zeros_like(x), x
    for c in _SERIES:
        series, power = series + c * power, power * x * x
    far = jnp.where(near, 1.0, y)
    slope = jnp.where(near, series, (_bernoulli(far) - 1) / far)
    safe_nu = jnp.where(nu > 0, nu, 1.0)
    # −z ℓ′(νz) → 1/ν as z → ∞; at ν = 0 only λ itself has a limit, which is 0
    at_infinity = jnp.where(nu > 0, 1 / safe_nu, 0.0)
    finite = -jnp.where(jnp.isinf(z), 0.0, z) * slope
    return -2 * log_max + jnp.where(jnp.isinf(z), at_infinity, finite)


def log_gap(a: Array, b: Array) -> tuple[Array, Array]:
    """(max, z = 2 log(max/min)) of a, b ≥ 0; z = 0 where both vanish, ∞ where one does.

    Ordered by ``where`` and not by ``maximum`` or ``abs``: at a tie one branch continues
    analytically, so that derivatives of any order are right there.
    """
    big, small = jnp.where(a >= b, a, b), jnp.where(a >= b, b, a)
    safe_big, safe_small = jnp.where(big > 0, big, 1.0), jnp.where(small > 0, small, 1.0)
    ratio = small / safe_big
    normal = ratio >= jnp.finfo(ratio.dtype).tiny
    near = jnp.log(jnp.where(normal, ratio, 1.0))
    far = jnp.log(safe_small) - jnp.log(safe_big)  # small/big has underflowed
    z = -2 * jnp.where(normal, near, far)
    return big, jnp.where(small > 0, z, jnp.where(big > 0, jnp.inf, 0.0))


def _factored_kernel(a: Array, b: Array, N: Array) -> tuple[Array, Array]:
    """(p, r) with λ_N(a, b) = p r p, p = max(a, b)^{1−1/N}."""
    nu = inverse_depth(N, N.dtype)
    big, z = log_gap(a, b)
    log_big = jnp.log(jnp.where((big > 0) & jnp.isfinite(big), big, 1.0))
    # big^{2−2ν} in two factors that neither overflow nor underflow before the result does; the
    # exponential repairs the rounding of the exponent, which |log big| ≤ 708 would otherwise
    # amplify to 1e−13.
    q = 1 - nu
    rounding = ((1 - q) - nu) - _rounding_of_inverse(N, nu)
    return jnp.power(big, q) * jnp.exp(rounding * log_big), shrink(z, nu)


@jax.custom_jvp
def _kernel(a: Array, b: Array, N: Array) -> Array:
    power, ratio = _factored_kernel(a, b, N)
    value = power * ratio * power
    infinite = jnp.where(N > 1, jnp.inf, 1.0)
    value = jnp.where(jnp.isposinf(a) | jnp.isposinf(b), infinite, value)
    return jnp.where((a >= 0) & (b >= 0) & (N >= 1), value, jnp.nan)


@_kernel.defjvp
def _kernel_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    a, b, N = primals
    da, db, dN = tangents
    nu = inverse_depth(N, N.dtype)
    value = _kernel(a, b, N)
    big, z = log_gap(a, b)
    slope_a, slope_b = _log_slopes(a >= b, z, nu)
    # A zero singular value stays zero along every flow: the derivative in it is defined as 0 (the
    # true one-sided derivative of λ_N(a, b) at b = 0 is infinite for N > 2).
    power, ratio = (jax.lax.stop_gradient(x) for x in _factored_kernel(a, b, N))

    def over(x: Array) -> Array:
        # By way of the value, whose own rule is right at a tie, where it does not overflow.
        safe = jnp.where(x == 0, 1.0, x)
        quotient = jnp.where(jnp.isinf(value), power * (ratio * (power / safe)), value / safe)
        return jnp.where(x == 0, 0.0, quotient)

    in_a, in_b = over(a) * slope_a, over(b) * slope_b
    in_nu = value * _log_slope_nu(z, nu, jnp.log(jnp.where(big > 0, big, 1.0)))
    in_N = jnp.where(jnp.isinf(N), 0.0, -in_nu / jnp.where(jnp.isinf(N), 1.0, N) ** 2)
    return value, in_a * da + in_b * db + in_N * dN


@jax.custom_jvp
def _log_kernel(log_a: Array, log_b: Array, nu: Array) -> Array:
    return log_kernel_of(log_a, log_b, nu)


def _difference(log_a: ArrayT, log_b: ArrayT, xp: ModuleType = jnp) -> tuple[ArrayT, ArrayT]:
    """(log max, z) from the logarithms, in the manner of `log_gap`."""
    big, small = xp.where(log_a >= log_b, log_a, log_b), xp.where(log_a >= log_b, log_b, log_a)
    nothing = xp.isneginf(big)  # both singular values are zero, and −∞ − (−∞) would be NaN
    return big, xp.where(nothing, 0.0, 2 * (big - xp.where(nothing, 0.0, small)))


@_log_kernel.defjvp
def _log_kernel_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    log_a, log_b, nu = primals
    d_log_a, d_log_b, d_nu = tangents
    big, z = _difference(log_a, log_b)
    slope_a, slope_b = _log_slopes(log_a >= log_b, z, nu)
    slope_nu = _log_slope_nu(z, nu, jnp.where(jnp.isneginf(big), 0.0, big))
    return _log_kernel(log_a, log_b, nu), slope_a * d_log_a + slope_b * d_log_b + slope_nu * d_nu


def kernel(
    a: ArrayLike, b: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0
) -> Float[Array, "..."]:
    """The pair kernel of the deep linear network of depth N, on singular values a, b ≥ 0:

        λ_N(a, b) = (1/N) Σ_{p=1}^{N} a^{2(N−p)/N} b^{2(p−1)/N}
                  = (a² − b²) / (N (a^{2/N} − b^{2/N})),
        λ_∞(a, b) = (a² − b²) / (log a² − log b²)   (the logarithmic mean of a² and b²),

    continued to real N ≥ 1, to ties (λ_N(a, a) = a^{2−2/N}) and to zero (λ_N(a, 0) = a^{2−2/N}/N,
    λ_∞(a, 0) = 0). On the isotropic leaf of an ``imbalance`` c (see `leaf_factors`) it is

        λ^c(a, b) = (a² − b²) / (N (x(a) − x(b))),   ∏_p (x(σ) + c_p) = σ²,  min c = 0.

    **Arguments**: ``imbalance``: (c_1, …, c_N), or a number δ for c_p = (p − 1)δ; integer N then.

    **Shapes**: a, b and the depth broadcast. **Normalization**: [CMV], with the factor 1/N.
    **Accuracy**: relative error below 1e−14 in float64 wherever a, b and the result are normal
    numbers. Differentiable in all three arguments, to any order at ties; the derivative in an
    argument that is exactly 0 is defined as 0 (a zero singular value stays zero).

    **Raises** `DepthError` for a depth below 1 or NaN (traced: the result is NaN). A negative or
    NaN argument gives NaN, an infinite one the limit (∞, at N = 1 it is 1) with derivatives NaN.

    **Source**: Cohen, Menon, Veraszto (SIADS 2023), the metric in Theorem 1.1; leaves: Dominé et
    al. 2024 (2409.14623) at N = 2.

    >>> import math, deeplinear as dl
    >>> [round(float(dl.kernel(2.0, 1.0, N)), 6) for N in (1, 2, math.inf)]
    [1.0, 1.5, 2.164043]
    >>> round(float(dl.kernel(2.0, 1.0, 2, imbalance=1e3)), 1)  # lazy: δ/2 everywhere
    500.0
    """
    depth = on_leaf(depth, imbalance)
    a, b = (_number_or_array(x, name) for x, name in ((a, "a"), (b, "b")))
    dtype = jnp.result_type(*_floating(a, b)) if _floating(a, b) else jnp.result_type(float)
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    if isinstance(depth, Leaf):
        return _leaf_kernel(a, b, depth.astype(dtype).c)
    a, b, N = jnp.broadcast_arrays(a, b, jnp.asarray(depth, dtype))
    return _kernel(a, b, N)


def _number_or_array(x: ArrayLike, name: str) -> ArrayLike:
    """``x``; plain Python numbers as they are, for their type decides nothing."""
    if isinstance(x, Array) or type(x) is float or (type(x) is int and abs(x) < 2**63):
        return x
    return jnp.asarray(x) if is_traced(x) else as_reals(x, name)


def _leaf_kernel(a: Array, b: Array, c: Array) -> Array:
    x, y = (root_of(jnp.where(jnp.isfinite(s), s, 1.0), c) for s in (a, b))
    value = jnp.where(jnp.isposinf(a) | jnp.isposinf(b), jnp.inf, leaf_kernel(x, y, c))
    return jnp.where((a >= 0) & (b >= 0), value, jnp.nan)


def _floating(*args: ArrayLike) -> list[ArrayLike]:
    """The arguments whose floating dtype decides; Python numbers and integers do not."""
    return [x for x in args if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)]


def log_kernel(log_a: ArrayLike, log_b: ArrayLike, nu: DepthLike) -> Float[Array, "..."]:
    """log λ_N from logarithms of singular values (−∞ for a zero one) and ν = 1/N: no underflow.

    The arguments broadcast; differentiable in all three, also at ties. A leaf in the place of ν
    gives log λ^c.

    >>> float(log_kernel(-5000.0, -5000.0, 0.5))
    -5000.0
    """
    if isinstance(nu, Leaf):
        return log_leaf_kernel(jnp.asarray(log_a), jnp.asarray(log_b), nu.c)
    return _log_kernel(*jnp.broadcast_arrays(*map(jnp.asarray, (log_a, log_b, nu))))
