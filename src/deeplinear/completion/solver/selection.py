"""Depth and strength chosen on held-out entries, then the same walk, or flow, on all entries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data.observations import Observations
from .checkpoint import PathLike, Place
from .fit import LowRankFit, fit
from .fit_state import Validation, ValidationSplit
from .flow import FlowLaw, low_rank_flow
from .options import EXACT, for_depth
from .path import path, retrace
from .trial import Trial

# Strengths without a better held-out error that end a path, and a thorough one.
PATIENCE, THOROUGH_PATIENCE = 2, 3

_CHOICE = "choice"  # its name in a checkpoint

Told = Callable[[LowRankFit], bool | None]


@dataclass(frozen=True)
class HoldOut:
    """Held-out entries, and the entries that are left to train on."""

    training: Observations
    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray

    @property
    def triples(self) -> Validation:
        return self.rows, self.cols, self.values


def hold_out(observations: Observations, out: np.ndarray) -> HoldOut:
    """The entries in two parts: those where ``out`` (row by row) is true are held out."""
    rows, cols, values = observations.triples()
    weights = observations.by_row.weights
    training = Observations.from_triples(
        rows[~out],
        cols[~out],
        values[~out],
        observations.shape,
        weights=weights[~out] if weights.size else None,
    )
    return HoldOut(training, rows[out], cols[out], values[out])


@dataclass(frozen=True)
class Choice:
    """The best fit of all trials, and the trials."""

    fit: LowRankFit
    best: Trial
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Explicit:
    """Weight decay: a `path` over depths and strengths, and the same way down on all entries."""

    early_stopping: bool = True
    thorough: bool = False  # for tables: no fit is given up early, and the path goes on for longer

    def choose(
        self,
        held: HoldOut,
        depths: Sequence[float],
        strengths: Sequence[float],
        *,
        callback: Told | None = None,
        checkpoint: PathLike | Place | None = None,
        **options: Any,
    ) -> Choice:
        """The best fit by the held-out error, every fit stopped early by it.

        The biases alone, a fit of rank 0, take its place unless it betters them by more than the
        standard error of the difference.
        ``checkpoint``: a file, which `repeat` may go on with.
        """
        place = None if checkpoint is None else Place.of(checkpoint, _CHOICE)
        if len(strengths) == 1 and strengths[0] < EXACT:  # reached in stages only
            fits = []
            for depth in depths:
                how = options | {"checkpoint": place}
                fits.append(self._single(held, depth, strengths[0], how))
                place = None if place is None else place.then(f"{_CHOICE} after {depth}")
                if callback is not None and callback(fits[-1]):
                    break
            return self._or_biases(held, _choice(fits), options)
        how = dict(options)
        options |= {"early_stopping": self.early_stopping, "thorough": self.thorough}
        options["checkpoint"] = place
        options["patience"] = THOROUGH_PATIENCE if self.thorough else PATIENCE
        result = path(held.training, depths, strengths, held.triples, callback=callback, **options)
        choice = Choice(result.best, result.best_trial, result.trials)
        if result.beats_biases:
            return choice
        return self._or_biases(held, choice, how)

    def repeat(
        self,
        observations: Observations,
        choice: Choice,
        *,
        checkpoint: PathLike | Place | None = None,
        **options: Any,
    ) -> LowRankFit:
        """The best fit on all entries: the same way down, with the sweeps that were best there."""
        best = choice.best
        if best.rank == 0:
            return _biases(observations, best, **options)
        if checkpoint is not None:
            options["checkpoint"] = Place.of(checkpoint, "fit", _stages(choice))
        if best.strength < EXACT and len(choice.trials) == len({t.depth for t in choice.trials}):
            options |= {"max_sweeps": best.sweeps} if self.early_stopping else {}
            return self.fit(observations, best.depth, best.strength, **options)
        way = [t for t in choice.trials if t.depth == best.depth and t.strength >= best.strength]
        sweeps = {trial.strength: trial.sweeps for trial in way}
        if options.get("max_rank") is None and best.depth >= 2:
            options["max_ranks"] = {trial.strength: trial.max_rank for trial in way}
        return retrace(observations, best.depth, sweeps, thorough=self.thorough, **options)

    def fit(
        self, observations: Observations, depth: float, strength: float, **options: Any
    ) -> LowRankFit:
        """The fit at a given strength, to its ``tol``."""
        options = for_depth(options, depth)
        return fit(observations, depth=depth, strength=strength, **options)

    def _or_biases(self, held: HoldOut, choice: Choice, options: dict[str, Any]) -> Choice:
        """``choice``, or the biases alone unless held-out entries clearly prefer it."""
        fit = _biases(held.training, choice.best, validation=held.triples, **options)
        judge = ValidationSplit.check(
            held.triples, held.training, bool(options.get("column_noise", False))
        )
        errors, biases = (one.judged(*judge.triples) for one in (choice.fit, fit))
        if judge.is_clear(errors, biases):
            return choice
        trial = Trial.of(fit, judge.standard_error(errors, biases))
        return Choice(fit, trial, (*choice.trials, trial))

    def _single(
        self, held: HoldOut, depth: float, strength: float, options: dict[str, Any]
    ) -> LowRankFit:
        patience = {} if self.early_stopping else {"patience": float("inf")}
        given: dict[str, Any] = {"depth": depth, "strength": strength, "validation": held.triples}
        return fit(held.training, **given, **for_depth(options, depth) | patience)


@dataclass(frozen=True)
class Implicit:
    """No weight decay: a `low_rank_flow` at every depth, and the best one again on all entries."""

    law: FlowLaw

    def choose(
        self,
        held: HoldOut,
        depths: Sequence[float],
        strengths: Sequence[float],
        *,
        callback: Told | None = None,
        **options: Any,
    ) -> Choice:
        """The best flow, down to the least of ``strengths`` at most."""
        law = replace(self.law, stop=min(strengths))
        fits = []
        for depth in dict.fromkeys(depths):
            given: dict[str, Any] = {"law": law, "validation": held.triples, "depth": depth}
            fits.append(low_rank_flow(held.training, **given, **options))
            if callback is not None and callback(fits[-1]):
                break
        return _choice(fits)

    def repeat(self, observations: Observations, choice: Choice, **options: Any) -> LowRankFit:
        """The best flow on all entries, down to the same part of the energy."""
        return self.fit(observations, choice.best.depth, choice.best.strength, **options)

    def fit(
        self, observations: Observations, depth: float, strength: float, **options: Any
    ) -> LowRankFit:
        """The flow down to the part ``strength`` of the energy."""
        law = replace(self.law, stop=strength)
        return low_rank_flow(observations, law=law, depth=depth, **options)


def _biases(observations: Observations, best: Trial, **options: Any) -> LowRankFit:
    """The biases alone, in the name of the depth and strength that were ``best`` beside them."""
    rank_0 = options | {"depth": 2.0, "strength": best.strength, "max_rank": 0}
    return replace(fit(observations, **rank_0), depth=best.depth)


def _stages(choice: Choice) -> tuple[str, ...]:
    """The stages of a choice in its checkpoint: one, or one for each depth fitted alone."""
    depths = [trial.depth for trial in choice.trials]
    return (_CHOICE, *(f"{_CHOICE} after {depth}" for depth in depths))


def _choice(fits: Sequence[LowRankFit]) -> Choice:
    """The first of the fits with the smallest held-out error."""
    trials = tuple(map(Trial.of, fits))
    best = min(range(len(fits)), key=lambda k: trials[k].validation_rmse)
    return Choice(fits[best], trials[best], trials)
