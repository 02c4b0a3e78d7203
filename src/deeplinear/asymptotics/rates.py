"""How fast the residual dies out near a minimizer: the tangent kernel, and the rate it predicts."""

import abc
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..checks import check_integer, check_matrix, check_tolerance, is_traced
from ..compilation import program
from ..energies import Completion, Energy, Sensing, check_energy
from ..errors import InputError
from ..geometry.kernel import inverse_depth, log_kernel
from ..geometry.leaf import DepthLike, Imbalance, on_leaf
from ..geometry.operator import Operator
from ..geometry.point import LogSVD, log_singular_values
from ..labelled import Numbers
from ..status import Status

# Up to this size K is formed: its eigenvalues then cost less than the compilation of the rest.
DENSE = 1500


class _Point(Operator):
    """A_{N,W} with the kernel from log σ.

    A `LogSVD` may hold σ far below the floating-point range.
    """

    log_s: Array

    @classmethod
    def at(cls, W: ArrayLike | LogSVD, depth: DepthLike, rank_rtol: float | None) -> "_Point":
        if isinstance(W, LogSVD):
            self = cls.from_svd(W.U, jnp.exp(W.log_s), W.Vt, depth)
            log_s = W.log_s
        else:
            op = Operator(W, depth, rank_rtol=rank_rtol)
            self = cls.from_svd(op.U, op.s, op.Vt, depth)
            log_s = log_singular_values(op.s)
        object.__setattr__(self, "log_s", log_s)
        return self

    @property
    def eigenvalues(self) -> tuple[Array, Array, Array]:
        nu = inverse_depth(self.depth, self.log_s.dtype)
        # by exp of log λ: nothing underflows before the eigenvalue itself does
        nothing = jnp.array(-jnp.inf, self.log_s.dtype)
        core, edge, corner = (
            log_kernel(self.log_s[:, None], self.log_s, nu),
            log_kernel(self.log_s, nothing, nu),
            log_kernel(nothing, nothing, nu),
        )
        return jnp.exp(core), jnp.exp(edge), jnp.exp(corner)


