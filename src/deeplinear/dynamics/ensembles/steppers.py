"""One step of the flow in every lane: what a stepper is, and the explicit ones.

Errors are measured relative to each singular value, however small: a saddle amplifies just these. A
norm of W alone would also let small singular values cross zero, and with them the sign of det W,
which the flow preserves (at N ≥ 2).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, NamedTuple, TypeVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from ...energies import Energy
from ...geometry.leaf import Depth, Leaf, at_zero, exponent
from ...recorded import vmapped
from .frames import (
    Frame,
    Matrix,
    dot,
    frame,
    join,
    lapack,
    norm,
    product,
    sign_of_determinant,
    split,
)
from .linear import axpy, solve
from .planar import PlanarPoint, planar
from .singular import SingularPoint, compose, decompose, length, orthonormal, velocity


class EnsembleProblem(eqx.Module):
    """An energy and a depth, with lanes last, and the tolerance of a step, relative.

    ``cg`` caps the steps of a linear solve.
    """

    energy: Energy
    nu: Depth
    tol: Array
    cg: int = eqx.field(static=True)

    def value(self, W: Matrix) -> Float[Array, " L"]:
        return vmapped(self.energy, self.energy, -1)(join(W))

    def gradient(self, W: Matrix) -> Matrix:
        return split(vmapped(self.energy, jax.grad(self.energy), -1)(join(W)))

    def hessian(self, W: Matrix) -> Callable[[Matrix], Matrix]:
        """Z ↦ E″(W) Z."""
        return lambda Z: jax.jvp(self.gradient, (W,), (Z,))[1]

    def frame(self, W: Matrix) -> Frame:
        return frame(W, self.nu)


State = TypeVar("State")


class StepTrial(NamedTuple, Generic[State]):
    """A step that was tried.

    The new state, its derivative where the stepper has it at no cost, and the error in units of the
    tolerance.
    """

    state: State
    rate: PyTree[Array]
    error: Float[Array, " L"]


class AbstractStepper(eqx.Module, Generic[State]):
    """One step of the flow in every lane, of each lane's own size.

    To add one, subclass it and define

    - ``order``: a field, the order of the error estimate, by which the step size adapts;
    - ``start(problem, W)``: the state at W, any pytree of arrays with the lanes last;
    - ``matrix(state)``: W; both in the form of `frames.split`;
    - ``rate(problem, state)``: what a step hands on to the next one, such as the derivative at the
      state (first same as last), or ();
    - ``step(problem, state, rate, h)``: a `StepTrial`. Whether the step is kept is decided by the
      caller.

    A stepper has no state of its own, and what it does in one lane must not depend on the others;
    lanes with h = 0 are idle, and their result is dropped. All methods are traced. An instance is
    passed as ``dl.ensemble(energy, start, depth, method=MyStepper())``.
    """

    order: eqx.AbstractVar[int]

    # On a processor: after how many steps a lane is judged and refilled (the jump costs as much as
    # some steps), and the most lanes that fit its cache. See `lanes.width`.
    stride: ClassVar[int] = 16
    lanes: ClassVar[int] = 128
    # Whether a step holds the derivative of the flow, (mn)² numbers in each lane.
    jacobian: ClassVar[bool] = False
    # Below this tolerance a stage that is not the last is left out: the next takes less time.
    finest: ClassVar[float] = 0.0

    @abstractmethod
    def start(self, problem: EnsembleProblem, W: Matrix) -> State:
        """The state at W."""

    @abstractmethod
    def matrix(self, state: State) -> Matrix:
        """W."""

    @abstractmethod
    def rate(self, problem: EnsembleProblem, state: State) -> PyTree[Array]:
        """The part of the state's evaluation that the next step takes over."""

    @abstractmethod
    def step(
        self, problem: EnsembleProblem, state: State, rate: PyTree[Array], h: Float[Array, " L"]
    ) -> StepTrial[State]:
        """A step of size h from the state, tried."""


def singular_rate(problem: EnsembleProblem, state: SingularPoint) -> SingularPoint:
    """The flow at a state, with the drift of the steps taken out."""
    point = orthonormal(state)
    return velocity(point, problem.gradient(compose(point)), problem.nu, problem.tol)


def first_step(problem: EnsembleProblem, W: Matrix) -> Array:
    """A step that changes W by about a hundredth.

    0 at a critical point, ∞ at rest (G = 0), NaN where W or the flow is not finite.
    """
    G = problem.gradient(W)
    rate, slope, size = _largest(problem.frame(W).power(G, 1)), _largest(G), _largest(W)
    # W = 0 moves at N = 1 only, where time has the scale of H
    h = jnp.where(size > 0, 0.01 * size / rate, 1e-3)
    h = jnp.where(slope == 0, jnp.inf, jnp.where(rate == 0, 0.0, h))
    return jnp.where(jnp.isfinite(rate) & jnp.isfinite(size), h, jnp.nan)


