"""How `DeepMatrixCompletion` learns: checks, the choice on held-out entries, the fit of everything,
draws around it.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..checks import check_depth
from ..errors import InputError, NotConvergedWarning
from .data.entries import Entries, check_size, numbers, pairs
from .data.ids import Ids
from .data.observations import Observations, RepeatedEntriesError
from .linalg import effective_rank
from .model.predictor import MISSING_ENTRIES, Model
from .posterior.conformal import Calibration
from .posterior.gibbs import Sample, draw
from .solver.fit import LowRankFit, fit
from .solver.flow import MAX_STEPS, NO_ENERGY, flow
from .solver.path import STRENGTHS
from .solver.selection import (
    Choice,
    Held,
    Trial,
    choose,
    choose_stop,
    hold_out,
    repeat,
    repeat_flow,
)

MAX_SWEEPS = 100
# Without a cap from the user: few draws of many weak components are noisy, and cost the square of
# their number.
DRAWN_RANK = 20


@dataclass(frozen=True)
class FitProgress:
    """What ``callback`` is told: the stage, the part of it that is done, objective and held-out
    error where known.
    """

    stage: str
    done: float
    objective: float | None
    validation_rmse: float | None


class Training(BaseEstimator):
    """The part of the estimators that turns entries into a `Model`; parameters are those of
    `DeepMatrixCompletion`.
    """

    def _depths(self) -> Sequence[float]:
        return (self.depth,)

    def _strengths(self) -> Sequence[float]:
        return self._all_strengths() if self.strength == "auto" else (self.strength,)

    @property
    def _implicit(self) -> bool:
        return self.regularization == "implicit"

    def _all_strengths(self) -> Sequence[float]:
        return (NO_ENERGY,) if self._implicit else STRENGTHS

    def _check(self) -> None:
        for depth in self._depths():
            check_depth(depth, scalar=True)
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(str(error)) from None
        if len(self.columns) != 3:
            raise InputError(
                f"columns must be three names (row, column, value), got {self.columns!r}."
            )
        if self.features and self.ensemble == 1:
            raise InputError(
                "features needs ensemble > 1, where the factors are drawn: set ensemble to 20, say."
            )
        if isinstance(self.clip, tuple | list):
            low, high = numbers(self.clip, "clip") if len(self.clip) == 2 else (1.0, 0.0)
            if not low < high:
                raise InputError(
                    f'clip must be None, "range" or (low, high) with low < high, got {self.clip!r}.'
                )
        if self.checkpoint is not None and not Path(self.checkpoint).absolute().parent.is_dir():
            raise InputError(
                f"checkpoint: the folder of '{self.checkpoint}' does not exist; make it, or give "
                "another place."
            )
        if self._implicit and self.checkpoint is not None:
            raise InputError(
                'checkpoint needs regularization="explicit", got "implicit": leave the checkpoint out.'
            )
        if self._implicit and not all(0 < strength < 1 for strength in self._strengths()):
            raise InputError(
                "strength must lie between 0 and 1 for the implicit flow, the part of the energy "
                "at which it stops, got "
                f"{', '.join(f'{x:g}' for x in self._strengths())}."
            )
        self._check_choice()

    def _check_choice(self) -> None:
        if self.strength == "auto" and self.validation_fraction == 0:
            raise InputError(
                'validation_fraction must be positive for strength="auto", got 0: give a strength.'
            )

    def _options(self, shape: tuple[int, int]) -> dict[str, Any]:
        options = {
            "max_rank": min(DRAWN_RANK, *shape)
            if self.max_rank is None and self.ensemble > 1
            else self.max_rank,
            "biases": self.biases,
            "threads": self.threads,
            "device": self.device,
            "callback": None if self.callback is None else self._swept,
        }
        if self._implicit:
            return options | {
                "start_scale": self.start_scale,
                "max_steps": self.max_sweeps or MAX_STEPS,
            }
        return options | {
            "scaling": self.scaling,
            "tol": self.tol,
            "max_sweeps": self.max_sweeps or MAX_SWEEPS,
        }

    def _observe(self, entries: Entries, weights: Any) -> Observations:
        if not len(entries):
            raise InputError("X has no observed entry: give it at least one.")
        check_size(entries.values)
        try:
            seen = Observations.from_triples(
                entries.rows,
                entries.cols,
                entries.values,
                entries.shape,
                weights=weights,
                duplicates=self.duplicates,
            )
        except RepeatedEntriesError as error:  # it knows positions, its readers know ids
            row, col = entries.row_ids.label(error.row), entries.col_ids.label(error.col)
            raise RepeatedEntriesError(error.count, row, col, "X", "set") from None
        return seen.rescaled() if seen.by_row.weights.size else seen

    def _learn(self, seen: Observations, ids: tuple[Ids, Ids]) -> None:
        self._owed = 0.0
        self.trials_: tuple[Trial, ...] = ()
        self.validation_score_, calibration = math.nan, Calibration()
        state = check_random_state(self.random_state)
        options = self._options(seen.shape) | {"seed": int(state.randint(2**31))}
        draw_seed = int(state.randint(2**31))
        pick, again = (choose_stop, repeat_flow) if self._implicit else (choose, repeat)
        last = options if self._implicit else options | {"checkpoint": self.checkpoint}
        if self.validation_fraction > 0 and seen.nnz > 1:
            held = hold_out(seen, self.validation_fraction, state)
            told = None if self.callback is None else self._fitted
            choice = pick(held, self._depths(), self._strengths(), **options | {"callback": told})
            self.trials_, self.validation_score_ = choice.trials, choice.best.validation_rmse
            calibration = self._calibrate(held, choice, draw_seed)
            self._tell("fitting all entries", 0.0, None, self.validation_score_)
            found = again(seen, choice, **last)
            # An explicit fit repeats a number of sweeps; a flow has to come down to where the best
            # one stopped.
            self.converged_ = choice.fit.converged and (
                found.converged if self._implicit else found.status != "diverged"
            )
        else:
            depth, strengths = self._depths()[0], self._strengths()
            strength = (
                strengths[0] if len(strengths) == 1 else 0.5
            )  # a single entry: nothing to choose on
            found = (
                flow(seen, depth=depth, stop=strength, **last)
                if self._implicit
                else fit(seen, depth=depth, strength=strength, **last)
            )
            self.converged_ = found.converged
        self._publish(found, seen, ids, calibration, draw_seed)
        if self.checkpoint is not None:  # it has done its work
            Path(self.checkpoint).unlink(missing_ok=True)
        if not self.converged_:
            self._warn(found, stacklevel=4)

    def _warn(self, found: LowRankFit, stacklevel: int) -> None:
        if self._implicit and found.status != "diverged":
            which = "flow on the training entries" if found.converged else "flow"
            told = (
                f"The {which} was still on its way after {self.max_sweeps or MAX_STEPS} steps "
                "tried: increase max_sweeps."
            )
        elif found.status == "diverged":
            told = (
                f"The fit stopped after {found.n_sweeps} sweeps because the objective rose: use a "
                "larger strength, or float64."
            )
        else:
            told = (
                f"The fit stopped after {found.n_sweeps} sweeps without reaching tol = {self.tol}: "
                "increase max_sweeps or tol."
            )
        warnings.warn(told, NotConvergedWarning, stacklevel=stacklevel)

    def _calibrate(self, held: Held, choice: Choice, seed: int) -> Calibration:
        """Scores of the held-out entries under the model that has not seen them."""
        ids = tuple(Ids.positions(side) for side in held.training.shape)
        model = self._model(choice.fit, held.training, ids, Calibration(), seed, "calibrating")  # type: ignore[arg-type]
        rows = np.where(model.row_counts[held.rows] > 0, held.rows.astype(np.int64), -1)
        cols = np.where(model.col_counts[held.cols] > 0, held.cols.astype(np.int64), -1)
        found = model.predict(rows, cols)
        gaps = held.values - found
        self.averaged_score_ = float(np.sqrt(np.mean(np.square(gaps, dtype=float))))
        return Calibration.of(gaps, model.deviation(rows, cols, self.threads))

    def _model(
        self,
        found: LowRankFit,
        seen: Observations,
        ids: tuple[Ids, Ids],
        calibration: Calibration,
        seed: int,
        stage: str,
    ) -> Model:
        draws: list[Sample] = []
        if self.ensemble > 1:
            total = self.burn_in + self.ensemble
            chain = draw(
                found, seen, total, seed, features=bool(self.features), threads=self.threads
            )
            for step, sample in enumerate(chain):
                if step >= self.burn_in:
                    draws.append(sample)
                self._tell(f"{stage}: averaging", (step + 1) / total, None, None)
        return Model.of(found, draws, seen, ids, calibration, self._limits(seen))

    def _limits(self, seen: Observations) -> tuple[float, float] | None:
        if self.clip == "range":
            values = seen.by_row.values
            return float(values.min()), float(values.max())
        return None if self.clip is None else (float(self.clip[0]), float(self.clip[1]))

    def _publish(
        self,
        found: LowRankFit,
        seen: Observations,
        ids: tuple[Ids, Ids],
        calibration: Calibration,
        seed: int = 0,
    ) -> None:
        self.model_ = self._model(found, seen, ids, calibration, seed, "fitting all entries")
        self.n_sweeps_ = found.sweep
        self._describe()
        rows, cols, values = seen.triples()
        gaps = self.model_.predict(rows, cols) - values
        self.train_score_ = float(np.sqrt(np.mean(gaps**2)))

    def _describe(self) -> None:
        """Attributes that are read off the model."""
        found = self.model_.fit
        self.depth_, self.strength_, self.rank_ = found.depth, found.strength, found.rank
        self.singular_values_, self.effective_rank_ = found.s, effective_rank(found.s)
        self.row_ids_, self.col_ids_ = self.model_.row_ids.labels, self.model_.col_ids.labels

    def _pair(self, rows: Any, cols: Any) -> tuple[np.ndarray, np.ndarray]:
        """Codes of (rows, cols), or of the two columns of ``rows``."""
        if cols is None:
            rows, cols = pairs(rows, self.columns, "X")
        rows, cols = ([side] if np.isscalar(side) else side for side in (rows, cols))
        return self.model_.codes(rows, cols, self.unseen)

    def _entries(self, what: str) -> Observations:
        check_is_fitted(self)
        if self.model_.seen is None:
            raise InputError(MISSING_ENTRIES.format(what=what))
        return self.model_.seen

    def _fitted(self, found: LowRankFit) -> None:
        stage = f"depth {found.depth:g}, strength {found.strength:.3g}: rank {found.rank}"
        self._tell(stage, math.nan, found.objective[-1], min(found.validation))

    def _swept(self, found: LowRankFit) -> None:
        held = found.validation[-1] if found.validation else None
        stage = f"fitting all entries: rank {found.rank}, sweep {found.n_sweeps}"
        self._tell(stage, math.nan, found.objective[-1] if found.objective else None, held)

    def _tell(self, stage: str, done: float, objective: float | None, rmse: float | None) -> None:
        if self.callback is not None:
            self.callback(FitProgress(stage, done, objective, rmse))
