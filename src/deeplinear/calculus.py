"""A_{N,W}^q(Z) as a function of W that is differentiated exactly, twice, also where singular values are tied.

Differentiating a singular value decomposition divides by σ_i² − σ_j²; the operator itself is smooth there. With x_i = σ_i²,
f(x, y) = λ_N(√x, √y)^q, and everything in the singular frame of W (C = WWᵀ, D = WᵀW, which move when W moves along X),

    ∂_X A^q(Z)_ij = Σ_k f[x_i, x_k; x_j] Ċ_ik Z_kj + Σ_l f[x_i; x_l, x_j] Z_il Ḋ_lj,

and ∂_Y ∂_X A^q(Z) is the like with divided differences of second order: all finite at ties. For a function of one variable
this is the theorem of Daleckii and Krein.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, ArrayLike, Float

from .operator import Operator
from .spectral import kernel

Function = Callable[..., Array]


def operator_power(
    W: Float[Array, "m n"], Z: Float[Array, "m n"], depth: ArrayLike, q: int | float
) -> Float[Array, "m n"]:
    """A_{N,W}^q(Z), differentiable in Z and N to any order and in W to the second, at ties too.

    W must have full rank for its derivatives, and for q < 0 (and be square at N = ∞): elsewhere they do not exist and are
    NaN. A third derivative in W raises `NotImplementedError`.

    >>> import jax, jax.numpy as jnp
    >>> I, Z = jnp.eye(2), jnp.array([[0.0, 1.0], [2.0, 0.0]])
    >>> jax.jvp(lambda W: operator_power(W, Z, 2.0, 1), (I,), (jnp.diag(jnp.array([1.0, 0.0])),))[1].tolist()
    [[0.0, 0.5], [1.0, 0.0]]
    """
    U, s, Vt = jnp.linalg.svd(jax.lax.stop_gradient(W), full_matrices=True)
    s = jnp.where(s > max(W.shape) * jnp.finfo(W.dtype).eps * s[0], s, 0.0)
    if q < 0:
        singular = Operator.from_svd(U[:, : s.size], s, Vt[: s.size], depth).is_singular
        Z = jnp.where(singular, jnp.nan, Z)
    return _value(q, jnp.asarray(depth, W.dtype), (U, s, Vt), W, Z)


# The value, its derivative and its second derivative, each the derivative rule of the one before. The frame is that of W
# and is never differentiated: one decomposition serves all three.


def _value_in_frame(q: int | float, N: Array, frame: tuple, Z: Array) -> Array:
    U, s, Vt = frame
    return Operator.from_svd(U[:, : s.size], s, Vt[: s.size], N).power(Z, q)


def _value_rule(q: int | float, N: Array, frame: tuple, W: Array, Z: Array) -> Array:
    return _value_in_frame(q, N, frame, Z)


_value = jax.custom_jvp(_value_rule, nondiff_argnums=(0,))


def _value_jvp(q: int | float, primals: tuple, tangents: tuple) -> tuple[Array, Any]:
    N, frame, W, Z = primals
    dN, _, dW, dZ = tangents
    out = _value(q, N, frame, W, Z)
    moved = jnp.zeros_like(out)
    if not _is_zero(dZ):
        moved = moved + _value(q, N, frame, W, dZ)
    if not _is_zero(dW):
        moved = moved + _first(q, N, frame, W, dW, Z)
    if not _is_zero(dN):
        moved = moved + jax.jvp(lambda N: _value_in_frame(q, N, frame, Z), (N,), (dN,))[1]
    return out, moved


_value.defjvp(_value_jvp, symbolic_zeros=True)


def _first_in_frame(q: int | float, N: Array, frame: tuple, X: Array, Z: Array) -> Array:
    """∂_X A^q(Z)."""
    (a, b), (X, Z) = _singular_values(frame), _into(frame, X, Z)
    f = _eigenvalue(q, N)
    left = jnp.einsum("ikj,ik,kj->ij", _first_differences(f, a, b), _moved_square(X, frame), Z)
    right = jnp.einsum("jli,lj,il->ij", _first_differences(f, b, a), _moved_square(X.T, frame), Z)
    return _out_of(frame, left + right)


def _first_rule(q: int | float, N: Array, frame: tuple, W: Array, X: Array, Z: Array) -> Array:
    return _first_in_frame(q, N, frame, X, Z)


_first = jax.custom_jvp(_first_rule, nondiff_argnums=(0,))


def _first_jvp(q: int | float, primals: tuple, tangents: tuple) -> tuple[Array, Any]:
    N, frame, W, X, Z = primals
    dN, _, dW, dX, dZ = tangents
    out = _first(q, N, frame, W, X, Z)
    moved = jnp.zeros_like(out)
    if not _is_zero(dX):
        moved = moved + _first(q, N, frame, W, dX, Z)
    if not _is_zero(dZ):
        moved = moved + _first(q, N, frame, W, X, dZ)
    if not _is_zero(dW):
        moved = moved + _second(q, N, frame, W, dW, X, Z)
    if not _is_zero(dN):
        moved = moved + jax.jvp(lambda N: _first_in_frame(q, N, frame, X, Z), (N,), (dN,))[1]
    return out, moved


_first.defjvp(_first_jvp, symbolic_zeros=True)


def _second_in_frame(q: int | float, N: Array, frame: tuple, Y: Array, X: Array, Z: Array) -> Array:
    """∂_Y ∂_X A^q(Z)."""
    (a, b), (Y, X, Z) = _singular_values(frame), _into(frame, Y, X, Z)
    f = _eigenvalue(q, N)

    def one_sided(a: Array, b: Array, Y: Array, X: Array, Z: Array) -> Array:
        CY, CX = _moved_square(Y, frame), _moved_square(X, frame)
        both = X @ Y.T + Y @ X.T
        out = jnp.einsum("ikj,ik,kj->ij", _first_differences(f, a, b), both, Z)
        f3 = _second_differences(f, a, b)
        for C1, C2 in ((CX, CY), (CY, CX)):
            out = out + jnp.einsum("iklj,ik,kl,lj->ij", f3, C1, C2, Z, optimize="optimal")
        return out

    CY, CX, DY, DX = (_moved_square(M, frame) for M in (Y, X, Y.T, X.T))
    out = one_sided(a, b, Y, X, Z) + one_sided(b, a, Y.T, X.T, Z.T).T
    mixed = _mixed_differences(f, a, b)
    for C, D in ((CX, DY), (CY, DX)):
        out = out + jnp.einsum("ikjl,ik,kl,lj->ij", mixed, C, Z, D, optimize="optimal")
    return _out_of(frame, out)


def _second_rule(q: int | float, N: Array, frame: tuple, W: Array, Y: Array, X: Array, Z: Array) -> Array:
    return _second_in_frame(q, N, frame, Y, X, Z)


_second = jax.custom_jvp(_second_rule, nondiff_argnums=(0,))


def _second_jvp(q: int | float, primals: tuple, tangents: tuple) -> tuple[Array, Any]:
    N, frame, W, *directions = primals
    dN, _, dW, *moves = tangents
    if not _is_zero(dW):
        raise NotImplementedError("third derivatives of A_{N,W} in W are not implemented")
    out = _second(q, N, frame, W, *directions)
    moved = jnp.zeros_like(out)
    for i, move in enumerate(moves):
        if not _is_zero(move):
            moved = moved + _second(q, N, frame, W, *directions[:i], move, *directions[i + 1 :])
    if not _is_zero(dN):
        moved = moved + jax.jvp(lambda N: _second_in_frame(q, N, frame, *directions), (N,), (dN,))[1]
    return out, moved


_second.defjvp(_second_jvp, symbolic_zeros=True)


def _is_zero(tangent: Any) -> bool:
    return isinstance(tangent, SymbolicZero)


def _singular_values(frame: tuple) -> tuple[Array, Array]:
    """The singular values belonging to the m rows and to the n columns of the frame: padded by zeros."""
    U, s, Vt = frame
    return jnp.pad(s, (0, U.shape[0] - s.size)), jnp.pad(s, (0, Vt.shape[0] - s.size))


def _into(frame: tuple, *matrices: Array) -> list[Array]:
    U, _, Vt = frame
    return [U.T @ X @ Vt.T for X in matrices]


def _out_of(frame: tuple, X: Array) -> Array:
    U, s, Vt = frame
    return jnp.where(s[-1] > 0, U @ X @ Vt, jnp.nan)


def _moved_square(X: Array, frame: tuple) -> Array:
    """Ċ = ẆWᵀ + WẆᵀ in the frame, from Ẇ = X (or Ḋ from Xᵀ)."""
    s = frame[1]
    half = jnp.pad(X[:, : s.size] * s, ((0, 0), (0, X.shape[0] - s.size)))
    return half + half.T


# Divided differences of f(x, y) in x = σ², where points may coincide.

# Points within this distance, relative to the larger, are joined by Gauss–Legendre quadrature of the derivative, which is
# exact to rounding there; farther apart the quotient loses less than a digit (two of second order).
_NEAR = 0.2
_NODES = 0.5 * (1 + np.polynomial.legendre.leggauss(6)[0])
_WEIGHTS = 0.5 * np.polynomial.legendre.leggauss(6)[1]


def _eigenvalue(q: int | float, N: Array) -> Function:
    """f(x, y) = λ_N(√x, √y)^q."""
    return lambda x, y: kernel(_root(x), _root(y), N) ** q


def _root(x: Array) -> Array:
    """√x, with derivative 0 at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)


