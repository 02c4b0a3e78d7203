"""The gradient flow as a vector field, in several coordinate systems for the same W.

*Dense*: the entries of W. Simple, defined everywhere, blind to singular values far below σ_1.
*SVD*: (U, log σ, V). Keeps the rank and the sign of det W exactly, however small σ gets; singular
where σ_i = σ_j. *Thin*: two frames and a full core, for W of low rank. *Factors*: W_1, …, W_N.

All treat E with weight decay λ: Ẇ = −A_{N,W}(E′(W)) − λ W, time as in [CMV].
"""

from abc import abstractmethod
from functools import reduce
from typing import ClassVar, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from ..checks import is_traced
from ..geometry.kernel import log_growth, log_kernel
from ..geometry.leaf import Depth, Leaf, exponent, leaf_turning
from ..geometry.operator import Operator
from ..geometry.point import LogSVD, log_singular_values
from .factors import imbalance
from .motion import FlowProblem, Motion, SingularFrame, motion

State = TypeVar("State")

# The state of the charts "svd" and "thin": two frames with log σ, or a core, between them.
Frames = tuple[Array, Array, Array]


class AbstractCoordinates(eqx.Module, Generic[State]):
    """Coordinates y of W in which the flow Ẇ = −A_{N,W}(E′(W)) − λ W is integrated.

    To add some, subclass it and define

    - ``name``: a class variable, under which the result's ``stats`` count the steps;
    - ``start(point)``: the state y at a point, any pytree of floating arrays;
    - ``field(t, y, problem)``: ẏ, with the energy, ν = 1/N (or a leaf) and λ in a `FlowProblem`;
    - ``matrix(y)``: W;
    - ``scale(y)``: the size that the absolute tolerance is relative to.

    The other methods have defaults by way of W; overwrite them where the coordinates know log σ and
    the gradient in the singular frame better than a dense SVD does. All of them are traced by JAX.
    An instance is passed as ``dl.gradient_flow(energy, W0, depth, chart=MyCoordinates())``.
    """

    name: eqx.AbstractClassVar[str]

    # Whether the field is stiff where W is small, so that implicit steps pay, and its Jacobian safe
    # (not through an SVD).
    implicit: ClassVar[bool] = False

    # Whether the absolute errors of the state are what counts (logarithms, frames), at any size.
    absolute: ClassVar[bool] = False

    @abstractmethod
    def start(self, point: LogSVD) -> State:
        """The state at a point."""

    @abstractmethod
    def field(self, t: ArrayLike, y: State, problem: FlowProblem) -> State:
        """ẏ at time t."""

    @abstractmethod
    def matrix(self, y: State) -> Array:
        """W, m×n."""

    @abstractmethod
    def scale(self, y: State) -> Array | float:
        """The size of an entry of y, which the absolute tolerance is relative to."""

    def to_svd(self, y: State) -> LogSVD:
        """W by its SVD, singular values descending."""
        return LogSVD.of(self.matrix(y))

    def frame(self, y: State, problem: FlowProblem) -> SingularFrame:
        """E′(W) in the singular frame of W; singular values that are rounding noise are zero."""
        W = self.matrix(y)
        op = Operator.unchecked(W, problem.depth)
        return SingularFrame.of(problem.gradient(W), op.U, op.Vt.T, log_singular_values(op.s))

    def motion(self, y: State, problem: FlowProblem, curvature: Array) -> Motion:
        """How fast W moves, to which ``stop_gradient`` refers: see the function `motion`."""
        return motion(self.frame(y, problem), problem, curvature)

    def factors(self, y: State) -> tuple[Array, ...] | None:
        """(W_1, …, W_N), where the state has them."""
        return None


class DenseCoordinates(AbstractCoordinates[Array]):
    """State y = W."""

    name = "dense"

    def start(self, point: LogSVD) -> Array:
        return point.dense()

    def scale(self, y: Array) -> Array:
        return jnp.sqrt(jnp.mean(y**2))

    def field(self, t: ArrayLike, y: Array, problem: FlowProblem) -> Array:
        """Ẇ = −A_{N,W}(G) − λ W."""
        # a trial step may overflow: it is NaN then, and rejected
        velocity = Operator.unchecked(y, problem.depth)(problem.gradient(y))
        return -velocity - problem.weight_decay * y

    def matrix(self, y: Array) -> Array:
        return y


