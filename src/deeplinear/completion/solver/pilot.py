"""What losses have to learn from the entries before a fit: levels, cut points, thresholds, units.

They begin at what the marginals of the columns say. Then a small fit and they take turns: a fit of
depth 2 and low rank, the cut points of largest likelihood given its η, and Huber's threshold
`HUBER_CONSTANT` times the residuals' median absolute deviation (per column, mixed with that of all
columns as if it told as much as `_POOLED` entries). From then on they stay: a fit has one
objective.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from ...errors import InputError
from ..data.observations import Observations
from ..loss import HUBER, HUBER_CONSTANT, ORDINAL, POISSON, SQUARED, Losses, median_size
from .fit import fit

MOST_LEVELS = 50
_ROUNDS, _SWEEPS, _RANK, _STRENGTH = 3, 6, 10, 0.5
_POOLED = 20
# Entries that tell the cut points of one column.
_ENTRIES = 20_000


def learn(kinds: Sequence[int], observations: Observations, **options: Any) -> Losses:
    """The losses of these ``kinds``, of all columns (one) or of each; options: those of `fit`.

    **Raises** `InputError` for entries that a loss is not for.
    """
    losses = _first(np.asarray(kinds, np.uint8), observations)
    learns = (losses.kinds == HUBER) | (np.isfinite(losses.cuts).sum(axis=1) > 1)
    if not learns.any():
        return losses
    cap = min(_RANK, *observations.shape)
    how = {"depth": 2.0, "strength": _STRENGTH, "max_sweeps": _SWEEPS, "tol": 0.0, "max_rank": cap}
    rows, cols, values = observations.triples()
    for _ in range(_ROUNDS):
        found = fit(observations, losses=losses, **options | how)
        losses = _again(losses, values.astype(float), found.eta(rows, cols), cols)
    return losses


def _groups(losses_count: int, cols: np.ndarray) -> list[np.ndarray]:
    """The places of the entries of each loss."""
    if losses_count == 1:
        return [np.arange(len(cols))]
    order = np.argsort(cols, kind="stable")
    return np.split(order, np.cumsum(np.bincount(cols, minlength=losses_count))[:-1])


def _first(kinds: np.ndarray, seen: Observations) -> Losses:
    """What the marginals say."""
    _, cols, values = seen.triples()
    values = values.astype(float)
    groups = _groups(len(kinds), cols)
    own = [values[mine] for mine in groups]
    found = [np.unique(x, return_counts=True) for x in own]
    few = [len(levels) < 2 for levels, _ in found]
    kinds = np.where((kinds == ORDINAL) & few, SQUARED, kinds).astype(np.uint8)  # nothing to tell
    width = max((len(found[j][0]) for j in np.flatnonzero(kinds == ORDINAL)), default=1)
    units, levels = np.ones(len(kinds)), np.zeros((len(kinds), width))
    cuts = np.full((len(kinds), width - 1), np.inf)
    for j in np.flatnonzero(kinds == ORDINAL):
        values_j, counts = found[j]
        levels[j] = np.pad(values_j, (0, width - len(values_j)), mode="edge")
        below = (np.cumsum(counts)[:-1] + 0.5) / (counts.sum() + 1)
        cuts[j, : len(below)] = logit(below)
        slopes = below * (1 - below)
        curvature = np.r_[0, slopes] + np.r_[slopes, 0]
        units[j] = 1 / np.sqrt(np.average(curvature, weights=counts))
    for j in np.flatnonzero(kinds == POISSON):
        mean = own[j].mean() if len(own[j]) else 0.0
        units[j] = 1 / np.sqrt(mean) if mean > 0 else 1.0
    middle = np.array([np.median(x) if len(x) else 0.0 for x in own])
    gaps = values - (middle[cols] if len(kinds) > 1 else middle)
    return Losses(kinds, units, _thresholds(kinds, gaps, groups), levels, cuts)


def _thresholds(kinds: np.ndarray, gaps: np.ndarray, groups: list[np.ndarray]) -> np.ndarray:
    """Of Huber's loss given the residuals ``gaps``; ∞ for the others."""
    out = np.full(len(kinds), np.inf)
    mine = np.flatnonzero(kinds == HUBER)
    if not len(mine):
        return out
    together = np.concatenate([groups[j] for j in mine])
    largest = float(np.abs(gaps[together]).max(initial=0.0))
    common = median_size(gaps[together]) or 1e-3 * largest or 1.0
    for j in mine:
        own = gaps[groups[j]]
        size = (len(own) * median_size(own) + _POOLED * common) / (len(own) + _POOLED)
        out[j] = HUBER_CONSTANT * size
    return out