def _largest(X: Matrix) -> Array:
    return jnp.max(jnp.abs(join(X)), (0, 1))


# Stages are kept in one array and run in a loop: written out, the compiler repeats the arithmetic
# of early stages in late ones.


def empty(like: State, stages: int) -> State:
    """Room for the stages of a step, along a new leading axis."""
    return jax.tree.map(lambda x: jnp.zeros((stages, *x.shape), x.dtype), like)


def put(stages: State, i: ArrayLike, value: State) -> State:
    return jax.tree.map(lambda all, x: all.at[i].set(x), stages, value)


def weighted_sum(weights: Array | np.ndarray, stages: State) -> State:
    """Σ_j w_j stage_j."""
    return jax.tree.map(
        lambda x: sum(jnp.asarray(w, x.dtype) * x[j] for j, w in enumerate(weights)), stages
    )


_TSIT5 = np.zeros((7, 7))
for _i, _row in enumerate(dfx.Tsit5.tableau.a_lower):
    _TSIT5[_i + 1, : len(_row)] = _row


class AbstractTsit5(AbstractStepper[State]):
    """Tsitouras' pair of orders 5 and 4; the last stage is the first of the next step."""

    order: eqx.AbstractVar[int]

    @abstractmethod
    def size(self, problem: EnsembleProblem, state: State, error: State) -> Array:
        """The error in units of the tolerance."""

    def step(
        self, problem: EnsembleProblem, state: State, rate: PyTree[Array], h: Array
    ) -> StepTrial[State]:
        def stage(i: Array, carry: tuple[State, State]) -> tuple[State, State]:
            slopes, _ = carry
            end = axpy(h, weighted_sum(jnp.asarray(_TSIT5)[i], slopes), state)
            return put(slopes, i, self.rate(problem, end)), end

        slopes = put(empty(rate, 7), 0, rate)
        slopes, end = jax.lax.fori_loop(1, 7, stage, (slopes, state))
        zero = jax.tree.map(jnp.zeros_like, rate)
        error = axpy(h, weighted_sum(dfx.Tsit5.tableau.b_error, slopes), zero)
        last = jax.tree.map(lambda x: x[-1], slopes)
        return StepTrial(end, last, self.size(problem, end, error))


class DenseStepper(AbstractTsit5[Matrix]):
    """Tsitouras' pair on W itself: for N < 2, where singular values do reach zero and pass it."""

    order: int = 5

    def start(self, problem: EnsembleProblem, W: Matrix) -> Matrix:
        return W

    def matrix(self, state: Matrix) -> Matrix:
        return state

    def rate(self, problem: EnsembleProblem, state: Matrix) -> Matrix:
        at = frame(state, problem.nu, often=True)
        return jax.tree.map(jnp.negative, at.power(problem.gradient(state), 1))

    def size(self, problem: EnsembleProblem, state: Matrix, error: Matrix) -> Array:
        return norm(error) / norm(state) / problem.tol


class ExplicitStepper(AbstractTsit5[SingularPoint]):
    """Tsitouras' pair on (U, log σ, V)."""

    order: int = 5

    def start(self, problem: EnsembleProblem, W: Matrix) -> SingularPoint:
        return decompose(W)

    def matrix(self, state: SingularPoint) -> Matrix:
        return compose(orthonormal(state))

    def rate(self, problem: EnsembleProblem, state: SingularPoint) -> SingularPoint:
        return singular_rate(problem, state)

    def size(self, problem: EnsembleProblem, state: SingularPoint, error: SingularPoint) -> Array:
        return length(error) / problem.tol


class PlanarStepper(AbstractTsit5[PlanarPoint]):
    """Tsitouras' pair on two angles and two log σ: the same for 2×2, several times faster."""

    order: int = 5

    def start(self, problem: EnsembleProblem, W: Matrix) -> PlanarPoint:
        return planar(W)

    def matrix(self, state: PlanarPoint) -> Matrix:
        return state.unit.matrix

    def rate(self, problem: EnsembleProblem, state: PlanarPoint) -> PlanarPoint:
        point = state.unit
        assert not isinstance(problem.nu, Leaf), "leaves have no planar formula"
        return point.velocity(problem.gradient(point.matrix), problem.nu, problem.tol)

    def size(self, problem: EnsembleProblem, state: PlanarPoint, error: PlanarPoint) -> Array:
        return error.length / problem.tol


