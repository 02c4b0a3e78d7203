"""Explicit steps of the flow on factors: of order 5, and stabilized ones where those are too short.

Accuracy sets the length of most steps: singular values grow by many powers of ten, one after the
other. There steps of order 5 (Dormand–Prince) pass the entries less than four times for each power
of e. On plateaus and at the end observed entries of large singular values relax at the rate
ρ ~ λ(σ_1, σ_1) while small ones grow slowly; there the Runge–Kutta–Chebyshev method of order 2
takes over: q stages are stable up to h = .65 q²/ρ. Each step is by the method that goes further for
its velocities.

**Source**: Hairer, Nørsett, Wanner, Solving ODEs I, II.5, as in `scipy.integrate.RK45`; Sommeijer,
Shampine, Verwer, J. Comput. Appl. Math. 88 (1998), for stages and error.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial import Chebyshev
from scipy.integrate import RK45

from .flow_field import FlowField, Point

# The most stages of a step.
MOST_STAGES = 60
# Steps of order 5, of so many velocities, are stable up to this h ρ; from `STIFF` on stabilized
# ones may be cheaper.
STAGES, REACH, STIFF = 6, 3.2, 1.0
# What goes on beside the velocities of a step, in velocities.
BESIDE = 1.5
# By how much log σ may grow in a step at depth 2, and at depth ∞, where it grows faster and faster.
GROWTH = 1.5, 0.6
# A stabilized step errs by no more than this many times what it moved.
STAYS = 2.0
# By how much the method that was not used is taken to go further; and h ρ of a step that damps.
_HOPE, _DAMPED = 1.2, 10
ORDER_5, STABILIZED = "of order 5", "stabilized"


class Step(NamedTuple):
    """A step of size h to X, where the velocity is ``slope`` and the energy ``energy``.

    ``error`` is relative to what it may be (it counts below 1).
    """

    X: np.ndarray
    slope: np.ndarray
    h: float
    error: float
    energy: float


class Plan(NamedTuple):
    """A step of size h by a method that takes so many ``velocities`` for it."""

    method: str
    h: float
    velocities: int

    def gain(self) -> float:
        """Time per cost."""
        return self.h / self.cost(1)

    def cost(self, part: float) -> float:
        """What it costs, in velocities, for a part of the time only."""
        fewer = (
            self.velocities if self.method == ORDER_5 else max(self.velocities * math.sqrt(part), 2)
        )
        return fewer + BESIDE


def _of_order_5(field: FlowField, X: np.ndarray, h: float, first: np.ndarray):
    """(X, the velocity there, E, the error as a quantity of fifth order in h)."""
    slopes = np.empty((7, *X.shape))
    slopes[0] = first
    flat = slopes.reshape(7, -1)
    for j in range(1, 7):
        row = RK45.A[j, :j] if j < 6 else RK45.B
        new = X + h * (row @ flat[:j]).reshape(X.shape)
        slopes[j], energy = field.look(new, energy=j == 6)
    return new, slopes[6], energy, h * (RK45.E @ flat).reshape(X.shape)


def _stabilized(field: FlowField, X: np.ndarray, h: float, first: np.ndarray, count: int):
    """(X, the velocity there, E, the error, of third order in h), of ``count`` stages."""
    before, here, slope = X, X, first
    stages = _stages(count)
    for stage in stages:
        mu, nu, rate, own = stage
        new = (1 - mu - nu) * X + mu * here + nu * before + h * (rate * slope + own * first)
        before, here = here, new
        slope, energy = field.look(here, energy=stage is stages[-1])
    return here, slope, energy, 0.8 * (X - here) + 0.4 * h * (first + slope)


class Stepper:
    """Steps along a flow whose errors, relative to ‖W‖, are to stay below ``rtol``.

    Each step is by the method that goes further for its velocities. How far each of them may go at
    this error its own last step has told; it is taken to be `_HOPE` more after every other one.
    ``h`` is the size of the first step.
    """

    def __init__(self, depth: float, rtol: float, h: float) -> None:
        self.rtol = rtol
        part = max(1 - 2 / depth, 0.0)
        self._most = (1 - part) * GROWTH[0] + part * GROWTH[1]
        self._sizes = {ORDER_5: h, STABILIZED: h}

    @property
    def h(self) -> float:
        """The longest step that there may be next."""
        return max(self._sizes.values())

    def limit(self, h: float) -> None:
        """No step is longer than ``h`` for now."""
        self._sizes = {method: min(size, h) for method, size in self._sizes.items()}

    def damp(self, field: FlowField, at: Point, kick: np.ndarray) -> None:
        """Let the next step be a short one, as W jumped and the velocity by ``kick``.

        Of that, h ‖kick‖ would count as error, until a first step damps it.
        """
        jump = field.size(at.X[:, : kick.shape[1]], kick) / float(np.linalg.norm(at.s)) / self.rtol
        self.limit(max(1 / max(jump, 1e-300), _DAMPED / field.stiffness(at)))

    def plan(self, field: FlowField, at: Point, most: float, first: np.ndarray) -> Plan:
        """The next step from ``at``, where the velocity is ``first``, no longer than ``most``."""
        rate = field.stiffness(at)
        growth = (at.X * first).sum(axis=0) / at.s
        most = min(most, self._most / max(float(growth.max()), 1e-300))
        h = min(self._sizes[ORDER_5], most)
        plain = Plan(ORDER_5, min(h, REACH / rate), STAGES)
        if h * rate < STIFF:
            return plain
        h = min(self._sizes[STABILIZED], most, ((MOST_STAGES - 1) ** 2 - 1) / 1.54 / rate)
        return max(Plan(STABILIZED, h, _stages_for(h * rate)), plain, key=Plan.gain)

    def step(self, field: FlowField, at: Point, plan: Plan, first: np.ndarray) -> Step:
        """The step that was planned."""
        h, stabilized = plan.h, plan.method == STABILIZED
        if stabilized:
            found = _stabilized(field, at.X, h, first, plan.velocities)
        else:
            found = _of_order_5(field, at.X, h, first)
        X, slope, energy, gap = found
        error = field.size(at.X, gap)
        if stabilized:  # what is left of stiff directions would count for h ρ times its size
            error = min(error, STAYS * field.size(at.X, X - at.X))
        error /= float(np.linalg.norm(at.s)) * self.rtol
        factor = 0.9 * max(error, 1e-10) ** (-1 / 3 if stabilized else -1 / 5)
        if error < 1:
            longest = max(3 * h, self._sizes[plan.method])  # for a step that something cut short
            self._sizes = {method: _HOPE * size for method, size in self._sizes.items()}
            self._sizes[plan.method] = min(factor * h, longest)
        else:  # or a NaN
            self._sizes[plan.method] = h * (max(factor, 0.2) if factor > 0 else 0.2)
        return Step(X, slope, h, error, energy)


def between(X: np.ndarray, slope: np.ndarray, step: Step, part: float) -> np.ndarray:
    """X at a ``part`` of a step from X, where the velocity is ``slope``: on the cubic through both
    ends.
    """
    p = part
    new = X + p * p * (3 - 2 * p) * (step.X - X)
    return new + step.h * p * (1 - p) * ((1 - p) * slope - p * step.slope)


def _stages_for(reach: float) -> int:
    """How many stages are stable up to h ρ = ``reach``."""
    return max(1 + math.floor(math.sqrt(1 + 1.54 * reach)), 2)


@functools.cache
def _stages(count: int) -> list[tuple[float, float, float, float]]:
    """(μ_j, ν_j, μ̃_j, γ̃_j) of each stage.

    Stage j is (1 − μ − ν) Y_0 + μ Y_{j−1} + ν Y_{j−2} + h (μ̃ Ẏ_{j−1} + γ̃ Ẏ_0).
    Of the first stage, Y_0 + h γ̃ Ẏ_0, only γ̃ is not zero.
    """
    w0 = 1 + 2 / 13 / count**2
    T = [Chebyshev.basis(j) for j in range(count + 1)]
    values, slopes, curvatures = (
        [float(p(w0)) for p in series]
        for series in (T, [p.deriv() for p in T], [p.deriv(2) for p in T])
    )
    w1 = slopes[-1] / curvatures[-1]
    b = [c / d**2 if d and c else 0.0 for c, d in zip(curvatures, slopes, strict=True)]
    b[0], b[1] = b[2], 1 / w0
    out = [(0.0, 0.0, 0.0, b[1] * w1)]
    for j in range(2, count + 1):
        mu, rate = 2 * b[j] * w0 / b[j - 1], 2 * b[j] * w1 / b[j - 1]
        out.append((mu, -b[j] / b[j - 2], rate, -(1 - b[j - 1] * values[j - 1]) * rate))
    return out
