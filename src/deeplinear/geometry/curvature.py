"""Curvature of the metric g^N, from its exact first and second derivatives, also at ties of σ."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_matrix, one_precision, raise_if
from ..compilation import program
from ..errors import InputError, PrecisionError
from .derivatives import Jet
from .kernel import degree, kernel
from .leaf import Depth, DepthLike, Imbalance, in_precision, is_smooth, on_leaf, rescaled
from .operator import singular_error


def riemann(
    W: ArrayLike,
    X: ArrayLike,
    Y: ArrayLike,
    Z: ArrayLike,
    V: ArrayLike,
    depth: DepthLike,
    imbalance: Imbalance = 0.0,
) -> Float[Array, "*batch"]:
    """The Riemann curvature tensor g(R(X, Y)Z, V), R(X, Y) = [∇_X, ∇_Y] − ∇_[X,Y], of g^N at W:

        ½ (∂_Y∂_V g(X, Z) + ∂_X∂_Z g(Y, V) − ∂_Y∂_Z g(X, V) − ∂_X∂_V g(Y, Z))
        + g(Γ(Y, V), Γ(X, Z)) − g(Γ(Y, Z), Γ(X, V)).

    **Arguments**: ``imbalance``: the leaf, as in `deeplinear.inner`. **Shapes**: W and the
    directions are (…, m, n), their leading axes broadcast. Cost O(d⁵): for small matrices.
    **Normalization**: the metric of [CMV] (see `deeplinear.inner`); curvature is that of the metric
    induced by the factors divided by N. **Raises** `SingularOperatorError` where W has no full rank
    (or is not square at N = ∞); `PrecisionError` where σ_1/σ_k is so large (2e6 in float64) that
    the digits are lost.

    >>> import deeplinear as dl, numpy as np
    >>> W, X, Y = np.array([[2.0, 1.0], [0.0, 1.0]]), np.eye(2), np.ones((2, 2))
    >>> float(dl.curvature.riemann(W, X, Y, Y, X, 1))  # flat
    0.0
    """
    return _at(_riemann, W, (X, Y, Z, V), depth, imbalance)


def sectional(
    W: ArrayLike, X: ArrayLike, Y: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0
) -> Float[Array, "*batch"]:
    """The sectional curvature g(R(X, Y)Y, X) / (g(X, X) g(Y, Y) − g(X, Y)²) of the plane of X, Y.

    NaN where they are parallel. Everything else as in `riemann`. For d = 1, and at N = 1, the
    metric is flat.

    >>> import deeplinear as dl, numpy as np
    >>> symmetric = np.array([[1.0, 0.0], [0.0, -1.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> # in the cone of positive matrices with twice the Bures–Wasserstein metric
    >>> round(float(dl.curvature.sectional(np.eye(2), *symmetric, 2)), 12)
    0.375
    """
    return _at(_sectional, W, (X, Y), depth, imbalance)


def ricci(
    W: ArrayLike, X: ArrayLike, Y: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0
) -> Float[Array, "*batch"]:
    """The Ricci curvature Ric(X, Y) = Σ_a g(R(e_a, X)Y, e_a) over an orthonormal basis e_a.

    As in `riemann`, at O(d⁷).

    >>> import deeplinear as dl, numpy as np
    >>> W, X = np.array([[2.0, 1.0], [0.0, 1.0]]), np.ones((2, 2))
    >>> float(dl.curvature.ricci(W, X, X, 1))
    0.0
    """
    return _at(_ricci, W, (X, Y), depth, imbalance)


def scalar(W: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0) -> Float[Array, "*batch"]:
    """The scalar curvature Σ_ab g(R(e_a, e_b)e_b, e_a), over an orthonormal basis e_a.

    Twice the sum of the sectional curvatures of the planes of the basis. As in `riemann`, at O(d⁹).

    >>> import deeplinear as dl, numpy as np
    >>> float(dl.curvature.scalar(np.array([[2.0, 1.0], [0.0, 1.0]]), 1))
    0.0
    """
    return _at(_scalar, W, (), depth, imbalance)


def christoffel(
    W: ArrayLike, X: ArrayLike, Y: ArrayLike, depth: DepthLike, imbalance: Imbalance = 0.0
) -> Float[Array, "*batch m n"]:
    """Γ(X, Y) of the Levi-Civita connection in the coordinates W_ij: geodesics obey Ẅ = −Γ(Ẇ, Ẇ).

    As in `riemann`.

    >>> import deeplinear as dl, numpy as np
    >>> W = 4 * np.eye(2)  # N W^{1/N} is straight along multiples of I: Ẅ = (1 − 1/N) Ẇ²/W
    >>> np.round(dl.curvature.christoffel(W, np.eye(2), np.eye(2), 2), 12).tolist()
    [[-0.125, 0.0], [0.0, -0.125]]
    """
    return _at(_christoffel, W, (X, Y), depth, imbalance, "(m,n)")


class _Frame:
    """The metric near W to second order, in the singular frame of W."""

    def __init__(self, W: Array, N: Depth):
        U, s, Vt = jnp.linalg.svd(W)
        self.into = lambda X: U.T @ X @ Vt.T
        self.out_of = lambda X: U @ X @ Vt
        # missing singular values are zeros: an m×n array of eigenvalues, edges included
        a, b = (jnp.pad(s, (0, size - s.size)) for size in W.shape)
        self.eigenvalues = kernel(a[:, None], b, N)
        # g(Z, V) = ⟨Z, A^{−1}(V)⟩, so that the derivatives of A^{−1} are those of the metric
        self.jet = Jet(s, (W.shape[0], W.shape[1]), N, -1, order=2)
        noise = max(W.shape) * jnp.finfo(W.dtype).eps * s[0]
        # the terms of the curvature, of size 1/σ_k², leave a sum of size 1 (both relative to σ_1)
        self.imprecise = (jnp.finfo(W.dtype).eps * (s[0] / s[-1]) ** 2 > 1e-3) & ~is_smooth(N)
        self.singular = (s[-1] <= noise) & ~is_smooth(N) | jnp.any(self.eigenvalues == 0)

    def inner(self, X: Array, Y: Array) -> Array:
        return jnp.sum(X * Y / self.eigenvalues)

    def second(self, X: Array, Y: Array, Z: Array, V: Array) -> Array:
        """∂_X ∂_Y g(Z, V)."""
        return jnp.sum(Z * self.jet.second(X, Y, V))

    def christoffel(self, X: Array, Y: Array) -> Array:
        """Γ(X, Y), from 2 g(Γ(X, Y), V) = ∂_X g(Y, V) + ∂_Y g(X, V) − ∂_V g(X, Y)."""
        rest = self.jet.adjoint(X, Y)  # represents V ↦ ∂_V g(X, Y)
        return 0.5 * self.eigenvalues * (self.jet.first(X, Y) + self.jet.first(Y, X) - rest)

    def riemann(self, X: Array, Y: Array, Z: Array, V: Array) -> Array:
        """g(R(X, Y)Z, V)."""
        second = (
            self.second(Y, V, X, Z)
            + self.second(X, Z, Y, V)
            - self.second(Y, Z, X, V)
            - self.second(X, V, Y, Z)
        )
        turned = self.inner(self.christoffel(Y, V), self.christoffel(X, Z))
        return 0.5 * second + turned - self.inner(self.christoffel(Y, Z), self.christoffel(X, V))

    def basis(self) -> Array:
        """An orthonormal basis, (mn, m, n)."""
        units = jnp.eye(self.eigenvalues.size, dtype=self.eigenvalues.dtype)
        return units.reshape(-1, *self.eigenvalues.shape) * jnp.sqrt(self.eigenvalues)

    def ricci(self, X: Array, Y: Array) -> Array:
        return jnp.sum(jax.vmap(lambda e: self.riemann(e, X, Y, e))(self.basis()))


def _riemann(frame: _Frame, *directions: Array) -> Array:
    return frame.riemann(*directions)


def _sectional(frame: _Frame, X: Array, Y: Array) -> Array:
    # orthonormalized first: then nothing cancels in the area
    unit = lambda Z: Z / jnp.sqrt(frame.inner(Z, Z))  # noqa: E731
    X, Y = unit(X), unit(Y)
    across = Y - frame.inner(X, Y) * X
    angle = jnp.sqrt(frame.inner(across, across))
    # a second time (Gram–Schmidt loses digits where X and Y are nearly parallel)
    across = unit(across - frame.inner(X, across) * X)
    parallel = angle <= 1e3 * jnp.finfo(Y.dtype).eps
    return jnp.where(parallel, jnp.nan, frame.riemann(X, across, across, X))


def _ricci(frame: _Frame, X: Array, Y: Array) -> Array:
    return frame.ricci(X, Y)


def _scalar(frame: _Frame) -> Array:
    # one direction at a time: all mn at once would need their jets in memory together
    return jnp.sum(jax.lax.map(lambda e: frame.ricci(e, e), frame.basis()))


def _christoffel(frame: _Frame, X: Array, Y: Array) -> Array:
    return frame.out_of(frame.christoffel(X, Y))


# Curvature under W → cW with the directions scaled alike: its degree in c, in units of ν.
_DEGREE = {_riemann: 2, _sectional: -2, _ricci: 0, _scalar: -2}


def _at(
    function: Callable,
    W: ArrayLike,
    directions: tuple[ArrayLike, ...],
    depth: DepthLike,
    imbalance: Imbalance,
    result: str = "()",
) -> Array:
    at = check_matrix(W, batch=True)
    metric = on_leaf(depth, imbalance, shape=at.shape, scalar=True)
    checked = tuple(check_matrix(Z, "a direction", batch=True) for Z in directions)
    for Z in checked:
        if Z.shape[-2:] != at.shape[-2:]:
            raise InputError(
                f"a direction must have the shape {at.shape[-2:]} of W in its last two axes, got "
                f"{Z.shape}."
            )
    at, checked = one_precision((at, checked))
    value, singular, imprecise = _on_batch(
        function, result, at, checked, in_precision(metric, at.dtype)
    )
    value = raise_if(value, singular, singular_error())
    if function is _christoffel:
        return value
    error = PrecisionError(
        f"W is too ill-conditioned for its curvature in {at.dtype}, which loses digits like "
        "(σ_1/σ_k)²: use float64, or a W whose singular values are closer."
    )
    return raise_if(value, imprecise, error)


@program
def _on_batch(
    function: Callable, result: str, W: Array, directions: tuple[Array, ...], depth: Depth
) -> tuple[Array, Array, Array]:
    nu = degree(depth, W.dtype)

    def one(X: Array, *Z: Array) -> tuple[Array, Array, Array]:
        # at W/c, where nothing overflows: g^N is homogeneous, g(cW)(cZ, cZ) = c^{2ν} g(W)(Z, Z)
        c = jnp.linalg.norm(X)
        c = jnp.where(c > 0, c, 1.0)
        frame = _Frame(X / c, rescaled(depth, c))
        value = function(frame, *(frame.into(V / c) for V in Z))
        return (
            value * (c if function is _christoffel else c ** (nu * _DEGREE[function])),
            frame.singular,
            frame.imprecise,
        )

    inputs = ",".join(["(m,n)"] * (1 + len(directions)))
    return jnp.vectorize(one, signature=f"{inputs}->{result},(),()")(W, *directions)