class FactorStepper(AbstractTsit5[tuple[Array, ...]]):
    """Tsitouras' pair on the factors W = W_N ⋯ W_1, integer N.

    A step is made of products alone, without a decomposition.
    """

    order: int = 5
    depth: int = eqx.field(static=True, default=2)

    def start(self, problem: EnsembleProblem, W: Matrix) -> tuple[Array, ...]:
        W = join(W)
        # Thin and balanced: W_1 = Σ^ν Vᵀ, W_N = U Σ^ν, Σ^ν between.
        wide = W.shape[0] < W.shape[1]
        U, s, V = lapack(jnp.swapaxes(W, 0, 1) if wide else W)
        U, V = (V, U) if wide else (U, V)
        root = s ** exponent(problem.nu)
        middle = jnp.eye(s.shape[0], dtype=W.dtype)[:, :, None] * root[None]
        first, last = root[:, None] * jnp.swapaxes(V, 0, 1), U * root[None]
        return (first, *[middle] * (self.depth - 2), last)

    def matrix(self, state: tuple[Array, ...]) -> Matrix:
        W = state[0]
        for factor in state[1:]:
            W = product(factor, W)
        return split(W)

    def rate(self, problem: EnsembleProblem, state: tuple[Array, ...]) -> tuple[Array, ...]:
        below = [state[0]]  # W_p ⋯ W_1
        for factor in state[1:]:
            below.append(product(factor, below[-1]))
        rates = []
        # (W_N ⋯ W_{p+1})ᵀ (−G/N), from the last factor to the first
        pulled = -exponent(problem.nu) * join(problem.gradient(split(below[-1])))
        for p in reversed(range(1, len(state))):
            rates.append(product(pulled, jnp.swapaxes(below[p - 1], 0, 1)))
            pulled = product(jnp.swapaxes(state[p], 0, 1), pulled)
        return tuple(reversed([*rates, pulled]))

    def size(
        self, problem: EnsembleProblem, state: tuple[Array, ...], error: tuple[Array, ...]
    ) -> Array:
        squares, sizes = ([dot(x, x) for x in xs] for xs in (error, state))
        # relative, carried over to the product
        return jnp.sqrt(sum(squares) / sum(sizes)) * self.depth / problem.tol


def jump(problem: EnsembleProblem, W: Matrix) -> tuple[Matrix, Float[Array, " L"]]:
    """The limit t → ∞ of the flow near its end, and an estimate of the error (∞: none).

    With the kernel frozen, W∞ = W − A(y) where A(G + H(W∞ − W)) = 0; once with A at W, once with A
    halfway to the first answer. The distance between the two answers bounds the error of the second
    in all that was tried; but it is blind in two ways. At a saddle A hardly sees the directions
    that have still to grow: so what is left of the gradient there must be small by itself. And
    where the observations alone decide, the two answers agree wherever they start: so no jump may
    go beyond a singular matrix, for the flow cannot.
    """

    radius = norm(W)  # no jump is longer

    def newton(jumped: Matrix, _: None) -> tuple[Matrix, tuple[Matrix, Array, Frame]]:
        """The next answer, with A halfway to the last one, and E″ at its end."""
        # One batched decomposition after the other: two at once can lock up jaxlib's threads.
        at = problem.frame(jax.lax.optimization_barrier(axpy(0.5, jumped, W)))
        base = axpy(1.0, jumped, W)
        H = problem.hessian(base)
        b = at.power(axpy(-1.0, problem.gradient(base), H(jumped)), 1)
        one = jnp.ones_like(dot(b, b))
        rtol, most = 0.1 * problem.tol, 5 * problem.cg
        answer, ok = solve(at, H, one, b, shift=0, rtol=rtol, max_steps=most, radius=radius)
        return answer, (answer, ok, at)

    # First answer with A at W, second with A halfway there; their distance is the error.
    nowhere = jax.tree.map(jnp.zeros_like, W)
    second, (answers, solved, frames) = jax.lax.scan(newton, nowhere, None, length=2)
    first, here = jax.tree.map(lambda x: x[0], (answers, frames))
    end, difference = axpy(1.0, second, W), axpy(-1.0, first, second)
    error = norm(difference)
    accuracy = problem.tol
    # Not at a saddle: the gradient that is left must be small by itself, beside E″(W)W.
    curved = problem.hessian(end)(end)
    still = here.seen(problem.gradient(end)) <= accuracy * norm(curved)
    # Not beyond a singular matrix, seen from W, and with the sign of det W (at N < 2 flows do).
    inside = here.least(end) >= -1e-3 * accuracy
    inside &= ~here.full | (
        sign_of_determinant(jax.lax.optimization_barrier(end)) == sign_of_determinant(W)
    )
    inside |= at_zero(problem.nu) > 0.5
    # Not uphill, by more than rounding.
    noise = 100 * jnp.finfo(error.dtype).eps * jnp.abs(dot(curved, end))
    lower = problem.value(end) <= problem.value(W) + noise
    return end, jnp.where(
        jnp.all(solved, 0) & still & inside & lower & jnp.isfinite(error), error, jnp.inf
    )
