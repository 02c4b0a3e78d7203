"""From the first state of a large fit to its result: sweeps, held-out scores, growth, stopping,
checkpoints.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...errors import InputError
from ..backends import loops
from ..data.observations import check_indices
from ..penalty import Penalty
from .certificate import certify, frames, missing
from .checkpoint import Checkpoint
from .result import LowRankFit
from .schedule import Options, Stage, penalty_at, plan
from .start import POWER_STEPS, additive, noise_scale, exact_line_search, spectral
from .sweep import (
    FitProblem,
    State,
    assemble,
    balance,
    cols_pass,
    objective,
    rounding,
    rows_pass,
    stationary_size,
    sweep,
    threshold,
)

# Components that may be added at a time.
GROWTH = 24
# A component stands out of the noise when it is this much above what noise would reach: power
# iteration is 2 % short, and the largest singular value of a small random matrix varies by some 5
# %.
CLEAR = 1.15

Validation = tuple[Any, Any, Any]
Callback = Callable[[LowRankFit], bool | None]


@dataclass(frozen=True)
class Progress:
    """A fit on its way: the current state, where it is in the plan, and the best held-out state so
    far.
    """

    state: State
    tau: float
    phase: int = 0
    sweeps: int = 0  # in this phase
    total: int = 0
    trace: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    best: State | None = None
    best_sweep: int = 0
    best_score: float = math.inf

    def save(self, checkpoint: Checkpoint) -> None:
        arrays = {f"state_{k}": getattr(self.state, k) for k in ("Z", "Y", "s")}
        scalars = {
            k: getattr(self, k)
            for k in (
                "tau",
                "phase",
                "sweeps",
                "total",
                "trace",
                "scores",
                "best_sweep",
                "best_score",
            )
        }
        scalars["mean"] = self.state.mean
        if self.best is not None:
            arrays |= {f"best_{k}": getattr(self.best, k) for k in ("Z", "Y", "s")}
            scalars["best_mean"] = self.best.mean
        checkpoint.save(arrays, scalars)

    @classmethod
    def load(cls, checkpoint: Checkpoint) -> "Progress | None":
        found = checkpoint.load()
        if found is None:
            return None
        arrays, scalars = found
        state = State(arrays["state_Z"], arrays["state_Y"], arrays["state_s"], scalars.pop("mean"))
        best_mean = scalars.pop("best_mean", None)
        best = (
            None
            if best_mean is None
            else State(arrays["best_Z"], arrays["best_Y"], arrays["best_s"], best_mean)
        )
        scalars = {k: tuple(v) if isinstance(v, list) else v for k, v in scalars.items()}
        return cls(state, best=best, **scalars)


@dataclass(frozen=True)
class Held:
    """Held-out entries. A fit whose error is still above ``limit`` after ``trial`` sweeps is given
    up.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    limit: float = math.inf
    trial: int = 3

    @classmethod
    def check(cls, validation: Validation, shape: tuple[int, int], dtype: Any) -> "Held":
        rows, cols, values = (np.asarray(x) for x in validation)
        if not len(rows) == len(cols) == len(values) or not len(values):
            raise InputError(
                f"validation must hold three vectors of one length ≥ 1, got lengths {len(rows)}, "
                f"{len(cols)}, {len(values)}."
            )
        if not np.isfinite(values).all():
            raise InputError(
                "validation must hold finite values, got NaN or infinity: leave these entries out."
            )
        return cls(
            check_indices(rows, shape[0], "validation rows"),
            check_indices(cols, shape[1], "validation cols"),
            values.astype(dtype),
        )

    def rmse(self, state: State) -> float:
        """Root-mean-square error of ``state``."""
        out = np.empty(len(self.rows), state.Z.dtype)
        loops.at(
            0, len(out), self.rows, self.cols, state.Z.dtype.type(state.mean), state.Z, state.Y, out
        )
        return float(np.sqrt(np.mean(np.square(out - self.values, dtype=float))))