class SvdCoordinates(AbstractCoordinates[Frames]):
    """State y = (U, log σ, V): orthonormal columns U (m×k) and V (n×k), in no particular order.

    With M = UᵀGV and c_ij = 1/(N(σ_i^{2/N} − σ_j^{2/N})) (N = ∞: 1/(2(log σ_i − log σ_j))):

        d log σ_i/dt = −σ_i^{1−2/N} M_ii − λ,
        U̇ = UΩ − (I − UUᵀ) G V diag(λ_N(σ_i, 0)/σ_i),   Ω_ij = c_ij (σ_j M_ij + σ_i M_ji),
        V̇ = VΘ − (I − VVᵀ) Gᵀ U diag(λ_N(σ_i, 0)/σ_i),  Θ_ij = c_ij (σ_i M_ij + σ_j M_ji).
    """

    name = "svd"
    implicit = True
    absolute = True

    def start(self, point: LogSVD) -> Frames:
        return point.U, point.log_s, transposed(point.Vt)

    def scale(self, y: Frames) -> float:
        return 1.0  # the errors of log σ are relative ones, and frames have unit columns

    def parts(self, y: Frames, problem: FlowProblem) -> tuple[Array, ...]:
        """(U, log σ, V, GV, GᵀU, UᵀGV), with the drift of the frames taken out."""
        U, log_s, V = _orthonormal(y[0]), y[1], _orthonormal(y[2])
        W = (U * jnp.exp(log_s)) @ V.T
        G = problem.gradient(W)
        GV, GtU = G @ V, G.T @ U
        return U, log_s, V, GV, GtU, U.T @ GV

    def field(self, t: ArrayLike, y: Frames, problem: FlowProblem) -> Frames:
        U, log_s, V, GV, GtU, M = self.parts(y, problem)
        nu = problem.nu
        # the frames turn among their own k columns …
        own, other = _rotation_weights(log_s, nu, problem.tie)
        omega = other * M + own * M.T
        theta = own * M + other * M.T
        d_log_s = -jnp.exp(log_growth(log_s, nu)) * jnp.diagonal(M) - problem.weight_decay
        dU, dV = U @ omega, V @ theta
        if U.shape[0] + V.shape[0] > 2 * log_s.size:
            # … and towards what lies outside the k singular spaces: zero singular values, or a bulk
            # of them at e^{log_bulk}
            edge = jnp.exp(log_kernel(log_s, problem.log_bulk, nu) - log_s)
            dU, dV = dU - (GV - U @ M) * edge, dV - (GtU - V @ M.T) * edge
        return dU, d_log_s, dV

    def matrix(self, y: Frames) -> Array:
        return (_orthonormal(y[0]) * jnp.exp(y[1])) @ _orthonormal(y[2]).T

    def to_svd(self, y: Frames) -> LogSVD:
        order = jnp.argsort(-y[1])
        return LogSVD(_orthonormal(y[0])[:, order], y[1][order], _orthonormal(y[2])[:, order].T)

    def frame(self, y: Frames, problem: FlowProblem) -> SingularFrame:
        G = problem.gradient(self.matrix(y))
        return SingularFrame.of(G, _orthonormal(y[0]), _orthonormal(y[2]), y[1])


class ThinCoordinates(AbstractCoordinates[Frames]):
    """State y = (U, S, V) with W = U S Vᵀ, for W of rank k ≪ m, n.

    U and V are orthonormal frames of k columns, S is a full k×k core.

    With S = P σ Qᵀ, M = (UP)ᵀ G (VQ) and e_j = λ_N(σ_j, 0) (or, with a bulk at ε, λ_N(σ_j, ε)):

        Ṡ = −P (λ_N(σ_i, σ_j) ∘ M) Qᵀ − λ S,
        U̇ = −(I − UUᵀ) G V Q diag(e_j/σ_j) Pᵀ,   V̇ = −(I − VVᵀ) Gᵀ U P diag(e_j/σ_j) Qᵀ.

    The frames turn only as far as the column and row spaces of W do, so that ties need no care;
    each evaluation costs three products with G and an SVD of the core. Small singular
    values are as good as dense arithmetic on the core.
    """

    name = "thin"

    def start(self, point: LogSVD) -> Frames:
        return point.U, jnp.diag(jnp.exp(point.log_s)), point.Vt.T

    def scale(self, y: Frames) -> Array:
        return jnp.sqrt(jnp.mean(y[1] ** 2))

    def parts(self, y: Frames, problem: FlowProblem) -> tuple[Array, ...]:
        """(U, V, P, log σ, Q, GV, GᵀU, UᵀGV), with the drift of the frames taken out."""
        U, S, V = _orthonormal(y[0]), y[1], _orthonormal(y[2])
        G = problem.gradient(U @ S @ V.T)
        P, s, Qt = jnp.linalg.svd(S)
        GV, GtU = G @ V, G.T @ U
        return U, V, P, jnp.log(s), Qt.T, GV, GtU, U.T @ GV

    def field(self, t: ArrayLike, y: Frames, problem: FlowProblem) -> Frames:
        U, V, P, log_s, Q, GV, GtU, core = self.parts(y, problem)
        nu = problem.nu
        # the core carries all that happens within the two spaces, in its own singular frame (P, Q)
        pair = jnp.exp(log_kernel(log_s[:, None], log_s, nu))
        dS = -P @ (pair * (P.T @ core @ Q)) @ Q.T - problem.weight_decay * y[1]
        # outside them only the edges λ_N(σ_j, 0) act; U and V turn, the core does not feel it
        turn = (Q * jnp.exp(log_kernel(log_s, problem.log_bulk, nu) - log_s)) @ P.T
        return -(GV - U @ core) @ turn, dS, -(GtU - V @ core.T) @ turn.T

    def matrix(self, y: Frames) -> Array:
        return _orthonormal(y[0]) @ y[1] @ _orthonormal(y[2]).T

    def to_svd(self, y: Frames) -> LogSVD:
        P, s, Qt = jnp.linalg.svd(y[1])
        return LogSVD(_orthonormal(y[0]) @ P, jnp.log(s), Qt @ _orthonormal(y[2]).T)

    def frame(self, y: Frames, problem: FlowProblem) -> SingularFrame:
        point = self.to_svd(y)
        noise = point.log_s.size * float(jnp.finfo(point.log_s.dtype).eps)
        log_s = log_singular_values(jnp.exp(point.log_s), noise)
        return SingularFrame.of(problem.gradient(self.matrix(y)), point.U, point.Vt.T, log_s)


