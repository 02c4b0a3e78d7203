"""One step of the flow in every lane.

Explicit on W or on the factors, linearly implicit where the flow is stiff.

Errors are measured by the metric of infinite depth: relative to each singular value, down to where
the arithmetic resolves it. A norm of W alone would let small singular values cross zero, and with
them the sign of det W, which the flow preserves.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from ...energies import Energy
from .frames import Frame, Matrix, dot, frame, join, lapack, product, sign_of_determinant, split
from .linear import axpy, solve


class EnsembleProblem(eqx.Module):
    """An energy and a depth, with lanes last; ``cg`` caps the steps of a linear solve."""

    energy: Energy
    nu: Array
    tol: Array
    cg: int = eqx.field(static=True)

    def value(self, W: Matrix) -> Float[Array, " L"]:
        return jax.vmap(self.energy, -1)(join(W))

    def gradient(self, W: Matrix) -> Matrix:
        return split(jax.vmap(jax.grad(self.energy), -1, -1)(join(W)))

    def hessian(self, W: Matrix) -> Callable[[Matrix], Matrix]:
        """Z ↦ E″(W) Z."""
        return lambda Z: jax.jvp(self.gradient, (W,), (Z,))[1]

    def frame(self, W: Matrix) -> Frame:
        return frame(W, self.nu)

    def length(self, at: Frame, error: Matrix, resolved: float = 0.0) -> Array:
        """The size of an error in units of the tolerance.

        Singular values below ``resolved`` · σ_1 count as that large.
        """
        # below it is rounding noise
        floor = jnp.maximum(resolved, 100 * jnp.finfo(self.tol.dtype).eps / self.tol)
        return at.length(error, floor) / self.tol


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


def _empty(like: State, stages: int) -> State:
    """Room for the stages of a step, along a new leading axis."""
    return jax.tree.map(lambda x: jnp.zeros((stages, *x.shape), x.dtype), like)


def _put(stages: State, i: ArrayLike, value: State) -> State:
    return jax.tree.map(lambda all, x: all.at[i].set(x), stages, value)


def _sum(weights: Array | np.ndarray, stages: State) -> State:
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
            end = axpy(h, _sum(jnp.asarray(_TSIT5)[i], slopes), state)
            return _put(slopes, i, self.rate(problem, end)), end

        slopes = _put(_empty(rate, 7), 0, rate)
        slopes, end = jax.lax.fori_loop(1, 7, stage, (slopes, state))
        error = axpy(h, _sum(dfx.Tsit5.tableau.b_error, slopes), jax.tree.map(jnp.zeros_like, rate))
        last = jax.tree.map(lambda x: x[-1], slopes)
        return StepTrial(end, last, self.size(problem, end, error))


class ExplicitStepper(AbstractTsit5[Matrix]):
    """Tsitouras' pair on W itself."""

    order: int = 5

    def start(self, problem: EnsembleProblem, W: Matrix) -> Matrix:
        return W

    def matrix(self, state: Matrix) -> Matrix:
        return state

    def rate(self, problem: EnsembleProblem, state: Matrix) -> Matrix:
        return jax.tree.map(jnp.negative, problem.frame(state).power(problem.gradient(state), 1))

    def size(self, problem: EnsembleProblem, state: Matrix, error: Matrix) -> Array:
        return problem.length(problem.frame(state), error)


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
        root = s**problem.nu
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
        pulled = -problem.nu * join(problem.gradient(split(below[-1])))
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


# ROS34PW2 (Rang and Angermann, BIT 45, 2005): order 3 whatever matrix stands for the Jacobian,
# stiffly accurate, embedded order 2. Its Jacobian here is −A_W H, the one part that is stiff: the
# kernel is frozen over a step.
GAMMA = 4.3586652150845900e-01
_ALPHA = np.array(
    [
        [0, 0, 0, 0],
        [0.87173304301691801, 0, 0, 0],
        [0.84457060015369423, -0.11299064236484185, 0, 0],
        [0, 0, 1, 0],
    ]
)
_COUPLING = np.array(
    [
        [GAMMA, 0, 0, 0],
        [-0.87173304301691801, GAMMA, 0, 0],
        [-0.90338057013044082, 0.054180672388095326, GAMMA, 0],
        [0.24212380706095346, -1.2232505839045147, 0.54526025533510214, GAMMA],
    ]
)
_B = np.array([0.24212380706095346, -1.2232505839045147, 1.5452602553351020, 0.43586652150845900])
_B_LOW = np.array([0.37810903145819369, -0.096042292212423178, 0.5, 0.21793326075422950])
# In the unknowns U = Γk no stage multiplies by the Jacobian (Hairer and Wanner, vol. II, IV.7).
_INVERSE = np.linalg.inv(_COUPLING)
_A, _C = _ALPHA @ _INVERSE, np.eye(4) / GAMMA - _INVERSE
_M, _M_ERROR = _B @ _INVERSE, (_B - _B_LOW) @ _INVERSE


