"""The metric g^N as one object, under our names, those of pymanopt and those of geomstats."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import RandomKey, check_integer
from ..energies import Energy
from . import curvature, geodesic, volume
from . import metric as geometry
from .derivatives import operator_power
from .leaf import DepthLike, Imbalance, on_leaf
from .operator import Operator


class Metric(eqx.Module):
    """The Riemannian metric g^N of deep linear networks of depth N, with its functions as methods.

    ``Metric(depth).inner(W, Z1, Z2)`` is `deeplinear.inner` ``(W, Z1, Z2, depth)``, and likewise
    for the others: see there. ``imbalance``: the metric of the isotropic leaf of c, as in `kernel`.

    **Normalization**: [CMV]. **Raises** `DepthError` for a depth that is not a real number ≥ 1 or
    ``math.inf``.

    >>> import deeplinear as dl, numpy as np
    >>> g = dl.Metric(2)
    >>> float(g.norm(4 * np.eye(2), np.diag([3.0, 4.0])))
    2.5
    """

    depth: DepthLike  # the leaf, where there is an imbalance

    def __init__(self, depth: ArrayLike, imbalance: Imbalance = 0.0):
        self.depth = on_leaf(depth, imbalance, scalar=True)

    def __repr__(self) -> str:
        return f"Metric({self.depth})"

    def operator(self, W: ArrayLike) -> Operator:
        """The inverse metric A_{N,W}."""
        return Operator(W, self.depth)

    def inner(self, W: ArrayLike, Z1: ArrayLike, Z2: ArrayLike) -> Array:
        """g^N_W(Z_1, Z_2)."""
        return geometry.inner(W, Z1, Z2, self.depth)

    def norm(self, W: ArrayLike, Z: ArrayLike) -> Array:
        """‖Z‖_g."""
        return geometry.norm(W, Z, self.depth)

    def gradient(self, energy: Energy, W: ArrayLike) -> Array:
        """grad E(W) = A_{N,W}(E′(W))."""
        return geometry.gradient(energy, W, self.depth)

    def random_tangent(self, key: RandomKey, W: ArrayLike, *, unit: bool = False) -> Array:
        """A standard normal direction of g^N_W, or a uniform one on its unit sphere."""
        return geometry.random_tangent(key, W, self.depth, unit=unit)

    def log_volume(self, W: ArrayLike, coordinates: str = "dense") -> Array:
        """log √det g^N."""
        return volume.log_volume(W, self.depth, coordinates)

    def log_stratum_volume(self, W: ArrayLike, rank: int | None = None) -> Array:
        """The log volume density on the matrices of rank r."""
        return volume.log_stratum_volume(W, self.depth, rank)

    def entropy(self, W: ArrayLike, *, constant: bool | None = None) -> Array:
        """The log volume of the orbit of balanced factorizations of W."""
        return volume.entropy(W, self.depth, constant=constant)

    def exp(
        self,
        W: ArrayLike,
        Z: ArrayLike,
        t: ArrayLike = 1.0,
        *,
        rtol: float | None = None,
        max_steps: int = 4096,
    ) -> geodesic.Geodesic:
        """The geodesic from W with velocity Z."""
        return geodesic.exp(W, Z, self.depth, t, rtol=rtol, max_steps=max_steps)

    def log(
        self, W0: ArrayLike, W1: ArrayLike, *, rtol: float | None = None, max_steps: int = 512
    ) -> geodesic.Logarithm:
        """The velocity of a geodesic from W_0 to W_1."""
        return geodesic.log(W0, W1, self.depth, rtol=rtol, max_steps=max_steps)

    def distance(self, W0: ArrayLike, W1: ArrayLike, *, rtol: float | None = None) -> Array:
        """The length of that geodesic."""
        return geodesic.distance(W0, W1, self.depth, rtol=rtol)

    def christoffel(self, W: ArrayLike, X: ArrayLike, Y: ArrayLike) -> Array:
        """Γ(X, Y)."""
        return curvature.christoffel(W, X, Y, self.depth)

    def sectional(self, W: ArrayLike, X: ArrayLike, Y: ArrayLike) -> Array:
        """The curvature of the plane spanned by X and Y."""
        return curvature.sectional(W, X, Y, self.depth)

    def ricci(self, W: ArrayLike, X: ArrayLike, Y: ArrayLike) -> Array:
        """Ric(X, Y)."""
        return curvature.ricci(W, X, Y, self.depth)

    def scalar(self, W: ArrayLike) -> Array:
        """The scalar curvature."""
        return curvature.scalar(W, self.depth)

    def pymanopt(self, d: int, *, seed: int | None = None) -> "PymanoptManifold":
        """(GL_d, g^N) as a manifold for pymanopt's problems and optimizers."""
        return PymanoptManifold(self, d, seed)

    def geomstats(self, d: int) -> "GeomstatsMetric":
        """g^N on GL_d under the method names of geomstats' ``RiemannianMetric``."""
        return GeomstatsMetric(self, d)


