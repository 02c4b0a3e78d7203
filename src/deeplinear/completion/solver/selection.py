"""Depth and strength chosen on held-out entries, then the same walk, or flow, on all entries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.observations import Observations
from .fit import LowRankFit
from .flow import flow
from .path import path, retrace


@dataclass(frozen=True)
class Held:
    """Held-out entries, and the entries that are left to train on."""

    training: Observations
    rows: np.ndarray
    cols: np.ndarray
    values: np.ndarray

    @property
    def triples(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.rows, self.cols, self.values


def hold_out(observations: Observations, fraction: float, rng: np.random.RandomState) -> Held:
    """``fraction`` of the entries at random, at least one and not all. It depends on the positions
    and ``rng`` alone.
    """
    count = observations.nnz
    size = min(max(1, round(fraction * count)), count - 1)
    out = np.zeros(count, dtype=bool)
    out[rng.permutation(count)[:size]] = True
    rows, cols, values = observations.triples()
    weights = observations.by_row.weights
    training = Observations.from_triples(
        rows[~out],
        cols[~out],
        values[~out],
        observations.shape,
        weights=weights[~out] if weights.size else None,
    )
    return Held(training, rows[out], cols[out], values[out])


@dataclass(frozen=True)
class Trial:
    """One fit of a path: what was asked for, the best held-out root-mean-square error, rank and
    sweeps there.
    """

    depth: float
    strength: float
    validation_rmse: float
    rank: int
    sweeps: int


@dataclass(frozen=True)
class Choice:
    """The best fit of all trials, and the trials."""

    fit: LowRankFit
    best: Trial
    trials: tuple[Trial, ...]


def choose(
    held: Held,
    depths: Sequence[float],
    strengths: Sequence[float],
    *,
    callback: Callable[[LowRankFit], None] | None = None,
    **options: Any,
) -> Choice:
    """A `path` over depths and strengths, every fit stopped early by the held-out error; the best
    by that error.
    """
    found = path(held.training, depths, strengths, held.triples, callback=callback, **options)
    return _best_of(found.fits)


def _best_of(fits: Sequence[LowRankFit]) -> Choice:
    """The first of the fits with the smallest held-out error."""
    trials = tuple(
        Trial(fit.depth, fit.strength, min(fit.validation), fit.rank, fit.sweep) for fit in fits
    )
    best = min(range(len(fits)), key=lambda k: trials[k].validation_rmse)
    return Choice(fits[best], trials[best], trials)


def repeat(observations: Observations, choice: Choice, **options: Any) -> LowRankFit:
    """The best fit of ``choice`` on all entries: the same way down the strengths, with the sweeps
    that were best there.
    """
    best = choice.best
    way = {
        t.strength: t.sweeps
        for t in choice.trials
        if t.depth == best.depth and t.strength >= best.strength
    }
    return retrace(observations, best.depth, way, **options)


def choose_stop(
    held: Held,
    depths: Sequence[float],
    strengths: Sequence[float],
    *,
    callback: Callable[[LowRankFit], None] | None = None,
    **options: Any,
) -> Choice:
    """The implicit `flow` at every depth down to the least of ``strengths`` at most, stopped early
    by the held-out error; the best.
    """
    fits = []
    for depth in dict.fromkeys(depths):
        fits.append(
            flow(
                held.training, depth=depth, stop=min(strengths), validation=held.triples, **options
            )
        )
        if callback is not None:
            callback(fits[-1])
    return _best_of(fits)


def repeat_flow(observations: Observations, choice: Choice, **options: Any) -> LowRankFit:
    """The best flow of ``choice`` on all entries, down to the same part of the energy."""
    return flow(observations, depth=choice.best.depth, stop=choice.best.strength, **options)