def _slope(f: Function, x: Array) -> Array:
    return jax.jvp(f, (x,), (jnp.ones_like(x),))[1]


def _first_difference(f: Function, x0: Array, x1: Array) -> Array:
    """f[x0, x1]; 0 where both points are 0: singular values that are missing stay so, and never mix among themselves."""
    big = jnp.maximum(x0, x1)
    near = jnp.abs(x0 - x1) <= _NEAR * big
    safe0, safe1 = (jnp.where(near & (big > 0), x, 1.0) for x in (x0, x1))
    slopes = jax.vmap(lambda t: _slope(f, safe0 + t * (safe1 - safe0)))(_NODES)
    joined = jnp.tensordot(_WEIGHTS, slopes, 1)
    quotient = (f(x0) - f(x1)) / jnp.where(near, 1.0, x0 - x1)
    return jnp.where(big > 0, jnp.where(near, joined, quotient), 0.0)


def _second_difference(f: Function, x0: Array, x1: Array, x2: Array) -> Array:
    """f[x0, x1, x2], by the formula of Hermite and Genocchi where all three are close."""
    low = jnp.minimum(jnp.minimum(x0, x1), x2)
    high = jnp.maximum(jnp.maximum(x0, x1), x2)
    middle = jnp.maximum(jnp.minimum(x0, x1), jnp.minimum(jnp.maximum(x0, x1), x2))
    near = high - low <= _NEAR * high
    a, b, c = (jnp.where(near & (high > 0), x, 1.0) for x in (low, middle, high))
    curvature = lambda s, t: _slope(lambda x: _slope(f, x), a + s * ((b - a) + t * (c - b)))  # noqa: E731
    s, t = (x.ravel() for x in np.meshgrid(_NODES, _NODES, indexing="ij"))
    joined = jnp.tensordot(s * np.outer(_WEIGHTS, _WEIGHTS).ravel(), jax.vmap(curvature)(s, t), 1)
    difference = _first_difference(f, middle, high) - _first_difference(f, low, middle)
    quotient = difference / jnp.where(near, 1.0, high - low)
    return jnp.where(high > 0, jnp.where(near, joined, quotient), 0.0)


