"""The way of a flow, step by step; small singular values take longer steps than large ones.

From depth 2 on small singular values move slowly: at depth ∞ by σ̇ ~ σ². While large ones, a few,
relax or one more grows, the many small ones (columns of the factors below `SMALL` of the largest)
stand still, for as long as they hardly would move. The large ones then are a flow of their own, of
low rank, on entries from which the small ones have been taken, with the frames of the small ones
beside it for the kernel λ(σ_i, σ_j) across. Then the small ones make up for it in one step of
Heun's method, from where their own law σ̇ ∝ σ^{2−2/N} takes them. They stand still where that is
cheaper than to move with the others. What this neglects is of the size of `SMALL` times the angle
by which the large frames turn meanwhile, and goes to 0 with ``rtol``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..backends.dense import Dense
from .flow_field import NEARLY, UNEVEN, FlowField, Point
from .flow_steps import Step, Stepper, between
from .problem import rounding

# Per rtol, at most so much: columns are small below this part of the largest. In sqrt(rtol), by
# what part of themselves they may move before they take their step, and per rtol its error.
SMALL, _MOVE, _ERROR = (5.0, 0.05), 1.5, 3.0
# They may move by so many times as much at most if the error allows, and √σ grow by this factor.
_FURTHEST, _GROWTH = 3, 2.0
# They stand still where that costs less, if there are so many. What it costs, in velocities of the
# whole: to let them follow; and for the large ones, a velocity of k of r columns (k + w)/(r + w),
# where w is the second number, and the third over the number of entries.
_FEWEST, _FOLLOW, _WIDTH, _CALLS = 4, 3.0, 8, 60_000
# A flow ends no further below the energy where it is to stop than this part of it.
_BEYOND = 0.97
# Where there are more large columns than this, most of which became small, they are chosen anew.
_MANY = 12
# The cosine of the largest angle by which the large frames turn before the small ones follow.
_TURN = 0.9


class LargeField(FlowField):
    """The field of the large columns of X, while the small ones from number k on stand still."""

    def __init__(self, whole: FlowField, X: np.ndarray, s: np.ndarray, k: int) -> None:
        self.depth, self.bias_only, self.least = whole.depth, whole.bias_only, whole.least
        self.bulk, self.rows, self.empty = whole.bulk, whole.rows, whole.empty
        self.entries, self.curvature = whole.entries, whole.curvature
        self.problem, self.by_col = whole.problem, whole.by_col
        small = X[:, k:]
        self.seen = self.less(whole.seen, self._at(small[: self.rows], small[self.rows :]))
        self.log_rest = np.append(np.log(s[k:]), whole.log_rest)
        frames = small / np.sqrt(s[k:])
        self._frames = frames[: self.rows], frames[self.rows :]

    def _at(self, P: np.ndarray, Q: np.ndarray) -> np.ndarray:
        """What the small columns predict for each entry, row by row."""
        rows, cols = self.entries[0][:2]
        backend, dtype = self.problem.backend, self.problem.observations.dtype
        if isinstance(backend, Dense):
            return (P @ Q.T)[rows, cols]
        Z, Y = (np.ascontiguousarray(side, dtype) for side in (P, Q))
        return backend.predict(rows, cols, Z, Y, 0.0)

    def _beside(
        self, out: np.ndarray, pulls: np.ndarray, across: np.ndarray, T: np.ndarray
    ) -> None:
        """λ(σ_i, σ_k) instead of λ(σ_k, 0) along the frames of the small columns i."""
        for part, frame in zip(
            (slice(self.rows), slice(self.rows, None)), self._frames, strict=True
        ):
            out[part] += frame @ ((across * (frame.T @ pulls[part] @ T)) @ T.T)


@dataclass(frozen=True)
class _Still:
    """The small columns X while they stand still, from ``begin`` to ``end``; their velocity.

    ``frames`` are those of the large ones, (U, V), at the beginning.
    """

    field: LargeField
    frames: np.ndarray
    X: np.ndarray
    s: np.ndarray
    slope: np.ndarray
    begin: float
    end: float


def _carried(X: np.ndarray, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """X, orthogonal to the frame ``old``, turned as the space of ``old`` is to that of ``new``.

    By the least rotation, 1 − (A + B)(1 + AᵀB)⁻¹(A + B)ᵀ + 2BAᵀ, A = ``old``, B = ``new`` in the
    gauge where AᵀB is symmetric.
    """
    left, cosines, right = np.linalg.svd(old.T @ new)
    new, old = new @ right.T, old @ left  # where AᵀB = diag(cosines)
    return X - ((old + new) / (1 + cosines)) @ (new.T @ X)


def _grown(
    X: np.ndarray, slope: np.ndarray, length: float, depth: float
) -> tuple[np.ndarray, np.ndarray]:
    """Columns X after the time ``length``, and their velocity then, if nothing else moves.

    A column of size √σ grows by its own law, σ̇ ∝ σ^{2−2/N}, as long as the pull on it stays; N > 2.
    """
    rate = (X * slope).sum(axis=0) / (X**2).sum(axis=0)  # of √σ
    power = 2 - 4 / depth
    left = np.maximum(1 - power * rate * length, _GROWTH**-power)  # (√σ)^{−power}, relative
    growth = left ** (-1 / power)
    turned = X + length * (slope - rate * X)
    return growth * turned, growth * (rate / left * turned + slope - rate * X)


class Course:
    """Where a flow is (``at``), and its next step, up to the time ``t1`` or energy ``target``."""

    def __init__(
        self, field: FlowField, rtol: float, start: Point, t1: float, target: float
    ) -> None:
        self.field, self.rtol, self.at, self.t1, self.target = field, rtol, start, t1, target
        self.slope = field.velocity(start.X)
        size = max(field.size(start.X, self.slope), 1e-300)
        self._stepper = Stepper(field.depth, rtol, 0.1 * float(np.linalg.norm(start.s)) / size)
        self._still: _Still | None = None
        self._predicted: tuple[_Still | None, np.ndarray] = None, np.zeros(0)
        self._move = _MOVE * math.sqrt(rtol)
        self._rounding = rounding(field.problem)

    @property
    def _now(self) -> FlowField:
        return self.field if self._still is None else self._still.field

    @property
    def whole(self) -> bool:
        """Whether no column is standing still."""
        return self._still is None

    def predict(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """W at these places, always the same ones."""
        k = self.slope.shape[1]
        if k == self.at.X.shape[1]:
            return self.field.at(self.at.X, rows, cols)
        if self._still is not self._predicted[0]:
            self._predicted = self._still, self.field.at(self.at.X[:, k:], rows, cols)
        return self._predicted[1] + self.field.at(self.at.X[:, :k], rows, cols)

    def attempt(self) -> Step:
        """A step from here, not taken yet."""
        end = self.t1 if self._still is None else self._still.end
        k = self.slope.shape[1]
        large = replace(self.at, X=self.at.X[:, :k], s=self.at.s[:k])
        with np.errstate(over="ignore", invalid="ignore"):  # the error of the step says it
            plan = self._stepper.plan(self._now, large, end - self.at.t, self.slope)
            return self._stepper.step(self._now, large, plan, self.slope)

    def energy(self, step: Step) -> float:
        """E after it; no higher than here if it rose by no more than rounding."""
        return self._unless_risen(step.energy) if step.error < 1 else math.inf

    def _unless_risen(self, energy: float) -> float:
        """``energy``, or that here if it is the same up to the rounding of the entries."""
        here = self.at.energy
        return here if here < energy <= here + math.sqrt(here * self._rounding) else energy

    def shorten(self, step: Step) -> bool:
        """Try a shorter one next, after one that failed or raised E; whether there is any."""
        if step.error < 1:
            self._stepper.limit(step.h / 2)
        return self._stepper.h > 0 and self.at.t + self._stepper.h > self.at.t

    def take(self, step: Step, energy: float) -> None:
        """Go there, or only as far as E is about the target."""
        if self._is_beyond(energy):
            self._stop(step)
            return
        t = self.at.t + step.h
        X, slope, s, uneven = self._now.settled(step.X, step.slope)
        still = self._still
        if still is None:
            self.at = replace(self.at, X=X, s=s, t=t, energy=energy)
            self.slope = slope if uneven <= NEARLY else self.field.velocity(X)
            self._rest()
            return
        self.slope = slope if uneven <= NEARLY else still.field.velocity(X)
        X, s = np.hstack([X, still.X]), np.concatenate([s, still.s])
        self.at = replace(self.at, X=X, s=s, t=t, energy=energy)
        if t >= still.end * (1 - 1e-12) or self._turned(still) or self._fewer():
            self._move_small(still)

    def _is_beyond(self, energy: float) -> bool:
        return self._rounding < energy < _BEYOND * self.target

    def _stop(self, step: Step) -> None:
        """Go as far as E is about the target: not as far as the step."""
        k, now = self.slope.shape[1], self._now
        X, part, energy = self._until(
            lambda part: between(self.at.X[:, :k], self.slope, step, part), now.energy
        )
        X = np.hstack([X, self.at.X[:, k:]])
        self.at = replace(self.at, X=X, t=self.at.t + part * step.h, energy=energy)

    def _until(
        self, way: Callable[[float], np.ndarray], energy_of: Callable[[np.ndarray], float]
    ) -> tuple[np.ndarray, float, float]:
        """(X, part, E) at the part of the ``way`` where E is about the target."""
        low, high = 0.0, 1.0
        while True:
            part = (low + high) / 2
            X = way(part)
            energy = energy_of(X)
            if _BEYOND * self.target <= energy <= self.target or high - low < 1e-6:
                return X, part, energy
            low, high = (part, high) if energy > self.target else (low, part)

    def _rest(self) -> None:
        """Let small columns stand still, if that saves steps."""
        s, depth, k = self.at.s, self.field.depth, self._large()
        if depth <= 2 or 3 * k > len(s) or len(s) - k < _FEWEST or self.at.t >= self.t1:
            return
        slope = self._own(self.slope[:, k:], self.at.X[:, :k], s[:k])
        rate = float(np.sqrt((slope**2).sum(axis=0) / s[k:]).max())
        length = min(self._move / max(rate, 1e-300), self.t1 - self.at.t)
        plan = self._stepper.plan(self.field, self.at, self.t1 - self.at.t, self.slope)
        part = length / plan.h
        width = _WIDTH + _CALLS / self.field.problem.observations.nnz
        share = (k + width) / (len(s) + width)
        if _FOLLOW + share * plan.cost(min(part, 1)) * max(part, 1) > plan.cost(1) * part:
            return
        field = LargeField(self.field, self.at.X, s, k)
        self._still = _Still(
            field,
            self.at.X[:, :k] / np.sqrt(s[:k]),
            self.at.X[:, k:],
            s[k:],
            slope,
            self.at.t,
            self.at.t + length,
        )
        self.slope = field.velocity(self.at.X[:, :k])

    def _fewer(self) -> bool:
        """Whether so few of the large columns are large any more that it pays to choose anew."""
        k = self.slope.shape[1]
        return k > _MANY and 4 * self._large() <= k

    def _large(self) -> int:
        """How many columns are large."""
        s = self.at.s
        return int(np.sum(s > min(SMALL[0] * self.rtol, SMALL[1]) * s[0]))

    def _turned(self, still: _Still) -> bool:
        """Whether the large frames have turned too far from those of the small ones."""
        k, m = still.frames.shape[1], self.field.rows
        now = self.at.X[:, :k] / np.sqrt(self.at.s[:k])
        for part in (slice(m), slice(m, None)):
            cosines = still.frames[part].T @ now[part]
            away = float(np.linalg.norm(cosines.T @ cosines - np.eye(k)))  # Σ (cos² − 1)², root
            if away > 1 - _TURN**2 and float(np.linalg.norm(cosines, -2)) < _TURN:
                return True
        return False

    def _own(self, slope: np.ndarray, large: np.ndarray, s: np.ndarray) -> np.ndarray:
        """The velocity of small columns without their turning along with the large ones."""
        m = self.field.rows
        return np.vstack(
            [
                own - frame @ ((frame.T @ own) / s[:, None])
                for own, frame in ((slope[:m], large[:m]), (slope[m:], large[m:]))
            ]
        )

    def _move_small(self, still: _Still) -> None:
        """The step of the small columns over the time that they stood still."""
        still.field.close()
        self._still, length = None, self.at.t - still.begin
        k, m = self.slope.shape[1], self.field.rows
        small = np.hstack([still.X, still.slope])  # frames of W turn together
        frames = self.at.X[:, :k] / np.sqrt(self.at.s[:k])
        small = np.vstack(
            [
                _carried(small[part], still.frames[part], frames[part])
                for part in (slice(m), slice(m, None))
            ]
        )
        large, small, slope = self.at.X[:, :k], *np.hsplit(small, 2)

        def grown(part: float) -> np.ndarray:
            return np.hstack([large, _grown(small, slope, part * length, self.field.depth)[0]])

        X, slope = grown(1.0), _grown(small, slope, length, self.field.depth)[1]
        before = np.hstack([self.slope, slope])
        X, before, s, uneven = self.field.settled(X, before)
        self.slope = self.field.velocity(X, s if uneven <= NEARLY else None)
        k = min(k, len(s))
        kick = self.slope[:, :k] - before[:, :k]
        after = self._own(self.slope[:, k:], X[:, :k], s[:k])
        change = length / 2 * (after - before[:, k:]) * (uneven <= UNEVEN)
        X[:, k:] += change
        error = float(np.sqrt((change**2).sum(axis=0) / s[k:]).max(initial=0))
        allowed = _ERROR * self.rtol
        self._move *= min(max(0.9 * math.sqrt(allowed / max(error, 1e-300)), 0.5), 1.5)
        self._move = min(self._move, _FURTHEST * _MOVE * math.sqrt(self.rtol))
        energy = self._unless_risen(self.field.energy(X))
        if self._is_beyond(energy):
            X, _, energy = self._until(grown, self.field.energy)
            X, _, s, _ = self.field.settled(X, X)
            self.slope = self.field.velocity(X)
        if not energy <= self.at.energy:  # they stay where they were
            X = self.at.X
            X, _, s, _ = self.field.settled(X, X)
            self.slope, energy = self.field.velocity(X), self.at.energy
            self._move /= 2
        self.at = replace(self.at, X=X, s=s, energy=energy)
        self._stepper.damp(self.field, self.at, kick)
        self._rest()