def enlarge(start: LowRankFit, problem: FitProblem) -> State:
    """The iterate of ``start`` on a matrix that may have more rows and columns, balanced."""
    (m, n), old = problem.observations.shape, start.shape
    if old[0] > m or old[1] > n:
        raise InputError(f"start must not be larger than the observations {(m, n)}, got {old}.")
    rows, cols = (0, m - old[0]), (0, n - old[1])
    state = assemble(
        np.pad(start.left, (rows, (0, 0))),
        np.pad(start.right, (cols, (0, 0))),
        start.spectrum,
        np.pad(start.row_bias, rows),
        np.pad(start.col_bias, cols),
        start.mean,
        problem.observations.dtype,
    )
    return balance(problem, state)


def begin(problem: FitProblem, options: Options, start: LowRankFit | None) -> Progress:
    bias_only = additive(problem)
    tau = noise_scale(problem, bias_only, options.seed)
    if start is None:
        first = plan(problem, options, tau, warm=False)[0].penalty
        return Progress(spectral(problem, bias_only, first, options.max_rank, options.seed), tau)
    return Progress(add_significant_components(problem, options, tau, enlarge(start, problem)), tau)


def add_significant_components(problem: FitProblem, options: Options, tau: float, state: State) -> State:
    """Add what new entries have brought: triples of R̃_⊥ that the penalty lets live and that stand
    out of the noise.

    The noise is what random signs leave of R̃ now. A weak penalty alone would let all of it in,
    which early stopping or the way down from depth 2 had kept out.
    """
    noise = noise_scale(problem, state, options.seed)
    penalty = penalty_at(problem, options, tau, options.depth)
    return grow(
        problem,
        penalty,
        state,
        options.max_rank,
        slack=0.0,
        steps=2 * POWER_STEPS,
        least=CLEAR * noise,
    )


def update_lines(
    problem: FitProblem, penalty: Penalty, state: State, rows: np.ndarray, cols: np.ndarray
) -> State:
    """A sweep in which only the lines ``rows`` and ``cols`` (codes) move. It never raises F."""
    ridge = penalty.slope(state.s)
    moved = state.copy()
    rows_pass(problem, moved, ridge, problem.steps)
    state.Z[rows] = moved.Z[rows]
    moved = state.copy()
    cols_pass(problem, moved, ridge, problem.steps)
    state.Y[cols] = moved.Y[cols]
    return balance(problem, state)


def grow(
    problem: FitProblem,
    penalty: Penalty,
    state: State,
    max_rank: int,
    *,
    slack: float,
    steps: int = 12,
    least: float = 0.0,
) -> State:
    """Add the triples of R̃_⊥ that can live under ``penalty`` (at depth 2: those above λ) and lie
    above ``least``.

    They begin at the size where they stationary_size alone.
    """
    room = max_rank - state.rank
    if room <= 0:
        return state
    A, g, B = missing(problem, state, block=min(room + 4, GROWTH), steps=steps)
    bar = max(float(threshold(penalty, np.array(problem.density))) * (1 + slack), least)
    new = np.flatnonzero(g > bar)[:room]
    if not len(new):
        return state
    U, V = frames(problem, state)
    s = np.r_[state.s, stationary_size(penalty, g[new], problem.density)]
    P = np.c_[U, A[:, new]] * np.sqrt(s) / problem.row_scale[:, None]
    Q = np.c_[V, B[:, new]] * np.sqrt(s) / problem.col_scale[:, None]
    larger = assemble(P, Q, s, state.row_bias, state.col_bias, state.mean, state.Z.dtype)
    return balance(problem, exact_line_search(problem, state, larger))


def run(
    problem: FitProblem,
    options: Options,
    at: Progress,
    stages: list[Stage],
    *,
    held: Held | None = None,
    file: Checkpoint | None = None,
    callback: Callback | None = None,
    certified: bool = True,
) -> LowRankFit:
    """Sweep through the ``stages`` from ``at`` to the end. An iterate that was stopped early has no
    certificate.
    """
    status = ""
    while not status:
        stage = stages[at.phase]
        value, state = sweep(problem, stage.penalty, at.state)
        at = replace(
            at, state=state, sweeps=at.sweeps + 1, total=at.total + 1, trace=(*at.trace, value)
        )
        if stage is stages[-1]:
            at, status = _judge(problem, stage, options, held, at)
        elif at.sweeps >= stage.sweeps or is_stationary(stage, at):
            at = replace(at, phase=at.phase + 1, sweeps=0, trace=())
        if (
            file and not status
        ):  # not at the end: a finished fit that is run again makes its last sweep again
            at.save(file)
        if (
            callback is not None
            and not status
            and callback(_result(problem, options, stage.penalty, at))
        ):
            status = "callback"
    return finish(problem, options, stages[-1].penalty, at, status, certified)


