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
from ..data.observations import Observations
from .fit_state import ValidationSplit
from .result import LowRankFit
from .selection import HoldOut
from .side_information import Side, Sides, balanced, informed, lines_of, loadings_of

#: λ in units of the Gram matrix of standardized features.
DECAYS = (1.0, 0.1, 0.03, 0.01)
_SWEEPS, _PATIENCE = 12, 2
_OUT = 0.2
_SHARES = np.linspace(0, 1, 11)
#: Which line of an entry is cold: that of its row, of its column, or both.
KINDS = ("row", "column", "both")


@dataclass(frozen=True)
class SideChoice:
    """λ, the sweeps with features (0: none), and the shares of the prior means in cold lines.

    ``before`` and ``after`` are the held-out errors without and with these sweeps, and
    ``standard_error`` that of their difference. ``errors`` holds, by kind of `KINDS`, those of the
    entries of lines left out: with the features, and ``plain`` from the average line.
    """

    decay: float
    sweeps: int
    before: float
    after: float
    standard_error: float
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

    def errors(one: LowRankFit) -> np.ndarray:
        return one.predict(judge.rows, judge.cols) - judge.values

    def course(seen: Observations, decay: float) -> Iterator[LowRankFit]:
        return informed(fit, seen, sides, decay, threads=threads, device=device)

    plain = errors(fit)
    before = least = judge.size(plain)
    best, decay, sweeps = fit, DECAYS[1], 0
    for tried in DECAYS:
        own, stale = np.inf, 0
        for step, one in enumerate(islice(course(held.training, tried), _SWEEPS)):
            error = judge.size(errors(one))
            stale = 0 if error < own else stale + 1
            own = min(own, error)
            if error < least:
                best, decay, sweeps, least = one, tried, step + 1, error
            if stale == _PATIENCE:
                break
    if not judge.is_clear(errors(best), plain):
        best, sweeps, least = fit, 0, before
    spread = judge.standard_error(errors(best), plain)
    out, rest = _left_out(held, sides, np.random.default_rng(seed))
    cold = next(islice(course(rest, decay), max(sweeps, 1) - 1, None))
    shares, gaps, without = _cold_errors(cold, rest, held, sides, out, decay)
    found = SideChoice(decay, sweeps, before, least, spread, shares, gaps, without)
    return found, balanced(best, held.training)


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
    decay: float,
) -> tuple[tuple[float, float], list[np.ndarray], list[float]]:
    """The shares, and the errors with and without features of each kind of cold entries."""
    rows, cols, values = (
        np.concatenate([x, y]) for x, y in zip(held.training.triples(), held.triples, strict=True)
    )
    known = ((rest.by_row.counts > 0) | out[0])[rows] & ((rest.by_col.counts > 0) | out[1])[cols]
    mine = known & (out[0][rows] | out[1][cols])
    rows, cols, values = rows[mine].astype(int), cols[mine].astype(int), values[mine]
    cold_row, cold_col = out[0][rows], out[1][cols]
    kinds = cold_row & ~cold_col, ~cold_row & cold_col, cold_row & cold_col
    turned = ((fit, rest, sides[0], out[0]), (fit.T, rest.T, sides[1], out[1]))
    lines = [_lines(*one, decay) for one in turned]

    def errors(shares: tuple[float, float]) -> np.ndarray:
        p, q = (
            average + share * (own - average)
            for (own, average), share in zip(lines, shares, strict=True)
        )
        found = np.einsum("tk,tk->t", p[rows, :-1], q[cols, :-1]) + p[rows, -1] + q[cols, -1]
        return found + fit.mean - values

    plain = errors((0.0, 0.0))
    row_share = _best_share([errors((s, 0.0)) for s in _SHARES], kinds[0], rows)
    col_share = _best_share([errors((0.0, s)) for s in _SHARES], kinds[1], cols)
    gaps = errors((row_share, col_share))
    return (
        (row_share, col_share),
        [gaps[kind] for kind in kinds],
        [root_mean_square(plain[kind]) if kind.any() else np.nan for kind in kinds],
    )


def _lines(
    fit: LowRankFit, rest: Observations, side: Side | None, out: np.ndarray, decay: float
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a fit with those left ``out`` as features predict them, and as the average."""
    own, some = lines_of(fit).astype(float), rest.by_row.counts > 0
    average = own.copy()
    average[out] = own[some].mean(axis=0)
    if side is not None:
        loadings = loadings_of(fit, rest, side, decay)
        own[out] = loadings.lines(side.features)[out]
    return own, average


def _best_share(tried: list[np.ndarray], kind: np.ndarray, lines: np.ndarray) -> float:
    """The share of the smallest error; 0 unless it gains by more than the standard error.

    Entries of one line err together: the gains of lines are what is independent.
    """
    if not kind.any():
        return 0.0
    squares = [np.square(errors[kind]) for errors in tried]
    best = int(np.argmin([x.sum() for x in squares]))
    gains = np.bincount(lines[kind], squares[0] - squares[best])
    return float(_SHARES[best]) if gains.sum() > np.sqrt(np.square(gains).sum()) else 0.0
