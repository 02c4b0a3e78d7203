"""A_{N,W}^q(Z) as a function of W, differentiated exactly, twice, also at tied singular values.

Differentiating a singular value decomposition divides by σ_i² − σ_j²; the operator itself is smooth
there. With x_i = σ_i², f(x, y) = λ_N(√x, √y)^q, and everything in the singular frame of W (C = WWᵀ,
D = WᵀW, which move when W moves along X),

    ∂_X A^q(Z)_ij = Σ_k f[x_i, x_k; x_j] Ċ_ik Z_kj + Σ_l f[x_i; x_l, x_j] Z_il Ḋ_lj,

and ∂_Y ∂_X A^q(Z) is the like with divided differences of second order: all finite at ties. For a
function of one variable this is the theorem of Daleckii and Krein.
"""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from .differences import first_differences, second_differences
from .kernel import degree
from .leaf import Depth, DepthLike, Leaf, in_precision, is_smooth_leaf, rescaled
from .operator import Operator
from .small import product, svd

Function = Callable[..., Array]


def operator_power(
    W: Float[Array, "m n"], Z: Float[Array, "m n"], depth: DepthLike, q: int | float
) -> Float[Array, "m n"]:
    """A_{N,W}^q(Z), differentiable in Z and N to any order and in W to the second, at ties too.

    W must have full rank for its derivatives, and for q < 0 (and be square at N = ∞): elsewhere
    they do not exist and are NaN, unless the metric of a leaf is smooth there. Second derivatives
    are taken with forward mode inside (``jax.jacfwd(jax.jacfwd(f))``,
    ``jax.jacrev(jax.jacfwd(f))``); a reverse mode inside, as in ``jax.hessian``, and third
    derivatives raise `NotImplementedError`.

    >>> import jax, jax.numpy as jnp
    >>> I, Z = jnp.eye(2), jnp.array([[0.0, 1.0], [2.0, 0.0]])
    >>> along = jnp.diag(jnp.array([1.0, 0.0]))
    >>> jax.jvp(lambda W: operator_power(W, Z, 2.0, 1), (I,), (along,))[1].tolist()
    [[0.0, 0.5], [1.0, 0.0]]
    """
    frame, N = _singular_frame(W), in_precision(depth, W.dtype)
    if q < 0:
        U, s, Vt = frame
        Z = jnp.where(Operator.from_svd(U[:, : s.size], s, Vt[: s.size], N).is_singular, jnp.nan, Z)
    return _value(q, N, frame, W, Z)


def hamiltonian_field(
    W: Float[Array, "m n"], P: Float[Array, "m n"], depth: DepthLike
) -> tuple[Float[Array, "m n"], Float[Array, "m n"]]:
    """(∂_P H, −∂_W H) of H(W, P) = ½⟨P, A_{N,W}(P)⟩: the velocities of W and P along geodesics.

    Differentiable once by forward mode, at ties too.

    >>> import jax.numpy as jnp
    >>> [v.tolist() for v in hamiltonian_field(4 * jnp.eye(1), jnp.ones((1, 1)), 2.0)]  # H = ½ W P²
    [[[4.0]], [[-0.5]]]
    """
    frame, N = _singular_frame(W), in_precision(depth, W.dtype)
    return _value(1, N, frame, W, P), _force(N, frame, W, P)


def _singular_frame(W: Array) -> tuple[Array, Array, Array]:
    """(U, s, Vt) of W with full U and V, rounding noise in s set to 0, as constants."""
    U, s, Vt = svd(jax.lax.stop_gradient(W))
    return U, jnp.where(s > max(W.shape) * jnp.finfo(W.dtype).eps * s[0], s, 0.0), Vt