class PymanoptManifold:
    """(GL_d, g^N) under the method names of ``pymanopt.manifolds.manifold.Manifold``.

    The point comes first; NumPy in and out. pymanopt is not needed to make it. Hand the Euclidean
    gradient of the cost to the problem, and its Euclidean Hessian for trust regions. The retraction
    is W + Z, with Z itself as transport; det W = 0 is not avoided. ``random_point`` has i.i.d.
    standard normal entries, so that two of them may have determinants of opposite sign, which no
    geodesic joins (`log`, `dist`: `InputError`): this is for optimizers that follow gradients.

    >>> import deeplinear as dl, numpy as np
    >>> manifold = dl.Metric(2).pymanopt(2)
    >>> W, G = np.diag([4.0, 1.0]), np.ones((2, 2))
    >>> manifold.euclidean_to_riemannian_gradient(W, G).tolist()
    [[4.0, 2.5], [2.5, 1.0]]
    """

    def __init__(self, metric: Metric, d: int, seed: int | None = None):
        # pymanopt asks for an instance of its class, which a registered one is
        with suppress(ImportError):
            import_module("pymanopt.manifolds.manifold").Manifold.register(PymanoptManifold)
        self.metric, self.d, self._random = (
            metric,
            check_integer(d, "d"),
            np.random.default_rng(seed),
        )
        self.dim, self.num_values, self.point_layout = self.d**2, self.d**2, 1

    def __str__(self) -> str:
        return (
            f"{self.d}×{self.d} matrices of full rank, metric of deep linear networks of depth "
            f"{self.metric.depth}"
        )

    @property
    def typical_dist(self) -> float:
        return self.d

    def inner_product(
        self, point: np.ndarray, tangent_vector_a: np.ndarray, tangent_vector_b: np.ndarray
    ) -> float:
        return float(self.metric.inner(point, tangent_vector_a, tangent_vector_b))

    def norm(self, point: np.ndarray, tangent_vector: np.ndarray) -> float:
        return float(self.metric.norm(point, tangent_vector))

    def euclidean_to_riemannian_gradient(
        self, point: np.ndarray, euclidean_gradient: np.ndarray
    ) -> np.ndarray:
        return np.asarray(self.metric.operator(point)(euclidean_gradient))

    def euclidean_to_riemannian_hessian(
        self,
        point: np.ndarray,
        euclidean_gradient: np.ndarray,
        euclidean_hessian: np.ndarray,
        tangent_vector: np.ndarray,
    ) -> np.ndarray:
        """∇_Z grad E = ∂_Z A_W(G) + A_W(H) + Γ(Z, A_W(G)) for E′ = G and E″[Z] = H."""
        W, G, Z = map(jnp.asarray, (point, euclidean_gradient, tangent_vector))
        gradient, moved = jax.jvp(lambda W: operator_power(W, G, self.metric.depth, 1), (W,), (Z,))
        turned = self.metric.christoffel(W, Z, gradient)
        return np.asarray(moved + self.metric.operator(point)(euclidean_hessian) + turned)

    def projection(self, point: np.ndarray, vector: np.ndarray) -> np.ndarray:
        return vector

    to_tangent_space = embedding = projection

    def retraction(self, point: np.ndarray, tangent_vector: np.ndarray) -> np.ndarray:
        return point + tangent_vector

    def transport(
        self, point_a: np.ndarray, point_b: np.ndarray, tangent_vector_a: np.ndarray
    ) -> np.ndarray:
        return tangent_vector_a

    def zero_vector(self, point: np.ndarray) -> np.ndarray:
        return np.zeros_like(point)

    def random_point(self) -> np.ndarray:
        return self._random.normal(size=(self.d, self.d))

    def random_tangent_vector(self, point: np.ndarray) -> np.ndarray:
        key = jax.random.key(int(self._random.integers(2**31)))
        return np.asarray(self.metric.random_tangent(key, point, unit=True))

    def exp(self, point: np.ndarray, tangent_vector: np.ndarray) -> np.ndarray:
        """NaN where the geodesic leaves the matrices of full rank."""
        found = self.metric.exp(point, tangent_vector)
        return np.where(found.converged, found.W, np.nan)

    def log(self, point_a: np.ndarray, point_b: np.ndarray) -> np.ndarray:
        """NaN where shooting finds no geodesic."""
        found = self.metric.log(point_a, point_b)
        return np.where(found.converged, found.Z, np.nan)

    def dist(self, point_a: np.ndarray, point_b: np.ndarray) -> float:
        return float(self.metric.distance(point_a, point_b))

    def pair_mean(self, point_a: np.ndarray, point_b: np.ndarray) -> np.ndarray:
        """The middle of the geodesic between two points."""
        return self.exp(point_a, self.log(point_a, point_b) / 2)


