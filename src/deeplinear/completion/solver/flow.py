"""The flow of the network itself: no weight decay, a small start, early stopping (`flow_field`)."""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import InputError
from ...status import Status
from ..backends.open import Device, open_backend
from ..data.observations import Observations
from ..penalty import Penalty
from ..schema import REAL, Field, check_arrays
from .descent import Callback
from .fit import held_out_entries, make_problem, update
from .fit_state import Validation, ValidationSplit
from .flow_course import Course
from .flow_field import FlowField, Point
from .options import FitOptions
from .problem import (
    FitProblem,
    State,
    energy,
    residual_matmul,
    rounding,
)
from .result import LowRankFit
from .start import additive, leading

# The singular values of the start lie within this factor of each other.
SPREAD = math.e
# Less than this part of the energy of the biases alone is nothing.
NO_ENERGY = 1e-5
MAX_STEPS = 5000
# Steps on which the held-out error rose, after E has halved, that end a flow.
PATIENCE = 4
# The held-out error has turned if meanwhile the energy fell to this part, for at a saddle, before
# the next singular value is learned, both stand still; or else after this many times more steps (at
# depth ∞, where saddles take longest), for the energy may have no further to fall.
_TURN = 0.5
# Or, if it is worse than the best by more than so many standard errors of the difference, to this.
_CLEAR = (3.0, 0.9), (5.0, 0.95)
_REST, _REST_INFINITE = 60, 190
# At rest: over the second half of the time the energy fell by less, and no singular value grew by
# more, than these parts (one that would leave a saddle within ten times the time so far has grown
# by more); not before this many steps, for at first all is slow.
_FALLEN, _GROWN, _FIRST = 1e-3, 0.05, 40
# The weight decay that an end at E = 0 is taken for: this many times that of a fit shrunk by 1.
_LEAST_DECAY = 1e-6


Start = tuple[np.ndarray, np.ndarray, np.ndarray]  # (U, s, V)