class Jet(eqx.Module):
    """The derivatives of W ↦ A_{N,W}^q at one point, up to ``order``, as multilinear maps.

    Matrices are given and returned in the singular frame there, as UᵀXV. Built once, applied to
    many directions.
    """

    # σ_1: everything below is at W/σ_1, so that x = σ² neither overflows nor underflows
    size: Array
    # A^q is homogeneous in W: it is A^q at W/σ_1 times this power of σ_1
    factor: Array
    s: Float[Array, " k"]
    # divided differences in the first argument of f: f[x_i, x_k; y_j], f[x_i, x_k, x_l; y_j]
    rows: tuple[Array, ...]
    columns: tuple[Array, ...]  # the same in the second argument, indexed likewise
    mixed: Array | None  # f[x_i, x_k; y_j, y_l], indexed ikjl; None at order 1

    def __init__(self, s: Array, shape: tuple[int, int], N: Depth, q: int | float, order: int):
        self.size = jnp.where(s[0] > 0, s[0], 1.0)
        self.factor = self.size ** (2 * q * (1 - degree(N, s.dtype)))
        s, N = s / self.size, rescaled(N, self.size)
        # missing singular values are zeros
        a, b = (jnp.pad(s, (0, size - s.size)) for size in shape)
        self.s = s
        if order > 1:
            self.rows, self.columns, self.mixed = second_differences(a, b, N, q)
        else:
            rows, columns = first_differences(a, b, N, q)
            self.rows, self.columns, self.mixed = (rows,), (columns,), None

    def _moved(self, X: Array) -> Array:
        """Ċ = ẆWᵀ + WẆᵀ for Ẇ = X (and Ḋ from Xᵀ)."""
        # in the frame W is diag(s): ẆWᵀ scales the columns of X
        half = jnp.pad(X[:, : self.s.size] * self.s, ((0, 0), (0, X.shape[0] - self.s.size)))
        return half + half.T

    def first(self, X: Array, Z: Array) -> Array:
        """∂_X A^q(Z)."""
        X, Z = X / self.size, self.factor * Z
        left = jnp.einsum("ikj,ik,kj->ij", self.rows[0], self._moved(X), Z)
        return left + jnp.einsum("jli,lj,il->ij", self.columns[0], self._moved(X.T), Z)

    def adjoint(self, P: Array, Z: Array) -> Array:
        """The matrix that represents X ↦ ⟨P, ∂_X A^q(Z)⟩."""
        P, Z = P / self.size, self.factor * Z
        by_C = jnp.einsum("ikj,ij,kj->ik", self.rows[0], P, Z)
        by_D = jnp.einsum("jli,ij,il->lj", self.columns[0], P, Z)
        return self._back(by_C, P.shape[1]) + self._back(by_D, P.shape[0]).T

    def _back(self, G: Array, width: int) -> Array:
        """The transpose of `_moved`."""
        k = self.s.size
        return jnp.pad((G + G.T)[:, :k] * self.s, ((0, 0), (0, width - k)))

    def second(self, Y: Array, X: Array, Z: Array) -> Array:
        """∂_Y ∂_X A^q(Z)."""
        assert self.mixed is not None, "a Jet of order 1 has no second derivatives"
        Y, X, Z = Y / self.size, X / self.size, self.factor * Z
        out = self._one_sided(self.rows, Y, X, Z) + self._one_sided(self.columns, Y.T, X.T, Z.T).T
        # one direction moves C = WWᵀ and the other D = WᵀW, both ways round
        for X1, X2 in ((X, Y), (Y, X)):
            out = out + _contract(
                "ikjl,ik,kl,lj->ij", self.mixed, self._moved(X1), Z, self._moved(X2.T)
            )
        return out

    def _one_sided(self, f: tuple[Array, ...], Y: Array, X: Array, Z: Array) -> Array:
        CX, CY = self._moved(X), self._moved(Y)
        # C is quadratic in W: ∂_Y ∂_X C = XYᵀ + YXᵀ enters by the first differences, ...
        out = jnp.einsum("ikj,ik,kj->ij", f[0], X @ Y.T + Y @ X.T, Z)
        # ... and its two first derivatives by the second ones.
        for C1, C2 in ((CX, CY), (CY, CX)):
            out = out + _contract("iklj,ik,kl,lj->ij", f[1], C1, C2, Z)
        return out


def _contract(indices: str, *arrays: Array) -> Array:
    return jnp.einsum(indices, *arrays, optimize="optimal")


# The value, its derivative and its second derivative, each the derivative rule of the one before.
# The frame (U, s, Vt) is that of W, and is itself never differentiated.


def _at_order_0(q: int | float, N: Depth, frame: tuple, Z: Array) -> Array:
    U, s, Vt = frame
    return Operator.from_svd(U[:, : s.size], s, Vt[: s.size], N).power(Z, q)


def _at_order_1(q: int | float, N: Depth, frame: tuple, *directions: Array) -> Array:
    return _of_jet(q, N, frame, 1, directions)


def _at_order_2(q: int | float, N: Depth, frame: tuple, *directions: Array) -> Array:
    return _of_jet(q, N, frame, 2, directions)