def transposed(V: Array) -> Array:
    """Vᵀ; by NumPy where values can be seen."""
    return V.T if is_traced(V) else jax.device_put(np.asarray(V).T)


def _orthonormal(U: Array) -> Array:
    """One Newton–Schulz step to the nearest orthonormal frame: squares the drift of the steps."""
    return 1.5 * U - 0.5 * U @ (U.T @ U)


def _rotation_weights(log_s: Array, nu: Depth, tie: Array) -> tuple[Array, Array]:
    """(c_ij σ_i, c_ij σ_j), from logarithms, zero on the diagonal.

    Passing a near tie at distance g the frame turns at the rate 1/g, as polar coordinates do near
    the origin; below g = ``tie`` it is cut off, which displaces log σ by no more than that: the
    tolerance of the steps is the right size.
    """
    if isinstance(nu, Leaf):
        return leaf_turning(log_s[:, None], log_s, nu, tie)
    gap = log_s[:, None] - log_s
    big = jnp.maximum(log_s[:, None], log_s)
    z = 2 * jnp.abs(gap)
    safe_nu = jnp.where(nu > 0, nu, 1.0)
    # N (σ_i^{2/N} − σ_j^{2/N}) / max^{2/N}
    psi = jnp.where(nu > 0, -jnp.expm1(-safe_nu * z) / safe_nu, z)
    inverse = jnp.sign(gap) * psi / (psi**2 + tie**2)
    return inverse * jnp.exp(log_s[:, None] - 2 * nu * big), inverse * jnp.exp(log_s - 2 * nu * big)


def partial_products(
    factors: tuple[Array, ...],
) -> tuple[list[Array | None], list[Array | None]]:
    """(W_{p−1} ⋯ W_1 and W_N ⋯ W_{p+1} for each p); None for an empty product."""
    below: list[Array | None] = [None]
    for W in factors[:-1]:
        below.append(W if below[-1] is None else W @ below[-1])
    above: list[Array | None] = [None]
    for W in factors[:0:-1]:
        above.append(W if above[-1] is None else above[-1] @ W)
    return below, above[::-1]


