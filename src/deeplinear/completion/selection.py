"""Depth and strength chosen on held-out entries, then the same walk on all entries."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .observations import Observations
from .thin import ThinFit, fit

STALE = 3  # strengths without a better held-out error after which a path ends


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
    """``fraction`` of the entries at random, at least one and not all. It depends on the positions and ``rng`` alone."""
    count = observations.nnz
    size = min(max(1, round(fraction * count)), count - 1)
    out = np.zeros(count, dtype=bool)
    out[rng.permutation(count)[:size]] = True
    rows, cols, values = observations.triples()
    weights = observations.by_row.weights
    training = Observations.from_triples(
        rows[~out], cols[~out], values[~out], observations.shape, weights=weights[~out] if weights.size else None
    )
    return Held(training, rows[out], cols[out], values[out])


@dataclass(frozen=True)
class Trial:
    """One fit of a path: what was asked for, the best held-out root-mean-square error, rank and sweeps there."""

    depth: float
    strength: float
    validation_rmse: float
    rank: int
    sweeps: int


@dataclass(frozen=True)
class Choice:
    """The best fit of all trials, and the trials."""

    fit: ThinFit
    best: Trial
    trials: tuple[Trial, ...]


def choose(
    held: Held,
    depths: Sequence[float],
    strengths: Sequence[float],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    on_trial: Callable[[Trial, float], None] | None = None,
    **options: Any,
) -> Choice:
    """Fit from strong to weak at every depth, each time stopped early by the held-out error; the best by that error.

    A path ends after three strengths without a better error, counted once something has beaten the biases alone. Every fit
    starts anew: deeper than 2 a network loses rank and never gains it, so the end of a stronger fit is no good start.
    ``on_trial`` gets every trial and the fraction of the work that is done.
    """
    best: tuple[Trial, ThinFit] | None = None
    trials: list[Trial] = []
    for position, depth in enumerate(depths):
        lowest, stale = math.inf, 0
        for step, strength in enumerate(sorted(strengths, reverse=True)):
            found = fit(
                held.training,
                depth=depth,
                strength=strength,
                validation=held.triples,
                checkpoint=_stage(checkpoint, len(trials)),
                **options,
            )
            trial = Trial(depth, strength, min(found.validation), found.rank, max(found.sweep, 1))
            trials.append(trial)
            score = trial.validation_rmse
            if best is None or score < best[0].validation_rmse:
                best = trial, found
            lowest, stale = (score, 0) if score < lowest * (1 - 1e-4) else (lowest, stale + bool(found.rank))
            if on_trial is not None:
                on_trial(trial, (position + (step + 1) / len(strengths)) / len(depths))
            if stale == STALE:
                break
    if best is None:
        raise InputError("depths and strengths must not be empty: give at least one of each.")
    return Choice(best[1], best[0], tuple(trials))


def repeat(
    observations: Observations, trial: Trial, *, checkpoint: str | os.PathLike[str] | None = None, **options: Any
) -> ThinFit:
    """The fit of ``trial`` on all entries: the same depth and strength, and as many sweeps as were best there."""
    options |= {"tol": 0.0, "max_sweeps": trial.sweeps}
    return fit(observations, depth=trial.depth, strength=trial.strength, checkpoint=_stage(checkpoint, 1000), **options)


def _stage(checkpoint: str | os.PathLike[str] | None, stage: int) -> Path | None:
    """The checkpoint of one fit among several: the name given, with the number of the stage."""
    return None if checkpoint is None else Path(f"{checkpoint}.{stage}")


def clear(checkpoint: str | os.PathLike[str] | None) -> None:
    """Remove the files of all stages: the whole fit is done."""
    if checkpoint is not None:
        path = Path(checkpoint)
        for file in path.parent.glob(f"{path.name}.*"):
            if file.suffix[1:].isdigit():
                file.unlink(missing_ok=True)