class GeomstatsMetric:
    """g^N on GL_d under the method names of geomstats' ``RiemannianMetric``.

    The base point comes last; NumPy in and out, with any leading batch axes.

    >>> import deeplinear as dl, numpy as np
    >>> metric = dl.Metric(2).geomstats(2)
    >>> float(metric.squared_norm(np.diag([3.0, 4.0]), 4 * np.eye(2)))
    6.25
    """

    def __init__(self, metric: Metric, d: int):
        self.metric, self.d = metric, check_integer(d, "d")

    def inner_product(
        self, tangent_vec_a: np.ndarray, tangent_vec_b: np.ndarray, base_point: np.ndarray
    ) -> np.ndarray:
        return np.asarray(self.metric.inner(base_point, tangent_vec_a, tangent_vec_b))

    def squared_norm(self, vector: np.ndarray, base_point: np.ndarray) -> np.ndarray:
        return self.norm(vector, base_point) ** 2

    def norm(self, vector: np.ndarray, base_point: np.ndarray) -> np.ndarray:
        return np.asarray(self.metric.norm(base_point, vector))

    def metric_matrix(self, base_point: np.ndarray) -> np.ndarray:
        """The d²×d² matrix of the metric in the coordinates W_ij, row by row."""
        units = np.eye(self.d**2).reshape(-1, self.d, self.d)
        W = np.asarray(base_point)[..., None, None, :, :]
        return np.asarray(self.metric.inner(W, units[:, None], units))

    def exp(self, tangent_vec: np.ndarray, base_point: np.ndarray) -> np.ndarray:
        """NaN where the geodesic leaves the matrices of full rank."""
        return self._pairwise(self._one.exp, "(d,d)", base_point, tangent_vec)

    def log(self, point: np.ndarray, base_point: np.ndarray) -> np.ndarray:
        """NaN where shooting finds no geodesic."""
        return self._pairwise(self._one.log, "(d,d)", base_point, point)

    def dist(self, point_a: np.ndarray, point_b: np.ndarray) -> np.ndarray:
        return self._pairwise(self._one.dist, "()", point_a, point_b)

    def squared_dist(self, point_a: np.ndarray, point_b: np.ndarray) -> np.ndarray:
        return self.dist(point_a, point_b) ** 2

    @property
    def _one(self) -> PymanoptManifold:
        return PymanoptManifold(self.metric, self.d)

    def _pairwise(
        self, function: Callable, result: str, a: np.ndarray, b: np.ndarray
    ) -> np.ndarray:
        """``function`` of each pair of a batch: geodesics take as many steps as each one needs."""
        return np.vectorize(function, signature=f"(d,d),(d,d)->{result}")(a, b)