def _again(losses: Losses, x: np.ndarray, eta: np.ndarray, cols: np.ndarray) -> Losses:
    """Thresholds and cut points given a fit."""
    groups = _groups(len(losses.kinds), cols)
    thresholds = _thresholds(losses.kinds, x - eta, groups)
    cuts = losses.cuts.copy()
    for j in np.flatnonzero(np.isfinite(cuts).sum(axis=1) > 1):
        mine = groups[j]
        mine = mine[np.linspace(0, len(mine) - 1, min(len(mine), _ENTRIES)).astype(int)]
        count = int(np.isfinite(cuts[j]).sum())
        middle = (losses.levels[j, :count] + losses.levels[j, 1 : count + 1]) / 2
        codes = np.searchsorted(middle, x[mine])
        cuts[j, :count] = best_cuts(cuts[j, :count], codes, losses.units[j] * eta[mine])
    return replace(losses, thresholds=thresholds, cuts=cuts)


def best_cuts(cuts: np.ndarray, codes: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The cut points (k,) that make levels ``codes`` at predictions ``t`` most likely.

    Minimizes −Σ log(F(c_k − t) − F(c_{k−1} − t)) over the first cut and the logarithms of the
    gaps between them, from ``cuts`` on.
    """

    def of(free: np.ndarray) -> np.ndarray:
        return np.cumsum(np.r_[free[0], np.exp(np.clip(free[1:], -30, 30))])

    def loss(free: np.ndarray) -> tuple[float, np.ndarray]:
        padded = np.r_[-np.inf, of(free), np.inf]
        upper, lower = padded[codes + 1] - t, padded[codes] - t
        f_upper, f_lower = expit(upper), expit(lower)
        between = np.maximum(-np.expm1(lower - upper), 1e-300)
        value = np.logaddexp(0, -upper) + np.logaddexp(0, lower) - np.log(between)
        rise = np.exp(lower - upper) / between  # d log(1 − e^{lower − upper}) / d upper
        slope = np.zeros(len(padded))
        np.add.at(slope, codes + 1, -(1 - f_upper) - rise)
        np.add.at(slope, codes, f_lower + rise)
        inner = slope[1:-1]
        tails = np.cumsum(inner[::-1])[::-1]  # of all cuts that move with a gap
        return float(value.mean()), np.r_[tails[0], tails[1:] * np.exp(free[1:])] / len(t)

    first = np.r_[cuts[0], np.log(np.maximum(np.diff(cuts), 1e-6))]
    return of(minimize(loss, first, jac=True, method="L-BFGS-B").x)


def check_entries(kind: str, values: np.ndarray, where: str) -> None:
    """`InputError` unless the loss named ``kind`` is one for these entries ``where`` they are."""
    fix = 'take loss="squared" or "huber" for it'
    if kind in ("logistic", "ordinal"):
        count = len(np.unique(values))
        if kind == "logistic" and count != 2:
            raise InputError(
                f'loss "logistic" needs two different values in {where}, got {count}: {fix}.'
            )
        if count > MOST_LEVELS:
            raise InputError(
                f'loss "ordinal" needs at most {MOST_LEVELS} different values in {where}, got '
                f"{count}: {fix}."
            )
    if kind == "poisson" and values.size and values.min() < 0:
        raise InputError(
            f'loss "poisson" needs counts or rates ≥ 0 in {where}, got {values.min():g}: {fix}.'
        )
