"""What became of the fits among which held-out entries choose."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..file_format import Meta
from ..schema import NUMBER, WHOLE, Field, Schema, check_arrays, check_nothing_left, take
from .result import LowRankFit


@dataclass(frozen=True)
class Trial:
    """One fit of a path: what was asked for, the held-out error, rank and sweeps there.

    ``standard_error`` is that of the difference of its held-out error from the best that its depth
    had before (0 for the first): a difference within it is a tie. ``max_rank`` is the cap that the
    rank had.
    """

    depth: float
    strength: float
    validation_rmse: float
    rank: int
    sweeps: int
    standard_error: float = 0.0
    max_rank: int = 0

    @classmethod
    def of(
        cls, fit: LowRankFit, standard_error: float = 0.0, max_rank: int | None = None
    ) -> "Trial":
        cap = fit.rank if max_rank is None else max_rank
        error = held_out_error(fit)
        return cls(fit.depth, fit.strength, error, fit.rank, fit.sweep, standard_error, cap)

    def is_of(self, fit: LowRankFit) -> bool:
        """Whether this is what became of ``fit``."""
        return repr(self) == repr(Trial.of(fit, self.standard_error, self.max_rank))


_TRIALS: Schema = {
    "depth": Field(NUMBER, ("trials",), least=1, infinite=True),
    "strength": Field(NUMBER, ("trials",), least=0),
    "validation_rmse": Field(NUMBER, ("trials",), least=0, infinite=True, nan=True),
    "rank": Field(WHOLE, ("trials",), least=0),
    "sweeps": Field(WHOLE, ("trials",), least=0),
    "standard_error": Field(NUMBER, ("trials",), least=0),
    "max_rank": Field(WHOLE, ("trials",), least=0),
}


def dump_trials(trials: Sequence[Trial]) -> Meta:
    """Trials as columns, for a file. **Raises** `InputError` where `restore_trials` would."""
    columns = {name: [getattr(trial, name) for trial in trials] for name in _TRIALS}
    check_arrays(_TRIALS, columns)
    return columns


def restore_trials(columns: Meta) -> tuple[Trial, ...]:
    """What `dump_trials` gave. **Raises** `InputError` for anything else."""
    found = take(_TRIALS, columns)
    check_nothing_left(columns)
    return tuple(Trial(*row) for row in zip(*found.values(), strict=True))


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The one that was used: of the smallest held-out error, or the biases alone.

    The biases come last, and only where no other betters them clearly.
    """
    if trials[-1].rank == 0:
        return trials[-1]
    return min(trials, key=lambda trial: trial.validation_rmse)


def held_out_error(fit: LowRankFit) -> float:
    """The held-out error of the iterate that ``fit`` is: of the best one, or of the last."""
    return min(fit.validation) if fit.flowed else fit.validation[fit.sweep - 1]


def error_name(loss: str) -> str:
    """What held-out entries judge fits by, as `Trial.validation_rmse` has it."""
    return "RMSE" if loss == "squared" else "root deviance"
