"""The Riemannian metric g^N of a deep linear network at a point.

Lengths, angles, gradients and random directions.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import (
    RandomKey,
    check_key,
    check_matrix,
    is_traced,
    one_precision,
    raise_if,
)
from ..compilation import program
from ..energies import Energy, check_energy
from ..errors import InputError
from ..recorded import recorded, vmapped
from .derivatives import operator_power
from .leaf import Depth, DepthLike, Imbalance, in_precision, on_leaf
from .operator import Operator, singular_error
from .point import LogSVD


def inner(
    W: ArrayLike | LogSVD,
    Z1: ArrayLike,
    Z2: ArrayLike,
    depth: DepthLike,
    imbalance: Imbalance = 0.0,
) -> Float[Array, "*batch"]:
    """The metric g^N_W(Z_1, Z_2) = ⟨Z_1, A_{N,W}^{−1}(Z_2)⟩.

    In the singular frame W = U Σ Vᵀ it is Σ_ij (UᵀZ_1V)_ij (UᵀZ_2V)_ij / λ_N(σ_i, σ_j).

    **Arguments**: ``imbalance``: the isotropic leaf of networks of that depth, as in `kernel`.

    **Shapes**: W, Z_1, Z_2 are (…, m, n), their leading axes broadcast; W may be a `LogSVD`.
    **Normalization**: [CMV], with the factor 1/N in A: g^N is N times the metric which the
    Frobenius metric of the factors induces. Differentiable, twice in W, also where singular values
    are tied.

    **Raises** `SingularOperatorError` where W has no full rank (or is not square at N = ∞): other
    directions than those along the stratum have infinite length there. **Source**: Cohen, Menon,
    Veraszto 2023, eq. (1.10); Bah et al. 2019.

    >>> import deeplinear as dl, numpy as np
    >>> W, Z = np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    >>> bool(np.isclose(dl.inner(W, W, Z, 1), np.sum(W * Z)))  # at depth 1 the metric is Euclidean
    True
    """
    return _batched(_inner, W, (Z1, Z2), depth, imbalance)


def norm(
    W: ArrayLike | LogSVD, Z: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0
) -> Float[Array, "*batch"]:
    """The length ‖Z‖_g = g^N_W(Z, Z)^{1/2} = ‖A^{−1/2}(Z)‖_F of a direction.

    Everything else as in `inner`.

    >>> import deeplinear as dl, numpy as np
    >>> float(dl.norm(4 * np.eye(2), np.diag([3.0, 4.0]), 2))  # λ_2(4, 4) = 4
    2.5
    """
    return _batched(_norm, W, (Z,), depth, imbalance)


def gradient(
    energy: Energy, W: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0
) -> Float[Array, "*batch m n"]:
    """The Riemannian gradient grad E(W) = A_{N,W}(E′(W)): g^N_W(grad E, Z) = ⟨E′(W), Z⟩ for all Z.

    **Arguments**: ``imbalance`` as in `inner`. **Shapes**: W is (…, m, n), of any rank; the result
    has its shape. **Normalization**: [CMV];
    −grad E is the velocity of `gradient_flow`. **Source**: Arora, Cohen, Hazan 2018; Cohen, Menon,
    Veraszto 2023.

    >>> import deeplinear as dl, numpy as np
    >>> energy = dl.Completion.from_dense(np.array([[np.nan, 3.0], [np.nan, np.nan]]))
    >>> dl.gradient(energy, np.diag([4.0, 1.0]), 2).tolist()  # λ_2(4, 1) = (4 + 1)/2
    [[0.0, -7.5], [0.0, 0.0]]
    """
    W = check_matrix(W, batch=True)
    metric = on_leaf(depth, imbalance, shape=W.shape, scalar=True)
    W = W.astype(check_energy(energy, W.shape[-2:], W.dtype))
    energy = recorded(energy, W.shape[-2:], W.dtype)
    return _gradient(energy, W, in_precision(metric, W.dtype))


def random_tangent(
    key: RandomKey,
    W: ArrayLike | LogSVD,
    depth: DepthLike,
    *,
    imbalance: Imbalance = 0.0,
    unit: bool = False,
) -> Float[Array, "*batch m n"]:
    """A random direction at W, normal with covariance A_{N,W}.

    It is standard normal in every g^N-orthonormal basis.

    **Arguments**: ``imbalance`` as in `inner`; ``unit`` scales it to length 1 (uniform on the unit
    sphere of g^N). **Shapes**: that of W; each point of a batch draws its own. At a W without full
    rank it lies in the span of A. **Normalization**: as in `inner`.

    >>> import deeplinear as dl, jax, numpy as np
    >>> W = np.array([[2.0, 1.0], [0.0, 1.0]])
    >>> Z = dl.random_tangent(jax.random.key(0), W, math.inf, unit=True)
    >>> bool(np.isclose(dl.norm(W, Z, math.inf), 1))
    True
    """
    shape = (*W.U.shape[:-2], *W.shape) if isinstance(W, LogSVD) else np.shape(W)
    dtype = W.log_s.dtype if isinstance(W, LogSVD) else check_matrix(W, batch=True).dtype
    xi = jax.random.normal(check_key(key), shape, dtype)
    if unit:
        xi = xi / jnp.linalg.norm(xi, axis=(-2, -1), keepdims=True)
    return _batched(_root, W, (xi,), depth, imbalance)


@program
def _gradient(energy: Energy, W: Array, depth: Depth) -> Array:
    def one(X: Array) -> Array:
        return operator_power(X, jax.grad(lambda Y: jnp.reshape(energy(Y), ()))(X), depth, 1)

    return vmapped(energy, one)(W.reshape(-1, *W.shape[-2:])).reshape(W.shape)


def _inner(apply: Callable[[Array, int | float], Array], Z1: Array, Z2: Array) -> Array:
    return jnp.sum(Z1 * apply(Z2, -1))


def _norm(apply: Callable[[Array, int | float], Array], Z: Array) -> Array:
    root = apply(Z, -0.5)  # a sum of squares: never negative, however ill-conditioned A
    square = jnp.sum(root**2)
    return jnp.where(square == 0, 0.0, jnp.sqrt(jnp.where(square == 0, 1.0, square)))


def _root(apply: Callable[[Array, int | float], Array], Z: Array) -> Array:
    return apply(Z, 0.5)


def _batched(
    function: Callable,
    W: ArrayLike | LogSVD,
    directions: tuple[ArrayLike, ...],
    depth: DepthLike,
    imbalance: Imbalance,
) -> Array:
    """``function(apply, *directions)``, apply(Z, q) = A^q(Z), over the leading axes of all."""
    at: Array | LogSVD = W if isinstance(W, LogSVD) else check_matrix(W, batch=True)
    shape = at.shape[-2:]
    metric = on_leaf(depth, imbalance, shape=shape, scalar=True)
    checked = tuple(check_matrix(Z, "Z", batch=True) for Z in directions)
    at, checked = one_precision((at, checked))
    dtype = jax.tree.leaves(at)[0].dtype
    for Z in checked:
        if Z.shape[-2:] != shape:
            raise InputError(
                f"Z must have the shape {shape} of W in its last two axes, got {Z.shape}."
            )
    value = _on_batch(function, at, checked, in_precision(metric, dtype))
    return raise_if(value, (jnp if is_traced(value) else np).isnan(value), singular_error())


@program
def _on_batch(
    function: Callable, W: Array | LogSVD, directions: tuple[Array, ...], depth: Depth
) -> Array:
    result = "(m,n)" if function is _root else "()"
    inputs = ",".join(["(m,n)"] * len(directions))
    if isinstance(W, LogSVD):

        def at_svd(U: Array, log_s: Array, Vt: Array, *Z: Array) -> Array:
            op = Operator.from_svd(U, jnp.exp(log_s), Vt, depth)
            # NaN is the sign for `singular_error`; a random direction exists at any W
            singular = op.is_singular & (function is not _root)
            return jnp.where(singular, jnp.nan, function(op.power, *Z))

        return jnp.vectorize(at_svd, signature=f"(m,k),(k),(k,n),{inputs}->{result}")(
            W.U, W.log_s, W.Vt, *directions
        )

    def at_matrix(X: Array, *Z: Array) -> Array:
        return function(lambda Z, q: operator_power(X, Z, depth, q), *Z)

    return jnp.vectorize(at_matrix, signature=f"(m,n),{inputs}->{result}")(W, *directions)
