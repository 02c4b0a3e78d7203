"""What a fitted completion is once training is over: factors (one set, or several draws), ids, what
was seen. Predictions only.
"""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import EmptyLineWarning, InputError
from ..compiled import compiled
from ..data.ids import Ids
from ..data.observations import Observations
from ..posterior.conformal import Calibration
from ..posterior.gibbs import Sample
from ..posterior.laplace import LocalPosterior
from ..solver.fit import LowRankFit

MISSING_ENTRIES = (
    "the model was saved without its entries, which {what} needs: save it with entries=True, or "
    "fit it again."
)


@dataclass(frozen=True)
class Model:
    """x̂_ij = average over draws of mean + p_i·q_j + a_i + b_j, and how far off it may be.

    **Shapes**: ``left`` (draws, m + 1, r + 1) holds (p_i, a_i), ``right`` (draws, n + 1, r + 1)
    holds (q_j, b_j); a fit without averaging is one draw. The last line of either, which the code
    −1 finds, and the lines without entries are the average line: the marginals. ``noise`` is the
    variance of an entry around the model, ``spread`` the standard deviation of all entries.
    """

    fit: LowRankFit
    left: np.ndarray
    right: np.ndarray
    means: np.ndarray
    noise: float
    spread: float
    row_ids: Ids
    col_ids: Ids
    row_counts: np.ndarray
    col_counts: np.ndarray
    calibration: Calibration
    limits: tuple[float, float] | None = None
    seen: Observations | None = None

    @classmethod
    def of(
        cls,
        fit: LowRankFit,
        draws: list[Sample],
        seen: Observations,
        ids: tuple[Ids, Ids],
        calibration: Calibration,
        limits: tuple[float, float] | None,
    ) -> "Model":
        """From a fit and draws around it (none: the fit itself)."""
        counts = seen.by_row.counts, seen.by_col.counts
        noise = LocalPosterior.of(fit, seen).noise
        if draws:
            sides = [
                np.stack([_with_average(getattr(d, side), c) for d in draws])
                for side, c in zip(("rows", "cols"), counts, strict=True)
            ]
            left, right = (side.astype(np.float32) for side in sides)
            means = np.array([draw.mean for draw in draws])
        else:
            left, right = (
                _with_average(np.column_stack([factor, bias]), c)[None]
                for factor, bias, c in (
                    (fit.left, fit.row_bias, counts[0]),
                    (fit.right, fit.col_bias, counts[1]),
                )
            )
            means = np.array([fit.mean])
        spread = float(np.std(seen.by_row.values, dtype=float))
        return cls(fit, left, right, means, noise, spread, *ids, *counts, calibration, limits, seen)

    @property
    def draws(self) -> int:
        return len(self.means)

    @property
    def noiseless(self) -> bool:
        """Whether the fit goes through every entry, up to rounding, so that it cannot tell the
        noise.
        """
        size = max(abs(self.fit.mean), self.spread)
        return bool(self.noise <= (64 * np.finfo(self.fit.left.dtype).eps * size) ** 2)

    @cached_property
    def _local(self) -> LocalPosterior:
        if self.seen is None:
            raise InputError(MISSING_ENTRIES.format(what="the uncertainty of predictions"))
        return LocalPosterior(self.fit, self.seen, self.noise)

    def codes(self, rows: Any, cols: Any, unseen: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions of ids, −1 for ids and lines without any entry; one warning counts them
        (``unseen="marginals"``).
        """
        row_codes, col_codes = self.row_ids.codes(rows, "rows"), self.col_ids.codes(cols, "cols")
        if len(row_codes) != len(col_codes):
            raise InputError(
                f"rows and cols must have one length, got {len(row_codes)} and {len(col_codes)}."
            )
        row_codes = np.where((row_codes >= 0) & (self.row_counts[row_codes] > 0), row_codes, -1)
        col_codes = np.where((col_codes >= 0) & (self.col_counts[col_codes] > 0), col_codes, -1)
        bad = (row_codes < 0) | (col_codes < 0)
        if bad.any() and unseen == "marginals":
            warnings.warn(
                f"{int(bad.sum())} of {len(bad)} entries have ids without any entry in the fit "
                f"({int((row_codes < 0).sum())} rows, "
                f"{int((col_codes < 0).sum())} columns): these are predicted from the marginals.",
                EmptyLineWarning,
                stacklevel=3,
            )
        return row_codes, col_codes

    def predict(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """The mean over the draws at codes (float64), cut to `limits`."""
        out = np.empty(len(rows))
        average(rows, cols, self.left, self.right, self.means, out)
        return self.clip(out)

    def clip(self, values: np.ndarray) -> np.ndarray:
        return values if self.limits is None else np.clip(values, *self.limits)

    def deviation(
        self, rows: np.ndarray, cols: np.ndarray, threads: int | None = None
    ) -> np.ndarray:
        """ColumnScaler deviation of a new entry at codes, from the `LocalPosterior`; at −1 that of all
        entries.
        """
        out = np.full(len(rows), self.spread)
        known = (rows >= 0) & (cols >= 0)
        if known.any():
            out[known] = self._local.deviation(rows[known], cols[known], threads)
        return out

    def block(self, rows: np.ndarray) -> np.ndarray:
        """Whole rows at codes, (len(rows), n): by matrix products, cut to `limits`."""
        total = np.zeros((len(rows), self.right.shape[1] - 1))
        for left, right, mean in zip(self.left, self.right, self.means, strict=True):
            p, q = left[rows].astype(float), right[:-1].astype(float)
            total += p[:, :-1] @ q[:, :-1].T + (mean + p[:, -1:]) + q[:, -1]
        return self.clip(total / self.draws)

    def folded(self, fit: LowRankFit, seen: Observations, row_ids: Ids) -> "Model":
        """This model for the new rows of ``fit`` and ``seen``, with the columns of the network
        before averaging.
        """
        average = np.append(self.fit.left.mean(axis=0), self.fit.row_bias.mean())
        lines = np.column_stack([fit.left, fit.row_bias])
        left = np.vstack([np.where(seen.by_row.counts[:, None] > 0, lines, average), average])[None]
        right = _with_average(np.column_stack([fit.right, fit.col_bias]), self.col_counts)[None]
        return replace(
            self,
            fit=fit,
            left=left,
            right=right,
            means=np.array([fit.mean]),
            row_ids=row_ids,
            row_counts=seen.by_row.counts,
            seen=seen,
        )

    def without_entries(self) -> "Model":
        return replace(self, seen=None)


def _with_average(lines: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``lines`` with the average line behind, which also replaces lines without entries."""
    some = counts > 0
    centre = lines[some].mean(axis=0, dtype=float).astype(lines.dtype)
    return np.vstack([np.where(some[:, None], lines, centre), centre])