class FactorCoordinates(AbstractCoordinates[tuple[Array, ...]]):
    """State y = (W_1, …, W_N): the flow of the factors of a network of ``depth`` layers."""

    name = "factors"
    depth: int = eqx.field(static=True, default=2)

    def start(self, point: LogSVD) -> tuple[Array, ...]:
        """Balanced factors: Σ^{1/N} Vᵀ, N − 2 times Σ^{1/N}, U Σ^{1/N}."""
        root = jnp.exp(point.log_s / self.depth)
        if self.depth == 1:
            return (point.dense(),)
        first, last = root[:, None] * point.Vt, point.U * root
        return (first, *[jnp.diag(root)] * (self.depth - 2), last)

    def scale(self, y: tuple[Array, ...]) -> Array:
        return jnp.mean(jnp.stack([jnp.sqrt(jnp.mean(W**2)) for W in y]))

    def field(self, t: ArrayLike, y: tuple[Array, ...], problem: FlowProblem) -> tuple[Array, ...]:
        """Ẇ_p = −(1/N) ((W_N⋯W_{p+1})ᵀ G (W_{p−1}⋯W_1)ᵀ + λ W_p)."""
        # each velocity costs two products with the partial products, which are shared
        below, above = partial_products(y)
        W = y[-1] if below[-1] is None else y[-1] @ below[-1]
        G = problem.gradient(W)
        out = []
        for W_p, right, left in zip(y, below, above, strict=True):
            slope = G if left is None else left.T @ G
            slope = slope if right is None else slope @ right.T
            out.append(-exponent(problem.nu) * (slope + problem.weight_decay * W_p))
        return tuple(out)

    def matrix(self, y: tuple[Array, ...]) -> Array:
        return reduce(lambda W, W_p: W_p @ W, y)

    def factors(self, y: tuple[Array, ...]) -> tuple[Array, ...]:
        return y

    def motion(self, y: tuple[Array, ...], problem: FlowProblem, curvature: Array) -> Motion:
        """Of the product, and of the factors themselves.

        The product may stand still where they do not: (N Σ_p ‖Ẇ_p‖²)^{1/2}/m^{N−1}, m the mean
        ‖W_p‖_F, counts too, with no more than κ m^N, or what of N Ẇ/m^{2N−2} makes W grow. A
        singular value that falls may go on through 0 where the factors are not balanced, and counts
        in full then.
        """
        W = self.matrix(y)
        op = Operator.unchecked(W, problem.depth)
        frame = SingularFrame.of(problem.gradient(W), op.U, op.Vt.T, log_singular_values(op.s))
        product = motion(frame, problem, curvature, self._crosses(y, op, frame, problem))
        velocity = self.field(0.0, y, problem)
        speed = sum(jnp.sum(v**2) for v in velocity) / exponent(problem.nu)
        size = jnp.mean(jnp.stack([jnp.linalg.norm(W) for W in y]))
        own = jnp.sqrt(jnp.where(speed > 0, speed, 1.0)) / size ** (len(y) - 1)
        # without decay, what grows at W = 0 from factors that are not 0 will not stay small
        moved = op.U.T @ jax.jvp(self.matrix, (y,), (velocity,))[1] @ op.Vt.T
        falls = jnp.eye(op.s.size, dtype=bool) & (moved < 0) & (op.s > 0)
        square = jnp.sum(jnp.where(falls | (problem.weight_decay > 0), 0.0, moved) ** 2)
        grows = jnp.sqrt(jnp.where(square > 0, square, 1.0)) / size ** (2 * len(y) - 2)
        grows = jnp.where(square > 0, grows / exponent(problem.nu), 0.0)
        least = jnp.maximum(curvature * size ** len(y), grows)
        own = jnp.where(speed > 0, jnp.minimum(own, least), 0.0)
        own = own if self.depth > 1 else 0.0 * own
        return Motion(jnp.maximum(product.gradient, own), jnp.maximum(product.slope, speed))

    def _crosses(
        self, y: tuple[Array, ...], op: Operator, frame: SingularFrame, problem: FlowProblem
    ) -> Array:
        """Which singular values σ of the product pass through 0 if they fall.

        The share of layer p in σ is a_p = σ/b_p, b_p = ‖uᵀ W_N ⋯ W_{p+1}‖ ‖W_{p−1} ⋯ W_1 v‖, and
        a_p² − a_q² is kept (λ = 0): the smallest a_p falls through 0, alone, unless another one is
        as small. Weight decay holds σ there if λ a_q ≥ |uᵀ E′(W) v| b_p.
        """
        if self.depth == 1:
            return jnp.zeros(op.s.shape, bool)
        below, above = partial_products(y)
        length = lambda X: jnp.sqrt(jnp.sum(X**2, 0))  # noqa: E731
        left = [1.0 if L is None else length(L.T @ op.U) for L in above]
        right = [1.0 if R is None else length(R @ op.Vt.T) for R in below]
        b = jnp.sort(jnp.stack([x * z for x, z in zip(left, right, strict=True)]), axis=0)
        least, next_least = (op.s / jnp.where(x > 0, x, 1.0) for x in (b[-1], b[-2]))
        # what the steps resolve, and what they left of the balance of two layers among others
        noise = 10 * problem.tie * self.scale(y) * next_least
        gap = imbalance(y) if problem.imbalance is None else problem.imbalance
        apart = next_least**2 - least**2 > jnp.maximum(noise, 1e-3 * gap)
        pull = jnp.abs(jnp.diagonal(frame.M)) * b[-1]
        return apart & (pull > problem.weight_decay * next_least)
