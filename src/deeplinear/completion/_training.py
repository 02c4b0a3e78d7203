"""What the estimators share: checks, the choice on held-out entries, the fit, draws around it."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ..errors import NotConvergedWarning
from ..labels import depth_label
from ..progress import report, with_verbose
from ..scores import root_mean_square
from ..spectrum import effective_rank_of
from ..status import Status
from ._averages import Averages
from .data.holdout import Structure, held_out_blocks, held_out_mask, held_out_rows
from .data.ids import Ids
from .data.observations import Observations
from .displays import Pictures
from .model.predictor import Model
from .posterior.averaging import Averaging
from .posterior.burn_in import BurnIn
from .posterior.conformal import Calibration
from .solver.fit import LowRankFit
from .solver.flow import MAX_STEPS, FlowLaw
from .solver.selection import Choice, Explicit, HoldOut, Implicit, hold_out
from .solver.trial import Trial

MAX_SWEEPS = 100
# Where each stage of a fit begins and ends in the whole, without and with draws: choice,
# calibration, the fit of all entries, its draws.
_PARTS = (0.0, 0.8, 0.8, 1.0, 1.0), (0.0, 0.4, 0.6, 0.8, 1.0)
# Near the best one on every table tried; for inputs with a single entry, nothing to choose on.
_STRENGTH_WITHOUT_HOLDOUT = 0.125


class FitWarning(NotConvergedWarning, ConvergenceWarning):
    """A fit ended before it converged; of the library's kind and of scikit-learn's."""


@contextmanager
def whole_or_not_at_all(estimator: "CompletionEstimator") -> Iterator[None]:
    """If the block ends by an exception, the estimator is left as it was before: no mixture."""
    before = dict(estimator.__dict__)
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


class CompletionEstimator(Averages, Pictures):
    """The part of the estimators that turns entries into a `Model`.

    A subclass says what entries look like before and after the fit: `_standardize`, `_units`,
    `_strength_path`; and it calls `_check`, then `_learn`.
    """

    # The sweeps (of the flow: the part of the entries) that partial_fit has not made up for yet.
    _owed: float = 0.0

    # What a subclass knows about its entries

    @abstractmethod
    def _standardize(self, seen: Observations) -> Observations:
        """The entries as they are fitted; remembers the way back."""

    @abstractmethod
    def _units(self, cols: np.ndarray | slice) -> np.ndarray | float:
        """The unit of fitted values in columns at codes, in the units of the data."""

    @abstractmethod
    def _limits(self, seen: Observations) -> tuple[float, float] | None:
        """To what interval predictions are cut."""

    def _completion(self, fit: LowRankFit) -> Any:
        """How a callback gets the best matrix so far: a function, or None."""
        return None

    def _rank_cap(self, seen: Observations) -> int | None:
        """The largest rank of a fit, where the user sets none."""
        return None

    def _options(self, seen: Observations) -> dict[str, Any]:
        """The keyword arguments of every fit."""
        cap = self._rank_cap(seen) if self.max_rank is None else self.max_rank
        options = {"max_rank": cap, "threads": self.threads, "device": self.device}
        options |= {"column_noise": self._column_noise}
        options |= self._bias_options()
        if self._is_implicit:
            return options
        return options | {
            "weighted_trace_norm": self.weighted_trace_norm,
            "tol": self.tol,
            "max_sweeps": self.max_iter or MAX_SWEEPS,
        }

    @abstractmethod
    def _bias_options(self) -> dict[str, Any]:
        """``bias_ridge=None`` where W is fitted alone."""

    def _method(self) -> Explicit | Implicit:
        if self._is_implicit:
            steps = self.max_iter or MAX_STEPS
            return Implicit(FlowLaw(start_scale=self.start_scale, max_steps=steps))
        return Explicit(self.early_stopping, self._thorough or self._has_losses)

    # Fitting

    def _learn(self, raw: Observations, ids: tuple[Ids, Ids]) -> tuple[np.ndarray, np.ndarray]:
        """Choose on held-out entries, fit everything, draw around it, and publish.

        Returns the codes of the rows and columns of the held-out entries.
        """
        self._callback = with_verbose(self.callback, self.verbose)
        self._ended = False  # whether the callback asked for the end
        try:
            fit = self._learned(raw, ids)
        finally:
            # functions and data of the user's: need not be picklable, nor stay in memory
            for name in ("_callback", "_watched"):
                self.__dict__.pop(name, None)
        self.converged_ &= not self._ended
        if self.checkpoint is not None:  # it has done its work
            Path(self.checkpoint).resolve().unlink(missing_ok=True)
        if not (self.converged_ or self._ended):
            self._warn(fit)
        return self.__dict__.pop("_held_out")

    def _learned(self, raw: Observations, ids: tuple[Ids, Ids]) -> LowRankFit:
        self._owed = 0.0
        self.trials_: tuple[Trial, ...] = ()
        self.validation_score_, calibration = math.nan, Calibration()
        self._averaging = Averaging()
        state = check_random_state(self.random_state)
        options = self._options(raw) | {"seed": int(state.randint(2**31))}
        draw_seed = int(state.randint(2**31))
        if not self._is_implicit:
            options["checkpoint"] = self.checkpoint
        last = options | {"callback": self._swept if self._callback else None}
        method = self._method()
        self._held_out = np.zeros(0, int), np.zeros(0, int)  # codes of rows and columns
        out = self._held_out_mask(raw, state)
        if out.any():
            held = hold_out(raw, out)
            self._held_out = held.rows, held.cols
            held = self._standardize_split(held)
            options |= self._learned_losses(held.training, **options)
            choice = self._choose(method, held, options)
            choice = replace(choice, fit=self._informed_choice(held, choice.fit, draw_seed))
            factor = self._row_ridge_factor(held, choice.fit)
            calibration = self._calibrate(held, _with_ridge(choice.fit, factor), draw_seed)
            seen = self._standardize(raw)
            last |= self._learned_losses(seen, **options)
            self._enter(2, choice.best.sweeps)
            self._report("fitting all entries", 0.0, None, self.validation_score_)
            fit = self._informed(method.repeat(seen, choice, **last), seen)
            fit = _with_ridge(fit, factor)
            if fit.status == Status.max_steps and not self._is_implicit:
                # it repeated the sweeps of the choice, whose ending it shares
                fit = replace(fit, status=choice.fit.status)
            # An explicit fit repeats a number of sweeps; a flow has to come down to where the best
            # one stopped.
            ended = fit.converged if self._is_implicit else fit.status != Status.diverged
            self.converged_ = choice.fit.converged and ended
        else:
            seen = self._standardize(raw)
            last |= self._learned_losses(seen, **options)
            given = self._strengths()
            strength = given[0] if len(given) == 1 else _STRENGTH_WITHOUT_HOLDOUT
            self._enter(2, self.max_iter or (MAX_STEPS if self._is_implicit else MAX_SWEEPS))
            fit = method.fit(seen, self._depths()[0], strength, **last)
            self.converged_ = fit.converged
        self._publish(fit, seen, ids, calibration, draw_seed)
        return fit

    def _held_out_mask(self, raw: Observations, state: np.random.RandomState) -> np.ndarray:
        """Which entries of ``raw``, row by row, are held out."""
        rows, cols, _ = raw.triples()
        return self._held_out_of(rows, cols, raw.shape, state)

    def _held_out_of(
        self,
        rows: np.ndarray,
        cols: np.ndarray,
        shape: tuple[int, int],
        state: np.random.RandomState,
    ) -> np.ndarray:
        count, part = len(rows), self.validation_fraction
        if not (part > 0 and count > 1):
            return np.zeros(count, bool)
        structure = self._structure(rows, cols, shape) if self.holdout == "auto" else self.holdout
        if structure == "rows":
            return held_out_rows(rows, part, state)
        if structure == "blocks":
            return held_out_blocks(rows, cols, shape, part, state)
        return held_out_mask(count, part, state)

    def _structure(self, rows: np.ndarray, cols: np.ndarray, shape: tuple[int, int]) -> Structure:
        """What is held out where that is not given: entries like those that are missing."""
        return "entries"

    def _standardize_split(self, held: HoldOut) -> HoldOut:
        """Held-out entries in the units of a fit to the others, which alone make the units."""
        training = self._standardize(held.training)
        values = self._forward(held.values, held.cols)
        return HoldOut(training, held.rows, held.cols, values)

    def _forward(self, values: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return values

    def _choose(
        self, method: Explicit | Implicit, held: HoldOut, options: dict[str, Any]
    ) -> Choice:
        callback = self._fitted if self._callback else None
        self._watched = held
        depths, strengths = self._depths(), self._strengths()
        self._enter(0, len(depths) * (1 if self._is_implicit else len(strengths)))
        choice = method.choose(held, depths, strengths, callback=callback, **options)
        self.trials_ = choice.trials
        return choice

    def _informed_choice(self, held: HoldOut, fit: LowRankFit, seed: int) -> LowRankFit:
        """The chosen fit with what features say, where there are any."""
        return fit

    def _informed(self, fit: LowRankFit, seen: Observations) -> LowRankFit:
        """The fit of all entries with what features say, where there are any."""
        return fit

    def _row_ridge_factor(self, held: HoldOut, fit: LowRankFit) -> float:
        """What the ridge of new rows is multiplied by."""
        return 1.0

    def _as_predicted(self, model: Model) -> Model:
        """The model as predictions come from it: its own rows, or rows folded in."""
        return model

    def _calibrate(self, held: HoldOut, fit: LowRankFit, seed: int) -> Calibration:
        """Scores of the held-out entries under the model that has not seen them."""
        ids = Ids.positions(held.training.shape[0]), Ids.positions(held.training.shape[1])
        self._averaging = self._judged_chain(fit, held)
        self._enter(1, BurnIn(self.burn_in).most + self.n_draws)
        model = self._model(fit, held.training, ids, Calibration(), seed, "calibrating")
        model = self._as_predicted(model)
        rows = np.where(model.row_counts[held.rows] > 0, held.rows.astype(np.int64), -1)
        cols = np.where(model.col_counts[held.cols] > 0, held.cols.astype(np.int64), -1)
        if model.point is not None:
            share = self._best_share(model, held, rows, cols)
            model = model.shared(share, model.point)
        gaps = held.values - self._judged(model, held, rows, cols)
        self._record(held, gaps)
        mine = self._calibrating(held)
        rows, cols = rows[mine], cols[mine]
        deviations = model.deviation(rows, cols, self.threads)
        return Calibration.of(gaps[mine], deviations, **self._laws_of_errors(held.cols[mine]))

    def _judged(self, model: Model, held: HoldOut, *codes: np.ndarray) -> np.ndarray:
        """Predictions at the codes of the held-out entries."""
        return model.predict(*codes)

    def _record(self, held: HoldOut, gaps: np.ndarray) -> None:
        """Keep the scores of the held-out entries, given how far off their predictions are."""
        self.validation_score_ = root_mean_square(gaps * self._units(held.cols))

    def _calibrating(self, held: HoldOut) -> np.ndarray | slice:
        """The held-out entries that say how wide intervals are."""
        return slice(None)

    def _laws_of_errors(self, cols: np.ndarray) -> dict[str, Any]:
        """What `Calibration.of` is told of columns: here nothing, one law for all."""
        return {}

    def _model(
        self,
        fit: LowRankFit,
        seen: Observations,
        ids: tuple[Ids, Ids],
        calibration: Calibration,
        seed: int,
        stage: str,
    ) -> Model:
        gaps = fit.residuals(seen)
        samples = self._samples(fit, seen, seed, stage)
        limits, units, share = self._limits(seen), self._units(slice(None)), self._averaging.share
        return Model.of(
            fit, samples, seen, ids, calibration, limits, units=units, gaps=gaps, share=share
        )

    def _publish(
        self,
        fit: LowRankFit,
        seen: Observations,
        ids: tuple[Ids, Ids],
        calibration: Calibration,
        seed: int = 0,
    ) -> None:
        self._enter(3, BurnIn(self.burn_in).most + self.n_draws)
        self.model_ = self._model(fit, seen, ids, calibration, seed, "fitting all entries")
        self._describe()

    def _describe(self) -> None:
        """Attributes that are read off the model."""
        fit = self.model_.fit
        self._averaging = Averaging(self.model_.left.shape[2] - 1, self.model_.share)
        self.depth_, self.strength_, self.rank_ = fit.depth, fit.strength, fit.rank
        self.status_, self.stationarity_ = fit.status, fit.certificate.tangent
        self.n_iter_ = fit.sweep
        self.singular_values_ = fit.s
        self.effective_rank_ = float(effective_rank_of(fit.s))
        self.train_score_ = self.model_.train_rmse

    def _warn(self, fit: LowRankFit) -> None:
        if fit.status == Status.diverged:
            text = (
                f"The fit stopped after {fit.n_sweeps} sweeps because the objective rose: use a "
                "larger strength, or float64."
            )
        elif self._is_implicit:
            which = "flow on the training entries" if fit.converged else "flow"
            text = (
                f"The {which} was still on its way after {self.max_iter or MAX_STEPS} steps tried: "
                "increase max_iter."
            )
        else:
            text = (
                f"The fit stopped after max_iter = {self.max_iter or MAX_SWEEPS} sweeps without "
                f"reaching tol = {self.tol}: increase max_iter or tol."
            )
        warnings.warn(text, FitWarning, stacklevel=4)

    # After the fit

    # Progress

    def _enter(self, stage: int, steps: int) -> None:
        """Begin number ``stage`` of `_PARTS`, which takes about ``steps`` steps."""
        self._span = _PARTS[bool(self.n_draws)][stage : stage + 2]
        self._steps, self._step = max(steps, 1), 0

    def _fitted(self, fit: LowRankFit) -> bool:
        """Report one fit of the choice."""
        self._step += 1
        stage = f"{depth_label(fit.depth)}, strength {fit.strength:.3g}: rank {fit.rank}"
        held = self._watched
        gaps = held.values - fit.predict(held.rows, held.cols)
        error = root_mean_square(gaps * self._units(held.cols))
        part = self._step / self._steps
        return self._report(stage, part, fit.objective[-1], error, self._completion(fit))

    def _swept(self, fit: LowRankFit) -> bool:
        """Report one sweep of the last fit."""
        stage = f"fitting all entries: rank {fit.rank}, sweep {fit.n_sweeps}"
        part, objective = fit.n_sweeps / self._steps, fit.objective[-1] if fit.objective else None
        return self._report(stage, part, objective, None, self._completion(fit))

    def _report(
        self,
        stage: str,
        part: float,
        objective: float | None = None,
        rmse: float | None = None,
        complete: Any = None,
    ) -> bool:
        """Call back; ``part`` is that of the present stage. Whether the fit is to end."""
        if not hasattr(self, "_callback"):
            return False
        begin, end = self._span
        ended = report(
            self._callback,
            stage,
            begin + (end - begin) * min(part, 1.0),
            objective=objective,
            validation_rmse=rmse,
            complete=complete,
        )
        self._ended |= ended
        return ended


def _with_ridge(fit: LowRankFit, factor: float) -> LowRankFit:
    return fit if factor == 1.0 else replace(fit, ridge=factor * fit.ridge)