# Singular values that implicit steps follow one by one. Of the fractions tried (1, 1e−1, 1e−2,
# 1e−3) this costs the fewest steps for a given error at the end; following all of them doubles the
# steps.
RESOLVED = 1e-3


class ImplicitStepper(AbstractStepper[Matrix]):
    """Linearly implicit steps: four linear solves with one kernel, four evaluations of the flow."""

    order: int = 3

    def start(self, problem: EnsembleProblem, W: Matrix) -> Matrix:
        return W

    def matrix(self, state: Matrix) -> Matrix:
        return state

    def rate(self, problem: EnsembleProblem, state: Matrix) -> tuple[()]:
        return ()

    def step(
        self, problem: EnsembleProblem, state: Matrix, rate: PyTree[Array], h: Array
    ) -> StepTrial[Matrix]:
        at, hessian = problem.frame(state), problem.hessian(state)
        c = h * GAMMA

        def unknown(here: Frame, W: Matrix, coupled: Matrix) -> Matrix:
            b = axpy(-c, here.power(problem.gradient(W), 1), coupled)
            rtol = 1e-2 * problem.tol
            return solve(at, hessian, c, b, shift=1, rtol=rtol, max_steps=problem.cg)[0]

        def stage(i: Array, stages: Matrix) -> Matrix:
            W = axpy(1.0, _sum(jnp.asarray(_A)[i], stages), state)
            coupled = _sum(jnp.asarray(GAMMA * _C)[i], stages)
            return _put(stages, i, unknown(problem.frame(W), W, coupled))

        zero = jax.tree.map(jnp.zeros_like, state)
        stages = _put(_empty(state, 4), 0, unknown(at, state, zero))
        stages = jax.lax.fori_loop(1, 4, stage, stages)
        end, error = axpy(1.0, _sum(_M, stages), state), _sum(_M_ERROR, stages)
        return StepTrial(end, (), problem.length(at, error, RESOLVED))


def jump(problem: EnsembleProblem, W: Matrix) -> tuple[Matrix, Float[Array, " L"]]:
    """The limit t → ∞ of the flow near its end, and an estimate of the error (∞: none).

    With the kernel frozen, W∞ = W − A(y) where A(G + H(W∞ − W)) = 0; once with A at W, once with A
    halfway to the first answer. The distance between the two answers bounds the error of the second
    in all that was tried; but it is blind in two ways. At a saddle A hardly sees the directions
    that have still to grow: so what is left of the gradient there must be small by itself. And
    where the observations alone decide, the two answers agree wherever they start: so no jump may
    go beyond a singular matrix, for the flow cannot.
    """

    def newton(at: Frame, base: Matrix, displacement: Matrix) -> tuple[Matrix, Array]:
        H = problem.hessian(base)
        b = at.power(axpy(-1.0, problem.gradient(base), H(displacement)), 1)
        one = jnp.ones_like(dot(b, b))
        rtol, most = 1e-2 * problem.tol, 5 * problem.cg
        return solve(at, H, one, b, shift=0, rtol=rtol, max_steps=most, radius=radius)

    # First answer with A at W, second with A halfway there; their distance is the error.
    radius = jnp.sqrt(dot(W, W))  # no jump is longer
    here = problem.frame(W)
    first, ok_1 = newton(here, W, jax.tree.map(jnp.zeros_like, W))
    # One batched decomposition after the other: two at once can lock up jaxlib's threads.
    middle = jax.lax.optimization_barrier(axpy(0.5, first, W))
    second, ok_2 = newton(problem.frame(middle), axpy(1.0, first, W), first)
    end, difference = axpy(1.0, second, W), axpy(-1.0, first, second)
    error = jnp.sqrt(dot(difference, difference))
    accuracy = 0.1 * problem.tol
    # Not at a saddle: the gradient that is left must be small by itself, beside E″(W)W.
    curved = problem.hessian(end)(end)
    still = here.seen(problem.gradient(end)) <= accuracy * jnp.sqrt(dot(curved, curved))
    # Not beyond a singular matrix, seen from W, and with the sign of det W.
    inside = here.least(end) >= -1e-3 * accuracy
    inside &= ~here.full | (
        sign_of_determinant(jax.lax.optimization_barrier(end)) == sign_of_determinant(W)
    )
    # Not uphill, by more than rounding.
    noise = 100 * jnp.finfo(error.dtype).eps * jnp.abs(dot(curved, end))
    lower = problem.value(end) <= problem.value(W) + noise
    return end, jnp.where(
        ok_1 & ok_2 & still & inside & lower & jnp.isfinite(error), error, jnp.inf
    )