def _of_jet(
    q: int | float, N: Depth, frame: tuple, order: int, directions: tuple[Array, ...]
) -> Array:
    U, s, Vt = frame
    jet = Jet(s, (U.shape[0], Vt.shape[0]), N, q, order)
    out = (jet.first if order == 1 else jet.second)(*(product(U.T, X, Vt.T) for X in directions))
    exists = (s[-1] > 0) | is_smooth_leaf(N)
    return jnp.where(exists, product(U, out, Vt), jnp.nan)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def guard(W: Array, message: str) -> Array:
    """0, which raises `NotImplementedError` with ``message`` where it is differentiated in W.

    Added to a result whose derivative would be wrong, it makes an error of the wrong number.
    """
    return jnp.zeros((), W.dtype)


@partial(guard.defjvp, symbolic_zeros=True)
def _(message: str, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    if not isinstance(tangents[0], SymbolicZero):
        raise NotImplementedError(message)
    return guard(*primals, message), jnp.zeros((), primals[0].dtype)


_INNER = (
    "second derivatives in W need forward mode inside: jax.jacfwd(jax.jacfwd(f)), not "
    "jax.hessian(f)"
)


def _differentiable(evaluate: Function, next_order: Function | None) -> Function:
    """``evaluate(q, N, frame, *directions)`` as a function that is differentiable in W too.

    ``evaluate`` is linear in each direction; ``next_order`` is its derivative in W, and takes the
    direction of W before the others.
    """

    def function(q: int | float, N: Depth, frame: tuple, W: Array, *directions: Array) -> Array:
        # Reverse mode forgets the rules of what it passes: an outer derivative would miss that the
        # frame depends on W.
        return evaluate(q, N, frame, *directions) + guard(W, _INNER)

    rule = jax.custom_jvp(function, nondiff_argnums=(0,))

    def jvp(q: int | float, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
        N, frame, W, *directions = primals
        # + 0: a batch of NumPy directions, as vmap hands it over, cannot be an argument of the
        # rules
        dN, _, dW, *moves = (
            t if isinstance(t, SymbolicZero | tuple | Leaf) else jnp.asarray(t) + 0
            for t in tangents
        )
        out = rule(q, N, frame, W, *directions)
        # the product rule: linear in each direction, then in W, then in N
        moved = jnp.zeros_like(out)
        for i, move in enumerate(moves):
            if not isinstance(move, SymbolicZero):
                moved = moved + rule(q, N, frame, W, *directions[:i], move, *directions[i + 1 :])
        if not isinstance(dW, SymbolicZero):
            if next_order is None:
                raise NotImplementedError("third derivatives of A_{N,W} in W are not implemented")
            moved = moved + next_order(q, N, frame, W, dW, *directions)
        # the c of a leaf are constants
        if not isinstance(dN, SymbolicZero | Leaf):
            moved = moved + jax.jvp(lambda N: evaluate(q, N, frame, *directions), (N,), (dN,))[1]
        return out, moved

    rule.defjvp(jvp, symbolic_zeros=True)
    return rule


_second = _differentiable(_at_order_2, None)
_first = _differentiable(_at_order_1, _second)
_value = _differentiable(_at_order_0, _first)


@jax.custom_jvp
def _force(N: Depth, frame: tuple, W: Array, P: Array) -> Array:
    """−½ ∂_W⟨P, A(P)⟩."""
    U, s, Vt = frame
    jet = Jet(s, (U.shape[0], Vt.shape[0]), N, 1, order=1)
    P = product(U.T, P, Vt.T)
    return product(-0.5 * U, jet.adjoint(P, P), Vt)


@_force.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (N, frame, _, P), (_, _, dW, dP) = primals, tangents
    U, s, Vt = frame
    jet = Jet(s, (U.shape[0], Vt.shape[0]), N, 1, order=2)
    P, dW, dP = (product(U.T, X, Vt.T) for X in (P, dW, dP))
    # the force is linear in P twice over, and depends on W by the jet: both parts of its derivative
    by_P = jet.adjoint(dP, P) + jet.adjoint(P, dP)
    by_W = jax.grad(lambda X: jnp.sum(P * jet.second(dW, X, P)))(jnp.zeros_like(P))
    half = -0.5 * U
    return product(half, jet.adjoint(P, P), Vt), product(half, by_P + by_W, Vt)
