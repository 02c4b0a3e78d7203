"""From the first state of a fit to its result: sweeps, scores, growth, stopping, checkpoints."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...status import Status
from ..penalty import Penalty
from .certificate import certify
from .convex import convex_sweep
from .fit_state import TRIAL, FitState, ValidationSplit
from .growth import add_significant_components, enlarge, grow
from .options import FitOptions
from .problem import FitProblem, Sight, State, look, objective, objective_of, rounding
from .result import LowRankFit, implied_ridge
from .schedule import Stage, schedule
from .start import additive, noise_scale, spectral_initialization
from .sweep import sweep

Callback = Callable[[LowRankFit], bool | None]


def begin(
    problem: FitProblem,
    options: FitOptions,
    start: LowRankFit | None,
    bias_only: State | None = None,
) -> FitState:
    """The first state: that of ``start``, enlarged; the biases alone below depth 2; or spectral.

    ``bias_only`` is `additive` of the problem, if it is known already.
    """
    bias_only = additive(problem) if bias_only is None else bias_only
    tau = noise_scale(problem, bias_only, options.seed)
    if start is not None:
        state = add_significant_components(problem, options, tau, enlarge(start, problem))
    elif options.convex:
        state = bias_only
    else:
        first = schedule(problem, options, tau, warm=False)[0].penalty
        state = spectral_initialization(problem, bias_only, first, options.rank_cap, options.seed)
    return FitState(state, tau)


@dataclass(frozen=True)
class Watch:
    """What looks on while a fit runs: held-out entries, who keeps its state, a callback."""

    validation: ValidationSplit | None = None
    save: Callable[[FitState], None] | None = None
    callback: Callback | None = None
    certified: bool = True  # whether the result gets a certificate


def run(
    problem: FitProblem,
    options: FitOptions,
    at: FitState,
    stages: list[Stage],
    watch: Watch = Watch(),
) -> LowRankFit:
    """Sweep through the ``stages`` from ``at`` to the end.

    An iterate that was stopped early has no certificate.
    """
    status = Status.running
    while status == Status.running:
        stage = stages[at.phase]
        step = sweep if stage.penalty.depth >= 2 else convex_sweep
        value, state = step(problem, stage.penalty, at.state)
        trace = (*at.trace, value)
        at = replace(at, state=state, sweeps=at.sweeps + 1, total=at.total + 1, trace=trace)
        if stage is stages[-1]:
            at, status = _judge(problem, stage, options, watch.validation, at)
        elif at.sweeps >= stage.sweeps or is_stationary(stage, at):
            at = replace(at, phase=at.phase + 1, sweeps=0, trace=())
        # not at the end: a finished fit that is run again makes its last sweep again
        if status == Status.running:
            if watch.save is not None:
                watch.save(at)
            report = watch.callback
            if report is not None and report(_result(problem, options, stage.penalty, at)):
                status = Status.callback
    return finish(problem, options, stages[-1].penalty, at, status, watch.certified)


def rose(problem: FitProblem, at: FitState) -> bool:
    """Whether the sweep before the last raised F by more than rounding.

    By 10⁻⁶, or by what the digits of the values allow.
    """
    if len(at.trace) < 2:
        return False
    last, value = at.trace[-2:]
    eps, blur = float(np.finfo(problem.observations.dtype).eps), rounding(problem)
    return (
        not value - last <= (1e-6 + 30 * eps) * last + 2 * math.sqrt(max(last, 0.0) * blur) + blur
    )


def is_stationary(stage: Stage, at: FitState) -> bool:
    """Whether the sweep before the last gained less than ``tol`` of E + Σ f'(s) s.

    No constant in f changes that size.
    """
    if len(at.trace) < 2:
        return False
    (last, value), s = at.trace[-2:], at.state.s
    return last - value <= stage.tol * (
        value + float((stage.penalty.slope(s) * s - stage.penalty.value(s)).sum())
    )


def improved(problem: FitProblem, stage: Stage, options: FitOptions, state: State) -> State | None:
    """At depth 2 a state of more components and a smaller objective, if there is one.

    Deeper, W does not gain rank on the way.
    """
    if stage.penalty.depth != 2:
        return None
    # what is not exactly stationary exceeds f'(0) a little without anything missing
    slack = max(options.tol, 1e-18) ** 0.5
    larger = grow(problem, stage.penalty, state, options.rank_cap, slack=slack)
    if larger is state:
        return None
    before = objective(problem, stage.penalty, state)
    return larger if objective(problem, stage.penalty, larger) < before else None


def _judge(
    problem: FitProblem,
    stage: Stage,
    options: FitOptions,
    validation: ValidationSplit | None,
    at: FitState,
) -> tuple[FitState, Status]:
    """Score the iterate, and decide whether the fit ends here."""
    if validation is not None:
        score = validation.error(problem, at.state)
        at = replace(at, scores=(*at.scores, score))
        if score < at.best_score * (1 - 1e-5):
            at = replace(at, best=at.state.copy(), best_sweep=at.sweeps, best_score=score)
        hopeless = at.sweeps >= TRIAL and at.best_score > validation.limit
        if hopeless or at.sweeps >= at.best_sweep + options.patience:
            return at, Status.stopped_early
    if rose(problem, at):
        return at, Status.diverged
    if is_stationary(stage, at):
        larger = improved(problem, stage, options, at.state)
        if larger is None:
            return at, Status.converged
        at = replace(at, state=larger)
    return at, Status.max_steps if at.sweeps >= options.max_sweeps else Status.running


def finish(
    problem: FitProblem,
    options: FitOptions,
    penalty: Penalty,
    at: FitState,
    status: Status,
    certified: bool = True,
) -> LowRankFit:
    """The result: the best held-out iterate, or the last one.

    If it is to be ``certified``, with its certificate, or its implied ridge measured.
    """
    early = at.best is not None and at.best_sweep < at.sweeps and options.patience < math.inf
    sight = Sight(problem, at.state) if certified and not early else None
    seen = look(problem, at.state) if sight is None else sight.seen
    trace = (*at.trace, objective_of(problem, penalty, at.state, seen))
    if early and at.best is not None:
        chosen = replace(at, state=at.best, sweeps=at.best_sweep)
        result = _result(problem, options, penalty, chosen)
        result = result.with_implied_ridge(problem) if certified else result
    else:
        ridge = implied_ridge(problem, at.state, seen, options.depth)
        result = _result(problem, options, penalty, at, ridge)
        if certified:
            result = replace(result, certificate=certify(problem, penalty, at.state, sight))
    return replace(result, objective=trace, status=status)


def _result(
    problem: FitProblem,
    options: FitOptions,
    penalty: Penalty,
    at: FitState,
    ridge: np.ndarray | None = None,
) -> LowRankFit:
    return LowRankFit.of(
        problem,
        at.state,
        penalty.slope(at.state.s) if ridge is None else ridge,
        depth=options.depth,
        strength=options.strength,
        decay=penalty.decay,
        floor=penalty.floor,
        tau=at.tau,
        weighted_trace_norm=options.weighted_trace_norm,
        objective=at.trace,
        validation=at.scores,
        sweep=at.sweeps,
        n_sweeps=at.total,
    )
