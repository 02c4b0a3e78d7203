"""A running fit in a checkpoint, and back: only states that a descent comes to are taken up."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...errors import InputError
from ..backends.base import width
from ..file_format import Arrays, Meta, named, take_group
from ..schema import NUMBER, REAL, WHOLE, Field, Schema, check_nothing_left, take
from .balance import gram
from .fit_state import FitState
from .problem import FitProblem, State, bias_penalty, energy, look, objective_of, rounding
from .schedule import Stage
from .start import additive

# Of a state in a file: the rounding of its balance relative to the largest weight, and how much
# above where it came from it may be. Both are generous, since nothing but rounding differs.
_BALANCED, _WORSE = 1e-3, 2.0
# The sides of a state of m rows, n columns, rank r and the width that goes with it.
_SIDES: Schema = {
    "s": Field(REAL, ("r",), least=0),
    "Z": Field(REAL, ("m", "width")),
    "Y": Field(REAL, ("n", "width")),
}
_NUMBERS: Schema = {
    "mean": Field(NUMBER),
    "tau": Field(NUMBER, least=0),
    "phase": Field(WHOLE, least=0),
    "sweeps": Field(WHOLE, least=0),
    "total": Field(WHOLE, least=0),
    "trace": Field(NUMBER, (None,)),
    "scores": Field(NUMBER, (None,)),
    "best_sweep": Field(WHOLE, least=0),
    "best_score": Field(NUMBER, least=0, infinite=True),
}


def dump_state(at: FitState) -> tuple[Meta, Arrays]:
    """(numbers, arrays) for a file."""
    meta: Meta = {name: getattr(at, name) for name in _NUMBERS if name != "mean"}
    arrays = named(_sides(at.state), "state.")
    meta["mean"] = at.state.mean
    if at.best is not None:
        arrays |= named(_sides(at.best), "best.")
        meta["best_mean"] = at.best.mean
    return meta, arrays


def restore_state(
    problem: FitProblem,
    stages: Sequence[Stage],
    meta: Meta,
    arrays: Arrays,
    *,
    judged: bool,
) -> FitState:
    """What `dump_state` gave, taken out of both, of a fit to ``problem`` in these ``stages``.

    ``judged``: held-out entries score its last stage. **Raises** `InputError` for anything
    else, and for a state that no descent comes to.
    """
    own, place = take(_NUMBERS, meta), take_group(arrays, "state.")
    at = FitState(_state(problem, place, own.pop("mean")), **_tuples(own))
    if at.phase >= len(stages):
        raise InputError(f"phase must be one of {len(stages)}, got {at.phase}.")
    scores = at.sweeps if judged and at.phase == len(stages) - 1 else 0
    if not len(at.trace) == at.sweeps <= at.total or len(at.scores) != scores:
        raise InputError("trace and scores must have a number for each of its sweeps.")
    _check_descent(problem, stages[at.phase], at)
    best = take_group(arrays, "best.")
    if bool(best) != (at.best_sweep > 0):
        raise InputError("best_sweep and the best state contradict each other.")
    if best:
        if at.best_sweep > scores or at.scores[at.best_sweep - 1] != at.best_score:
            raise InputError("best_score must be that of best_sweep.")
        mean = take({"best_mean": Field(NUMBER)}, meta)["best_mean"]
        at = replace(at, best=_state(problem, best, mean))
    check_nothing_left(meta, arrays)
    return at


def _sides(state: State) -> Arrays:
    return {name: getattr(state, name) for name in _SIDES}


def _tuples(numbers: Meta) -> Meta:
    return {name: tuple(x) if isinstance(x, list) else x for name, x in numbers.items()}


def _state(problem: FitProblem, sides: Arrays, mean: float) -> State:
    """A balanced iterate from its ``sides``: P̃ᵀP̃ = Q̃ᵀQ̃ = diag(s)."""
    seen = problem.observations
    m, n = seen.shape
    given = sides.get("s", np.zeros(0))
    sizes = {"m": m, "n": n, "r": given.size, "width": width(given.size)}
    own = take(_SIDES, sides, sizes)
    check_nothing_left(sides)
    state, r = State(own["Z"], own["Y"], own["s"], mean), len(own["s"])
    if r > min(m, n) or not state.Z.dtype == state.Y.dtype == seen.dtype:
        raise InputError(f"the state must be {seen.dtype} of rank ≤ {min(m, n)}.")
    padding = state.Z[:, r + 2 :].any() or state.Y[:, r + 2 :].any()
    if (state.Z[:, r + 1] != 1).any() or (state.Y[:, r] != 1).any() or padding:
        raise InputError(f"the sides of the state must be those of rank {r}.")
    size = state.s.max(initial=0.0)
    for side, scale in ((state.Z, problem.row_scale), (state.Y, problem.col_scale)):
        with np.errstate(all="ignore"):
            gap = np.abs(gram(side, scale, r) - np.diag(state.s)).max(initial=0.0)
        if not gap <= _BALANCED * size:
            raise InputError("the sides of the state must be balanced, with the weights s.")
    return state


def _check_descent(problem: FitProblem, stage: Stage, at: FitState) -> None:
    """`InputError` for a state that is worse than the one that it came from.

    That was its last trace, or else it began at the biases alone, whose penalty is 0.
    """
    with np.errstate(all="ignore"):
        seen = look(problem, at.state)
        if at.trace:
            value, bound = objective_of(problem, stage.penalty, at.state, seen), at.trace[-1]
        else:
            first = additive(problem)
            value = seen.energy + bias_penalty(problem, at.state)
            bound = energy(problem, first) + bias_penalty(problem, first)
    if not value <= _WORSE * (bound + rounding(problem)):
        raise InputError(f"the state has the objective {value:g}, where {bound:g} is the most.")