@dataclass(frozen=True)
class FlowLaw:
    """How a flow starts, steps and ends.

    - ``start_scale``: the singular values of the start, relative to the largest of the residual.
    - ``stop``: it ends at this part of E(W = 0); ``t1``: or at this time; ``max_steps``: or after
      this number of steps that were tried.
    - ``rtol``: the error per step relative to ‖W‖.
    - ``start`` = (U, s, V) replaces the random start.
    """

    start_scale: float = 1e-3
    stop: float = NO_ENERGY
    t1: float = math.inf
    rtol: float = 1e-2
    max_steps: int = MAX_STEPS
    start: Start | None = None

    def __post_init__(self) -> None:
        for name in ("start_scale", "rtol", "t1", "stop"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be positive, got {getattr(self, name)!r}.")


def low_rank_flow(
    observations: Observations,
    *,
    law: FlowLaw = FlowLaw(),
    validation: Validation | None = None,
    threads: int | None = None,
    device: Device = "cpu",
    callback: Callback | None = None,
    **options: Any,
) -> LowRankFit:
    """Train the network: Ẇ = −A_{N,W}(E′(W)) from a small start of rank ``max_rank``.

    It moves on the residual of the biases alone. ``options`` are depth, max_rank, bias_ridge,
    patience (default 4) and seed of `FitOptions`; ``law`` says how it starts and ends.

    E = ½ Σ w_ij (W_ij + μ + a_i + b_j − x_ij)² with μ, a, b fixed at the additive fit. The start
    has random frames and singular values of about ``start_scale`` times the largest of the residual
    R over the density (or is ``start`` = (U, s, V)). It ends at E ≤ ``stop`` · E(W = 0), at time
    ``t1``, at rest (a minimum of E at this rank), after ``max_steps`` that were tried, or, with
    ``validation``, after ``patience`` steps on which the held-out error rose since E has halved
    (where it is worse than the best by more than three or five standard errors, since E has fallen
    by a tenth or a twentieth), or after 60 (depth ∞: 190) times as many. Then the best of all
    iterates up to there is returned: what would have come later is not seen, and at great depth the
    saddles between singular values may outlast that: give more ``patience``, or a larger start.
    ``max_rank``: at most min(m, n), by default 50 or that. ``callback`` gets the iterate after
    every step but the last, and ends the flow by returning True.

    The result's ``objective`` and ``validation`` begin at the start, before the first step. Its
    ``strength`` is ``stop``, or with ``validation`` the part E/E(W = 0) that was best; ``decay`` is
    the weight decay that the stop amounts to along W, ⟨R, W⟩ = λ Σ σ^{2/N}: it is what `fold_in`
    and deviations need; ``floor`` is the smallest singular value of the start.

    At depth ∞ rank-deficient W would have frozen column and row spaces; there the singular values
    that are not stored form a bulk of the size ε of the smallest one at the start, seen by the
    edges alone, λ_∞(s, ε) (this agrees with the full flow to a few percent at ε = 1e−3 σ_1, and
    better below).

    **Normalization**: [CMV], with the factor 1/N. ``rtol`` is the error per step relative to ‖W‖.
    Singular values below 1e−13 of the largest are lost to rounding; `deeplinear.gradient_flow`
    follows them, on small matrices.

    **Raises** `InputError` for arguments out of range.

    **Source**: Arora, Cohen, Hu, Luo 2019 (1905.13655) for the experiment; Cohen, Menon, Veraszto
    2023 for the flow at depth ∞.

    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 20))
    >>> rows, cols = np.nonzero(rng.random(truth.shape) < 0.7)
    >>> seen = Observations.from_triples(rows, cols, truth[rows, cols], truth.shape)
    >>> result = low_rank_flow(seen, depth=3, max_rank=5, bias_ridge=None)
    >>> result.converged, bool(abs(result.predict(rows, cols) - truth[rows, cols]).max() < 0.1)
    (True, True)
    """
    given = {"patience": PATIENCE} | options
    fixed = {
        "strength": 0.0,
        "decay": 0.0,
        "smoothing": 0.0,
        "weighted_trace_norm": 0.0,
        "steps": 1,
    }
    record = FitOptions(**given | fixed | {"tol": 0.0, "max_sweeps": law.max_steps})
    record = record.for_data(observations, flow=True)
    if record.losses is not None:
        raise InputError("losses must be None for a flow, that of squared errors: leave them out.")
    with open_backend(observations, threads, device) as backend:
        problem = make_problem(observations, record, backend)
        held_out = held_out_entries(validation, observations, record)
        bias_only = additive(problem)
        U, s, V = _given(law.start, observations) or _small(
            problem, record, bias_only, law.start_scale
        )
        field = FlowField(problem, record.depth, bias_only, float(s[-1]))
        try:
            return _Run(field, record, held_out, law, callback).integrate(U, s, V)
        finally:
            field.close()


def fold_in_new_lines(
    observations: Observations,
    fit: LowRankFit,
    rows: Any,
    cols: Any,
    *,
    threads: int | None = None,
    device: Device = "cpu",
) -> LowRankFit:
    """``fit``, the end of a flow, with the new lines at (``rows``, ``cols``) folded in.

    New are those that have no other entries than these.
    Everything else stays where the flow was stopped: solving other lines, too, would go on to where
    it was not to go.
    """
    lines = []
    for side, new in ((observations.by_row, rows), (observations.by_col, cols)):
        touched, count = np.unique(np.asarray(new), return_counts=True)
        lines.append(touched[side.counts[touched] <= count])
    where: dict[str, Any] = {"threads": threads, "device": device}
    found = update(observations, fit, *lines, rounds=10, decay=fit.decay, smoothing=0.0, **where)
    ridge = Penalty(fit.depth, fit.decay, fit.floor).slope(found.spectrum)
    own: dict[str, Any] = {
        "decay": fit.decay,
        "floor": fit.floor,
        "status": fit.status,
        "ridge": ridge,
    }
    return replace(found, tau=math.nan, **own)


def _given(start: Start | None, observations: Observations) -> Start | None:
    """``start``, if it is one."""
    if start is None:
        return None
    m, n = observations.shape
    fields = {"U": Field(REAL, ("m", "r")), "s": Field(REAL, ("r",)), "V": Field(REAL, ("n", "r"))}
    try:
        check_arrays(fields, dict(zip(fields, start, strict=True)), {"m": m, "n": n})
        if not (start[1] > 0).all():
            raise InputError("s must be positive.")
    except ValueError as error:
        raise InputError(f"start must be (U, s, V) for {m} × {n} entries: {error}") from None
    return start


def _small(
    problem: FitProblem, options: FitOptions, bias_only: State, start_scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random frames, with small singular values.

    They are ``start_scale`` times what the residual asks for (or next to nothing, if it asks
    for nothing).
    """
    rng, rank = np.random.default_rng(options.seed), options.rank_cap
    U, V = (np.linalg.qr(rng.normal(size=(side, rank)))[0] for side in problem.observations.shape)
    if energy(problem, bias_only) > rounding(problem):
        size = float(leading(problem, bias_only, 1, seed=options.seed)[1][0]) / problem.density
    else:
        values = problem.observations.by_row.values
        size = float(np.finfo(values.dtype).eps) * float(np.abs(values).max())
    return U, start_scale * (size or 1e-30) * SPREAD ** -np.linspace(0, 1, rank), V


@dataclass
class _Run:
    """One flow on its way: where it was, the energies, and the held-out errors."""

    flow: FlowField
    options: FitOptions
    held_out: ValidationSplit | None
    law: FlowLaw
    callback: Callback | None
    trace: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    spectra: list[np.ndarray] = field(default_factory=list)
    best_errors: np.ndarray = field(default_factory=lambda: np.zeros(0))
    best_energy: float = math.inf
    turn: float = _TURN

    def integrate(self, U: np.ndarray, s: np.ndarray, V: np.ndarray) -> LowRankFit:
        flow, law = self.flow, self.law
        nothing = rounding(flow.problem)
        target = max(law.stop * flow.empty, nothing)
        X = np.vstack([U, V]) * np.sqrt(s)
        at = Point(X, s, flow.rows, 0.0, flow.energy(X))
        self._note(at, lambda *places: flow.at(X, *places))
        if flow.empty <= nothing or at.energy <= target:
            return self._result(at, Status.converged)
        best, best_try, turned, status = at, 0, 0, Status.running
        course = Course(flow, law.rtol, at, law.t1, target)
        for tried in range(1, law.max_steps + 1):
            step = course.attempt()
            value = course.energy(step)
            if not value <= at.energy:
                if not course.shorten(step):  # if not a NaN, E is at its minimum up to rounding
                    status = Status.converged if step.error < 1 else Status.diverged
                    break
                continue
            course.take(step, value)
            at = course.at
            self._note(at, course.predict)
            if self.held_out is not None and self.scores[-1] == min(self.scores):
                best, best_try, turned = at, tried, 0
            fallen = at.energy <= self.turn * best.energy
            turned += fallen and self.scores[-1:] >= self.scores[-2:-1]
            if at.energy <= target or at.t >= law.t1 or (course.whole and self._at_rest()):
                status = Status.converged
            elif self._past_best(turned, tried - best_try):
                status = Status.stopped_early
            elif self.callback is not None and self.callback(self._result(at, status)):
                status = Status.callback
            if status != Status.running:
                break
        if status == Status.running:  # out of steps, perhaps long after the best
            late = self.held_out is not None and tried - best_try >= _REST * self.options.patience
            status = Status.stopped_early if late else Status.max_steps
        return self._result(at if self.held_out is None else best, status)

    def _past_best(self, turned: int, since: int) -> bool:
        """Whether the held-out error has turned: for long, or while E fell by half."""
        if self.held_out is None:
            return False
        rest = _REST_INFINITE if math.isinf(self.flow.depth) else _REST
        return turned >= self.options.patience or since >= rest * self.options.patience

    def _note(self, at: Point, predict: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.trace.append(at.energy)
        self.times.append(at.t)
        self.spectra.append(at.s)
        if self.held_out is not None:
            rows, cols, values = self.held_out.triples
            errors = predict(rows, cols) - (values - self.flow.biases(rows, cols))
            score = self.held_out.size(errors)
            if not self.scores or score <= min(self.scores):
                self.best_errors, self.best_energy = errors, at.energy
            self.scores.append(score)
            self.turn = _TURN
            if at.energy <= _CLEAR[-1][1] * self.best_energy:
                gap = self.held_out.standard_error(errors, self.best_errors)
                worse = score - min(self.scores)
                self.turn = max([_TURN, *(part for times, part in _CLEAR if worse > times * gap)])

    def _at_rest(self) -> bool:
        if len(self.times) <= _FIRST:
            return False
        half = bisect.bisect_right(self.times, self.times[-1] / 2) - 1
        if self.trace[half] - self.trace[-1] >= _FALLEN * self.trace[half]:
            return False
        return bool((self.spectra[-1] <= (1 + _GROWN) * self.spectra[half]).all())

    def _result(self, at: Point, status: Status) -> LowRankFit:
        flow, depth = self.flow, self.options.depth
        held = self.held_out is not None and flow.empty > 0
        X, _, s, _ = flow.settled(at.X, np.zeros_like(at.X))
        at = replace(at, X=X, s=s)
        decay = _implied_decay(flow, at)
        return LowRankFit.of(
            flow.problem,
            flow.state(at.X, at.s),
            Penalty(depth, decay, flow.least).slope(at.s),
            depth=depth,
            strength=at.energy / flow.empty if held else self.law.stop,
            decay=decay,
            floor=flow.least,
            tau=math.nan,
            weighted_trace_norm=0.0,
            objective=tuple(self.trace),
            validation=tuple(self.scores),
            sweep=self.times.index(at.t),
            n_sweeps=len(self.trace) - 1,
            status=status,
        )


def _implied_decay(flow: FlowField, at: Point) -> float:
    """λ with ⟨R, W⟩ = λ Σ σ^{2/N}: the decay under which W is stationary as to its length."""
    RV = residual_matmul(flow.problem, flow.state(at.X, at.s), at.V).astype(float)
    pull = float(np.sum(at.U * RV * at.s))
    least = _LEAST_DECAY * flow.problem.density * float(at.s @ at.s)
    return max(pull, least) / float(np.sum(at.s ** (2 / flow.depth)))
