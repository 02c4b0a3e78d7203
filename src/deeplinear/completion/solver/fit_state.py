"""Where a running fit stands, and the held-out entries that judge it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InputError
from ...scores import root_mean_square
from ..data.observations import Observations, check_indices
from ..loss import Losses
from .column_noise import column_error, influence
from .problem import FitProblem, State

Validation = tuple[ArrayLike, ArrayLike, ArrayLike]
# A fit that is worse than the best one after this many sweeps is given up.
TRIAL = 3


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

    @property
    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.rows, self.cols, self.values

    def errors(self, problem: FitProblem, state: State) -> np.ndarray:
        """That of each of these entries, as `judged`."""
        out = problem.backend.predict(self.rows, self.cols, state.Z, state.Y, state.mean)
        return judged(problem.losses, out, self.values, self.cols)

    def error(self, problem: FitProblem, state: State) -> float:
        """The error of ``state`` on these entries."""
        return self.size(self.errors(problem, state))

    def size(self, errors: np.ndarray) -> float:
        """The one number that ``errors`` amount to."""
        return held_out_size(errors, self.cols, self.column_noise)

    def standard_error(self, errors: np.ndarray, best: np.ndarray) -> float:
        """That of the size of ``errors`` minus that of ``best``."""
        return standard_error(errors, best, self.cols, self.column_noise)

    def is_clear(self, errors: np.ndarray, others: np.ndarray) -> bool:
        """Whether ``errors`` are smaller than the ``others`` by more than the standard error."""
        return self.size(others) - self.size(errors) > self.standard_error(errors, others)


def judged(
    losses: Losses | None, eta: np.ndarray, values: np.ndarray, cols: np.ndarray
) -> np.ndarray:
    """Prediction − value of held-out entries, or ±√(2ℓ): what fits are judged by.

    Their mean square is then the mean deviance of the entries.
    """
    return eta - values if losses is None else -losses.residuals(values, eta, cols)


def held_out_size(errors: np.ndarray, cols: np.ndarray, column_noise: bool) -> float:
    """The size of held-out ``errors`` in columns ``cols``, by which fits are compared."""
    return column_error(errors, cols) if column_noise else root_mean_square(errors)


def standard_error(
    errors: np.ndarray, others: np.ndarray, cols: np.ndarray, column_noise: bool
) -> float:
    """That of `held_out_size` of ``errors`` minus that of ``others``, errors on the same entries.

    To first order in the differences of the squares, s/2 · √n · std(ω_t (e_t² − o_t²)), s the
    larger of the sizes and ω_t the `influence` of its errors: around the smaller one a large
    difference would seem uncertain. Entries count as independent.
    """
    if not (np.isfinite(errors).all() and np.isfinite(others).all()):
        return 0.0
    pairs = [(held_out_size(e, cols, column_noise), e) for e in (errors, others)]
    size, large = max(pairs, key=lambda pair: pair[0])
    if not 0 < size < math.inf:
        return 0.0
    every = cols if column_noise else np.arange(len(cols))  # alone in a column: the mean square
    squares = (np.square(e, dtype=float) for e in (errors, others))
    rises = influence(large, every) * np.subtract(*squares)
    return 0.5 * size * math.sqrt(len(rises)) * float(rises.std())