def rose(problem: FitProblem, at: Progress) -> bool:
    """Whether the sweep before the last raised F by more than rounding: by 10⁻⁶, or by what the
    digits of the values allow.
    """
    if len(at.trace) < 2:
        return False
    last, value = at.trace[-2:]
    eps, blur = float(np.finfo(problem.observations.dtype).eps), rounding(problem)
    return (
        not value - last <= (1e-6 + 30 * eps) * last + 2 * math.sqrt(max(last, 0.0) * blur) + blur
    )


def is_stationary(stage: Stage, at: Progress) -> bool:
    """Whether the sweep before the last gained less than ``tol`` of E + Σ f'(s) s, which no
    constant in f changes.
    """
    if len(at.trace) < 2:
        return False
    (last, value), s = at.trace[-2:], at.state.s
    return last - value <= stage.tol * (
        value + float((stage.penalty.slope(s) * s - stage.penalty.value(s)).sum())
    )


def improved(problem: FitProblem, stage: Stage, options: Options, state: State) -> State | None:
    """At depth 2 a state of more components and a smaller objective, if there is one; deeper, W
    does not gain rank on the way.
    """
    if stage.penalty.depth != 2 or state.rank >= options.max_rank:
        return None
    larger = grow(
        problem, stage.penalty, state, options.max_rank, slack=max(options.tol, 1e-18) ** 0.5
    )
    smaller_is_better = objective(problem, stage.penalty, larger) >= objective(
        problem, stage.penalty, state
    )
    return None if larger is state or smaller_is_better else larger


def _judge(
    problem: FitProblem, stage: Stage, options: Options, held: Held | None, at: Progress
) -> tuple[Progress, str]:
    """Score the iterate, and decide whether the fit ends here ("" if not)."""
    if held is not None:
        score = held.rmse(at.state)
        at = replace(at, scores=(*at.scores, score))
        if score < at.best_score * (1 - 1e-5):
            at = replace(at, best=at.state.copy(), best_sweep=at.sweeps, best_score=score)
        hopeless = at.sweeps >= held.trial and at.best_score > held.limit
        if hopeless or at.sweeps >= at.best_sweep + options.patience:
            return at, "stopped early"
    if rose(problem, at):
        return at, "diverged"
    if is_stationary(stage, at):
        larger = improved(problem, stage, options, at.state)
        if larger is None:
            return at, "converged"
        at = replace(at, state=larger)
    return at, "max_sweeps" if at.sweeps >= options.max_sweeps else ""


def finish(
    problem: FitProblem,
    options: Options,
    penalty: Penalty,
    at: Progress,
    status: str,
    certified: bool = True,
) -> LowRankFit:
    trace = (*at.trace, objective(problem, penalty, at.state))
    early = at.best is not None and at.best_sweep < at.sweeps
    chosen = (
        replace(at, state=at.best, sweeps=at.best_sweep) if early and at.best is not None else at
    )
    found = replace(_result(problem, options, penalty, chosen), objective=trace, status=status)
    return (
        replace(found, certificate=certify(problem, penalty, at.state))
        if certified and not early
        else found
    )


def _result(problem: FitProblem, options: Options, penalty: Penalty, at: Progress) -> LowRankFit:
    return LowRankFit.of(
        problem,
        at.state,
        depth=options.depth,
        strength=options.strength,
        decay=penalty.decay,
        floor=penalty.floor,
        tau=at.tau,
        scaling=options.scaling,
        objective=at.trace,
        validation=at.scores,
        sweep=at.sweeps,
        n_sweeps=at.total,
    )