class _TangentKernel(eqx.Module):
    """The operator K on vectors of residuals."""

    point: eqx.AbstractVar[_Point]

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of residuals."""

    @abc.abstractmethod
    def mv(self, x: Array) -> Array:
        """K x."""

    @abc.abstractmethod
    def matrix(self, x: Array) -> Array:
        """Residuals in the shape of the problem."""


class _Entries(_TangentKernel):
    """K on observed entries, K_{(ij),(kl)} = √w_ij (A_{N,W} (e_k e_lᵀ))_ij √w_kl."""

    point: _Point
    rows: Array
    cols: Array
    root: Array  # √w

    @property
    def size(self) -> int:
        return self.rows.size

    def mv(self, x: Array) -> Array:
        return self.root * self.point(self.matrix(self.root * x))[self.rows, self.cols]

    def matrix(self, x: Array) -> Array:
        """x, one number for each entry, as an m×n matrix."""
        return jnp.zeros(self.point.shape, x.dtype).at[self.rows, self.cols].set(x)


class _Measurements(_TangentKernel):
    """K on p measurements, K_{lq} = √w_l ⟨A_l, A_{N,W}(A_q)⟩ √w_q."""

    point: _Point
    A: Array
    root: Array

    @property
    def size(self) -> int:
        return self.root.size

    def mv(self, x: Array) -> Array:
        return self.root * jnp.tensordot(
            self.A, self.point(jnp.tensordot(self.root * x, self.A, 1)), 2
        )

    def matrix(self, x: Array) -> Array:
        return x


class _Curvature(_TangentKernel):
    """K = A^{1/2} E″(W) A^{1/2} on all m×n matrices."""

    point: _Point
    energy: Energy
    W: Array

    @property
    def size(self) -> int:
        return math.prod(self.point.shape)

    def mv(self, x: Array) -> Array:
        gradient = jax.grad(lambda X: jnp.reshape(self.energy(X), ()))
        Z = self.point.sqrt(self.matrix(x))
        return self.point.sqrt(jax.jvp(gradient, (self.W,), (Z,))[1]).ravel()

    def matrix(self, x: Array) -> Array:
        return x.reshape(self.point.shape)


def kernel_at(
    energy: Energy | ArrayLike,
    W: ArrayLike | LogSVD,
    depth: ArrayLike,
    imbalance: Imbalance,
    rank_rtol: float | None,
) -> _TangentKernel:
    """The K of an energy at W, as one of the three modules."""
    at: Array | LogSVD = W if isinstance(W, LogSVD) else check_matrix(W)
    metric = on_leaf(depth, imbalance, shape=at.shape, scalar=True)
    if callable(energy):
        dtype = check_energy(energy, at.shape, jax.tree.leaves(at)[0].dtype)
        at = jax.tree.map(lambda x: x.astype(dtype), at)
    point = eqx.filter_jit(_Point.at)(at, metric, rank_rtol)
    if callable(energy) and not isinstance(energy, Completion | Sensing):
        return _Curvature(point, energy, at.dense() if isinstance(at, LogSVD) else at)
    if is_traced(energy):
        raise InputError(
            "energy must be concrete here, which entries are observed decides the shape: close "
            "over it."
        )
    if isinstance(energy, Sensing):
        _check_shape(point, energy.shape)
        dtype = point.s.dtype
        root = jnp.asarray(np.sqrt(energy.weights), dtype)
        return _Measurements(point, energy.A.astype(dtype), root)
    weights = _weights(energy)
    _check_shape(point, weights.shape)
    rows, cols = np.nonzero(weights)
    if rows.size == 0:
        raise InputError("energy must observe at least one entry, got a mask without any.")
    return _Entries(
        point,
        jnp.asarray(rows),
        jnp.asarray(cols),
        jnp.asarray(np.sqrt(weights[rows, cols]), point.s.dtype),
    )


def _check_shape(point: _Point, shape: tuple[int, ...]) -> None:
    if point.shape != shape:
        raise InputError(f"W must have the shape {shape} of the problem, got {point.shape}.")


def _weights(energy: Completion | ArrayLike) -> np.ndarray:
    """The weights of a `Completion`, or a mask as such."""
    mask = np.asarray(energy.weights if isinstance(energy, Completion) else energy)
    if mask.ndim != 2 or (mask.dtype != bool and not isinstance(energy, Completion)):
        raise InputError(
            f"energy must be a function of W or an m×n mask of booleans, got shape {mask.shape} "
            f"and dtype {mask.dtype}."
        )
    return mask.astype(float) if mask.dtype == bool else mask


@program
def _materialize(kernel: _TangentKernel) -> Array:
    # column by column, in batches that bound the memory; symmetric but for rounding
    identity = jnp.eye(kernel.size, dtype=kernel.point.s.dtype)
    K = jax.lax.map(kernel.mv, identity, batch_size=64)
    return (K + K.T) / 2


@program
def kernel_root(kernel: _Entries | _Measurements) -> Float[Array, "k mn"]:
    """B with K = B Bᵀ: the rows A_{N,W}^{1/2}(√w e_i e_jᵀ), or those of the measurements."""

    def row(x: Array) -> Array:
        seen = kernel.root * x
        Z = (
            kernel.matrix(seen)
            if isinstance(kernel, _Entries)
            else jnp.tensordot(seen, kernel.A, 1)
        )
        return kernel.point.sqrt(Z).ravel()

    return jax.lax.map(row, jnp.eye(kernel.size, dtype=kernel.point.s.dtype), batch_size=64)


def tangent_kernel(
    energy: Energy | ArrayLike,
    W: ArrayLike | LogSVD,
    depth: ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    dense: bool | None = None,
    rank_rtol: float | None = None,
) -> lx.AbstractLinearOperator:
    """The tangent kernel K of the network at W, which moves the residual: ρ̇ = −K ρ.

    With ρ the weighted residuals of E = ½‖ρ‖²,

        K = P_Ω A_{N,W} P_Ω,
        K_{(ij),(kl)} = (1/N) Σ_p [(WWᵀ)^{(N−p)/N}]_{ik} [(WᵀW)^{(p−1)/N}]_{jl}.

    **Arguments**

    - ``energy``: a `Completion` with weights w, ρ = √w (W − M) on Ω and K = √w A √w; a mask of
      booleans (w = 1); a `Sensing`, ρ_l = √w_l (⟨A_l, W⟩ − y_l). Any other function of W: K =
      A^{1/2} E″(W) A^{1/2} on m×n matrices, with the exact Hessian, whose eigenvalues are the rates
      of Ẇ = −A(E′(W)) around a W where E′ vanishes, zeros for the directions that E does not see.
    - ``W``: m×n, or a `LogSVD` (``result.end``), where singular values far below the floating-point
      range count still.
    - ``imbalance``: the leaf, as in `deeplinear.kernel`.
    - ``dense``: form the matrix; by default for up to 1,500 entries. ``rank_rtol``: as for
      `Operator`.

    **Returns** a lineax operator on vectors, positive semidefinite, one number for each observed
    entry in row-major order (or for each measurement, or for each entry of W). Not formed, a
    product costs O(mnk), k the number of singular values.

    **Normalization**: [CMV], K has the factor 1/N. **Raises** `DepthError`, `InputError`.
    **Source**: Arora et al. 2019; Jacot, Gabriel, Hongler 2018 for the name.

    >>> import numpy as np, deeplinear as dl
    >>> mask = np.array([[True, False], [True, True]])
    >>> K = dl.asymptotics.tangent_kernel(mask, np.diag([2.0, 1.0]), depth=2)
    >>> np.round(np.diag(K.as_matrix()), 6).tolist()
    [2.0, 1.5, 1.0]
    """
    kernel = kernel_at(energy, W, depth, imbalance, rank_rtol)
    if dense is None:
        dense = kernel.size <= DENSE
    if dense:
        return lx.MatrixLinearOperator(_materialize(kernel), lx.positive_semidefinite_tag)
    domain = jax.ShapeDtypeStruct((kernel.size,), kernel.point.s.dtype)
    return lx.FunctionLinearOperator(
        eqx.filter_jit(kernel.mv), domain, lx.positive_semidefinite_tag
    )


class PredictedRate(Numbers, eqx.Module):
    """What `predicted_rate` found: the residual decays like e^{−λt}, the energy like e^{−2λt}.

    Time is as in [CMV].

    - ``value``: λ. ``mode``: the residual that decays with it, of unit norm: m×n for entries and
      for general energies, p for `Sensing`.
    - ``residual``: ‖K v − λ v‖ / λ_max, its accuracy. ``frozen``: the number of eigenvalues of K
      that are zero to rounding (−1: unknown).
    - ``method``: "dense" or "lanczos"; ``status``: a code of `Status`.
    """

    value: Float[Array, ""]
    mode: Array
    residual: Float[Array, ""]
    frozen: Array
    status: Array
    method: str = eqx.field(static=True)

    _axis = "residual_place"


def predicted_rate(
    energy: Energy | ArrayLike,
    W: ArrayLike | LogSVD,
    depth: ArrayLike,
    *,
    imbalance: Imbalance = 0.0,
    rank_rtol: float | None = None,
    dense_limit: int = DENSE,
    tol: float = 1e-6,
) -> PredictedRate:
    """The rate λ_min(K) at which training ends near a minimizer W: residuals fall like e^{−λt}.

    K is the `tangent_kernel`.
    Eigenvalues of K below its rounding (size · ε · λ_max) count as zero: modes that do not decay at
    W, because W has low rank or (for a general energy) because E does not change. ``value`` is the
    smallest of the others; for the energies with residuals the status is then
    `Status.singular_kernel`.

    **Arguments**: as for `tangent_kernel`. Up to ``dense_limit`` residuals K is formed and
    diagonalized; above, Lanczos iterations (ARPACK) find λ_min to the relative accuracy ``tol``,
    well up to condition numbers of 1e5; if not, the status says so.

    **Returns** a `PredictedRate`. The value of the dense method is differentiable in W and depth,
    where it is a simple eigenvalue and the singular values of W are distinct (NaN elsewhere).

    **Normalization**: time as in [CMV]. **Raises** as `tangent_kernel`.

    >>> import numpy as np, deeplinear as dl
    >>> mask = np.array([[True, False], [False, True]])
    >>> rate = dl.asymptotics.predicted_rate(mask, np.diag([2.0, 1.0]), depth=2)
    >>> round(float(rate.value), 6), rate.method
    (1.0, 'dense')
    """
    kernel = kernel_at(energy, W, depth, imbalance, rank_rtol)
    check_tolerance(tol, kernel.point.s.dtype, "tol")
    if kernel.size <= check_integer(dense_limit, "dense_limit", 0):
        value, v, residual, frozen, status = _slowest(kernel)
        return PredictedRate(value, kernel.matrix(v), residual, frozen, status, "dense")
    if isinstance(kernel, _Curvature):
        raise InputError(
            f"energy must be a Completion, a Sensing or a mask for {kernel.size} > dense_limit "
            "entries: others have zero modes, which hide the smallest rate from an iteration."
        )
    if is_traced(kernel):
        raise InputError(
            "W must be concrete for the iterative method: raise dense_limit to trace the dense one."
        )
    return _lanczos(kernel, tol)


@program
def _slowest(kernel: _TangentKernel) -> tuple[Array, Array, Array, Array, Array]:
    K = _materialize(kernel)
    # eigh of a constant: the derivative of its vectors divides by gaps, and is not needed
    fixed = jax.lax.stop_gradient(K)
    eigenvalues, vectors = jnp.linalg.eigh(fixed)
    largest = jnp.max(jnp.abs(eigenvalues))
    noise = kernel.size * jnp.finfo(K.dtype).eps * largest
    frozen = jnp.sum(jnp.abs(eigenvalues) <= noise)
    negative = eigenvalues[0] < -noise
    v = vectors[:, jnp.where(negative, 0, jnp.argmax(eigenvalues > noise))]
    value = v @ K @ v  # its derivative is that of the eigenvalue, also where others tie
    residual = jnp.linalg.norm(fixed @ v - value * v) / jnp.where(largest > 0, largest, 1.0)
    hidden = (frozen > 0) & (not isinstance(kernel, _Curvature)) | (frozen == kernel.size)
    status = jnp.asarray(Status.converged, jnp.int32)
    status = jnp.where(hidden, Status.singular_kernel, status)
    status = jnp.where(negative, Status.indefinite, status)
    return jnp.where(frozen == kernel.size, 0.0, value), v, residual, frozen, status


def _lanczos(kernel: _TangentKernel, tol: float) -> PredictedRate:
    """The ends of the spectrum by ARPACK.

    LOBPCG, preconditioned with P_Ω A^{−1} P_Ω, took more products and time.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    product = jax.jit(lambda x: kernel.mv(x))
    size, dtype = kernel.size, np.dtype(kernel.point.s.dtype)
    K = LinearOperator((size, size), matvec=lambda x: np.asarray(product(np.ravel(x))), dtype=dtype)
    # a fixed start: the same result in every run
    start = np.random.default_rng(0).normal(size=size).astype(dtype)
    largest = float(eigsh(K, 1, which="LA", v0=start, tol=1e-3, return_eigenvectors=False)[0])
    try:
        values, vectors = eigsh(
            K, 1, which="SA", v0=start, ncv=min(size - 1, 80), maxiter=500, tol=tol
        )
        value, v = float(values[0]), vectors[:, 0]
    except ArpackError:
        value, v = math.nan, np.full(size, math.nan)
    residual = float(np.linalg.norm(K.matvec(v) - value * v)) / largest
    frozen = value <= size * np.finfo(dtype).eps * largest
    accurate = residual * largest <= 1e-2 * value  # an eigenvalue lies within this of the value
    status = Status.converged if accurate else Status.not_converged
    status = Status.singular_kernel if frozen else status
    as_array = lambda x: jnp.asarray(x, dtype)  # noqa: E731
    value = 0.0 if frozen else value
    count = jnp.asarray(-1 if frozen else 0)
    return PredictedRate(
        as_array(value),
        kernel.matrix(as_array(v)),
        as_array(residual),
        count,
        jnp.asarray(status, jnp.int32),
        "lanczos",
    )
