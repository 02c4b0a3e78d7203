"""Where a running fit stands, and the held-out entries that judge it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from ...scores import root_mean_square
from ..backends.base import width
from ..data.observations import Observations, check_indices
from ..file_format import Arrays, Meta, named, take_group
from ..schema import NUMBER, REAL, WHOLE, Field, Schema, check_nothing_left, take
from .balance import gram
from .column_noise import column_error
from .problem import FitProblem, State, bias_penalty, energy, look, objective_of, rounding
from .schedule import Stage
from .start import additive

Validation = tuple[ArrayLike, ArrayLike, ArrayLike]
# A fit that is worse than the best one after this many sweeps is given up.
TRIAL = 3
# Of a state in a file: the rounding of its balance relative to the largest weight, and how much
# above where it came from it may be. Both are generous, since nothing but rounding differs.
_BALANCED, _WORSE = 1e-3, 2.0


@dataclass(frozen=True)
class FitState:
    """A fit on its way: where it is in the schedule, and the best held-out state so far."""

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

    def dump(self) -> tuple[Meta, Arrays]:
        """(numbers, arrays) for a file."""
        meta: Meta = {name: getattr(self, name) for name in _NUMBERS if name != "mean"}
        arrays = named(_sides(self.state), "state.")
        meta["mean"] = self.state.mean
        if self.best is not None:
            arrays |= named(_sides(self.best), "best.")
            meta["best_mean"] = self.best.mean
        return meta, arrays

    @classmethod
    def restore(
        cls,
        problem: FitProblem,
        stages: Sequence[Stage],
        meta: Meta,
        arrays: Arrays,
        *,
        judged: bool,
    ) -> "FitState":
        """What `dump` gave, taken out of both, of a fit to ``problem`` in these ``stages``.

        ``judged``: held-out entries score its last stage. **Raises** `InputError` for anything
        else, and for a state that no descent comes to.
        """
        own, place = take(_NUMBERS, meta), take_group(arrays, "state.")
        at = cls(_state(problem, place, own.pop("mean")), **_tuples(own))
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
    if (state.Z[:, r + 1] != 1).any() or (state.Y[:, r] != 1).any():
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


@dataclass(frozen=True)
class ValidationSplit:
    """Held-out entries.

    A fit whose error is still above ``limit`` after `TRIAL` sweeps is given up. With
    ``column_noise`` the error is the `column_error`, else the root mean square.
    """

    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray
    limit: float = math.inf
    column_noise: bool = False

    @classmethod
    def check(
        cls, validation: Validation, observations: Observations, column_noise: bool
    ) -> "ValidationSplit":
        """From (rows, cols, values), in the type of ``observations``."""
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
        m, n = observations.shape
        return cls(
            check_indices(rows, m, "validation rows"),
            check_indices(cols, n, "validation cols"),
            values.astype(observations.dtype),
            column_noise=column_noise,
        )

    def error(self, problem: FitProblem, state: State) -> float:
        """The error of ``state`` on these entries."""
        out = problem.backend.predict(self.rows, self.cols, state.Z, state.Y, state.mean)
        return held_out_size(out - self.values, self.cols, self.column_noise)


def held_out_size(errors: np.ndarray, cols: np.ndarray, column_noise: bool) -> float:
    """The size of held-out ``errors`` in columns ``cols``, by which fits are compared."""
    return column_error(errors, cols) if column_noise else root_mean_square(errors)
