"""Whether and how strongly features count: chosen on held-out entries, and on lines held out whole.

Entries held out of known lines choose λ and the sweeps, or none. A fifth of the lines with features
is then left out whole, and predicted from features: their entries choose how far cold lines go from
the average line to where their features point, and how wide intervals are there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...scores import root_mean_square
from ..backends.open import Device
from ..backends.pairs import average as pair_average
from ..data.observations import Observations
from .fit_state import ValidationSplit
from .result import LowRankFit
from .selection import HoldOut
from .side_information import Side, Sides, balanced, informed, lines_of, loadings_of

#: λ in units of the Gram matrix of standardized features.
DECAYS = (1.0, 0.1, 0.03, 0.01)
_SWEEPS, _PATIENCE = 12, 2
_TIGHTER = 2.0  # factors by which the ridge around the prior means is tried
_OUT = 0.2
# Standard errors by which cold lines must gain: few are left out, and several λ are tried.
_CLEAR = 2.0
#: Which line of an entry is cold: that of its row, of its column, or both.
KINDS = ("row", "column", "both")


@dataclass(frozen=True, kw_only=True)
class SideScores:
    """How much features count: ``decay`` λ and ``tightness`` of `side_information`, ``sweeps`` with
    them (0: known lines do without).

    ``before`` and ``after`` are the held-out errors without and with these sweeps, and
    ``standard_error`` that of their difference.
    """

    decay: float
    tightness: float
    sweeps: int
    before: float
    after: float
    standard_error: float


@dataclass(frozen=True, kw_only=True)
class SideChoice(SideScores):
    """What was chosen, and of the cold lines of both sides λ and the share of the prior means.

    ``errors`` holds, by kind of `KINDS`, those of the entries of lines left out: with the features,
    and ``plain`` from the average line.
    """

    cold_decays: tuple[float, float]
    shares: tuple[float, float]
    errors: list[np.ndarray]
    plain: list[float]


def choose_sides(
    fit: LowRankFit,
    held: HoldOut,
    sides: Sides,
    seed: int,
    *,
    threads: int | None = None,
    device: Device = "cpu",
) -> tuple[SideChoice, LowRankFit]:
    """The choice, and ``fit`` with the features as it says."""
    judge = ValidationSplit.check(held.triples, held.training, column_noise=False)

    def course(seen: Observations, *how: float) -> Iterator[LowRankFit]:
        return informed(fit, seen, sides, *how, threads=threads, device=device)

    search = _Search(judge, fit)
    for decay in DECAYS:
        search.gains(course(held.training, decay, 1.0), decay, 1.0)
    while search.sweeps:
        decay, tightness = search.decay, _TIGHTER * search.tightness
        if not search.gains(course(held.training, decay, tightness), decay, tightness):
            break
    plain, errors = (_gaps(judge, one) for one in (fit, search.best))
    before = judge.size(plain)
    if not judge.is_clear(errors, plain):
        search = _Search(judge, fit)
    out, rest = _left_out(held, sides, np.random.default_rng(seed))
    one = course(rest, search.decay, search.tightness)
    cold = next(islice(one, max(search.sweeps, 1) - 1, None))
    cold_decays, shares, gaps, without = _cold_errors(cold, rest, held, sides, out)
    choice = SideChoice(
        decay=search.decay,
        tightness=search.tightness,
        sweeps=search.sweeps,
        before=before,
        after=search.least,
        standard_error=judge.standard_error(errors, plain),
        cold_decays=cold_decays,
        shares=shares,
        errors=gaps,
        plain=without,
    )
    return choice, balanced(search.best, held.training)


class _Search:
    """The best fit so far, beginning with one without features."""

    def __init__(self, judge: ValidationSplit, fit: LowRankFit) -> None:
        self.judge, self.best, self.least = judge, fit, judge.size(_gaps(judge, fit))
        self.decay, self.tightness, self.sweeps = DECAYS[1], 1.0, 0

    def gains(self, course: Iterator[LowRankFit], decay: float, tightness: float) -> bool:
        """Whether a fit on this ``course`` betters the best one, which it then becomes."""
        start, own, stale = self.least, np.inf, 0
        for step, one in enumerate(islice(course, _SWEEPS)):
            error = self.judge.size(_gaps(self.judge, one))
            stale = 0 if error < own else stale + 1
            own = min(own, error)
            if error < self.least:
                self.best, self.least, self.sweeps = one, error, step + 1
                self.decay, self.tightness = decay, tightness
            if stale == _PATIENCE:
                break
        return self.least < start


def _gaps(judge: ValidationSplit, fit: LowRankFit) -> np.ndarray:
    return fit.predict(judge.rows, judge.cols) - judge.values


def _left_out(
    held: HoldOut, sides: Sides, rng: np.random.Generator
) -> tuple[tuple[np.ndarray, np.ndarray], Observations]:
    """Masks of the rows and of the columns that are left out, and the entries of the others."""
    seen = held.training
    out = []
    for side, count in zip(sides, seen.shape, strict=True):
        chosen = rng.random(count) < _OUT
        out.append(chosen & side.have if side is not None else np.zeros(count, bool))
    rows, cols, values = seen.triples()
    keep = ~(out[0][rows] | out[1][cols])
    weights = seen.by_row.weights
    rest = Observations.from_triples(
        rows[keep],
        cols[keep],
        values[keep],
        seen.shape,
        weights=weights[keep] if weights.size else None,
    )
    return (out[0], out[1]), rest


def _cold_errors(
    fit: LowRankFit,
    rest: Observations,
    held: HoldOut,
    sides: Sides,
    out: tuple[np.ndarray, np.ndarray],
) -> tuple[tuple[float, float], tuple[float, float], list[np.ndarray], list[float]]:
    """λ and the share of both sides, and the errors of each kind of cold entries."""
    rows, cols, values = (
        np.concatenate([x, y]) for x, y in zip(held.training.triples(), held.triples, strict=True)
    )
    known = ((rest.by_row.counts > 0) | out[0])[rows] & ((rest.by_col.counts > 0) | out[1])[cols]
    mine = known & (out[0][rows] | out[1][cols])
    rows, cols, values = rows[mine].astype(int), cols[mine].astype(int), values[mine]
    cold_row, cold_col = out[0][rows], out[1][cols]
    kinds = cold_row & ~cold_col, ~cold_row & cold_col, cold_row & cold_col
    chosen = [
        _best_lines(fit, rest, sides[0], out[0], (rows, cols, values), kinds[0]),
        _best_lines(fit.T, rest.T, sides[1], out[1], (cols, rows, values), kinds[1]),
    ]
    (p, _), (q, _) = (lines for lines, *_ in chosen)
    gaps = _errors(fit.mean, p, q, rows, cols, values)
    p, q = (average for (_, average), *_ in chosen)
    plain = _errors(fit.mean, p, q, rows, cols, values)
    return (
        (chosen[0][1], chosen[1][1]),
        (chosen[0][2], chosen[1][2]),
        [gaps[kind] for kind in kinds],
        [root_mean_square(plain[kind]) if kind.any() else np.nan for kind in kinds],
    )


def _best_lines(
    fit: LowRankFit,
    rest: Observations,
    side: Side | None,
    out: np.ndarray,
    entries: tuple[np.ndarray, np.ndarray, np.ndarray],
    kind: np.ndarray,
) -> tuple[tuple[np.ndarray, np.ndarray], float, float]:
    """((the rows, with those left ``out`` from features; and from the average), λ, their share).

    λ and the share s are those of the smallest error of the ``entries`` = (rows, cols, values) of
    this ``kind``. Their errors e + s d are linear in s, so that the best one is −Σ e d / Σ d²; it
    is 0 unless it gains more than two standard errors. Entries of one line err together: the gains
    of lines are what is independent.
    """
    own = lines_of(fit).astype(float)
    average = own.copy()
    known = rest.by_row.counts > 0
    average[out] = own[known].mean(axis=0) if known.any() else 0.0
    best, decay, share = average, DECAYS[1], 0.0
    if side is None or not kind.any():
        return (best, average), decay, share
    rows, cols, values = (x[kind] for x in entries)
    q = lines_of(fit.T).astype(float)
    plain = _errors(fit.mean, average, q, rows, cols, values)
    least = float(np.square(plain).sum())
    for tried in DECAYS:
        towards = average.copy()
        towards[out] = loadings_of(fit, rest, side, tried).lines(side.features)[out]
        way = _errors(fit.mean, towards, q, rows, cols, values) - plain
        step = float(np.clip(-(plain @ way) / max(way @ way, 1e-300), 0, 1))
        squares = np.square(plain + step * way)
        gains = np.bincount(rows, np.square(plain) - squares)
        if squares.sum() < least and gains.sum() > _CLEAR * np.sqrt(np.square(gains).sum()):
            best, decay, share = average + step * (towards - average), tried, step
            least = float(squares.sum())
    return (best, average), decay, share


def _errors(
    mean: float,
    p: np.ndarray,
    q: np.ndarray,
    rows: np.ndarray,
    cols: np.ndarray,
    values: np.ndarray,
) -> np.ndarray:
    """Prediction − value at entries, for lines (p_i, a_i) and (q_j, b_j)."""
    return pair_average(rows, cols, p[None], q[None], np.array([mean])) - values