def _first_differences(f: Function, a: Array, b: Array) -> Array:
    """f[x_i, x_k; y_j], indexed ikj."""
    x0, x1, y = jnp.broadcast_arrays(*(v**2 for v in (a[:, None, None], a[None, :, None], b[None, None, :])))
    return _first_difference(lambda x: f(x, y), x0, x1)


def _second_differences(f: Function, a: Array, b: Array) -> Array:
    """f[x_i, x_k, x_l; y_j], indexed iklj."""
    x, y = a**2, b**2
    i, k, l, j = np.ix_(*(np.arange(v.size) for v in (a, a, a, b)))
    x0, x1, x2, y0 = jnp.broadcast_arrays(x[i], x[k], x[l], y[j])
    return _second_difference(lambda x: f(x, y0), x0, x1, x2)


def _mixed_differences(f: Function, a: Array, b: Array) -> Array:
    """f[x_i, x_k; y_j, y_l], indexed ikjl."""
    x, y = a**2, b**2
    i, k, j, l = np.ix_(*(np.arange(v.size) for v in (a, a, b, b)))
    x0, x1, y0, y1 = jnp.broadcast_arrays(x[i], x[k], y[j], y[l])

    # the difference in x, at one y each, is itself a function of y to take the difference of
    def in_x(y: Array) -> Array:
        return _first_difference(lambda x: f(x, y), x0, x1)

    return _first_difference(in_x, y0, y1)
