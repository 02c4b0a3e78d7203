"""How far off a prediction may be: the local Gaussian posterior of the factors, calibrated on
held-out entries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends.threads import workers
from ..compiled import compiled
from ..data.observations import Compressed, Observations
from ..solver.fit import LowRankFit


@dataclass(frozen=True)
class LocalPosterior:
    """The Gaussian posterior of each row given the columns, and of each column given the rows, at a
    fit.

    With noise variance σ² the row vector (p_i, a_i) has covariance σ² A_i⁻¹, where A_i is the
    Hessian of its own ridge problem; so has the column vector with B_j. The variance of a new entry
    is, to first order and without the covariance between the two,

        v_ij = σ² (1 + y_jᵀ A_i⁻¹ y_j + z_iᵀ B_j⁻¹ z_i),       y_j = (q_j, 1), z_i = (p_i, 1).
    """

    fit: LowRankFit
    observations: Observations
    noise: float

    @classmethod
    def of(cls, fit: LowRankFit, observations: Observations) -> "LocalPosterior":
        """σ² is the mean square of the weighted residuals on ``observations``."""
        rows, cols, values = observations.triples()
        gap = values - fit.predict(rows, cols)
        weights = observations.by_row.weights
        square = float(np.sum(weights * gap**2 if weights.size else gap**2, dtype=float))
        return cls(fit, observations, square / max(observations.weight, 1e-300))

    def deviation(self, rows: Any, cols: Any, threads: int | None = None) -> np.ndarray:
        """√v at (rows[t], cols[t]) for new entries of weight 1, in O(Σ n_i r² + r³) over the lines
        that are asked about.
        """
        fit, seen = self.fit, self.observations
        bias = fit.bias_ridge if fit.bias_ridge is not None else np.inf
        ridge = np.append(fit.penalty.slope(fit.spectrum), min(bias, 1e12)).astype(float)
        left, right = (
            np.column_stack([side, np.ones(len(side))]).astype(float)
            for side in (fit.left, fit.right)
        )
        rows, cols = np.asarray(rows, np.int64), np.asarray(cols, np.int64)
        total = np.ones(len(rows))
        with workers(threads) as pool:
            for lines, mine, theirs, other, scale in (
                (seen.by_row, rows, cols, right, fit.row_scale),
                (seen.by_col, cols, rows, left, fit.col_scale),
            ):
                total += _leverages(
                    lines, mine, theirs, other, ridge, np.square(scale, dtype=float), pool
                )
        return np.sqrt(self.noise * total)


def _leverages(
    lines: Compressed,
    mine: np.ndarray,
    theirs: np.ndarray,
    other: np.ndarray,
    ridge: np.ndarray,
    scale: np.ndarray,
    pool: Any,
) -> np.ndarray:
    order = np.argsort(mine, kind="stable")
    asked, starts = np.unique(mine[order], return_index=True)
    starts = np.append(starts, len(mine)).astype(np.int64)
    out = np.empty(len(mine))
    block = max(1, len(asked) // 64)
    ranges = [(lo, min(lo + block, len(asked))) for lo in range(0, len(asked), block)]
    targets = theirs[order]

    def work(lo: int, hi: int) -> None:
        leverage(
            lo,
            hi,
            asked,
            lines.indptr,
            lines.indices,
            lines.weights,
            other,
            ridge,
            scale,
            starts,
            targets,
            out,
        )

    pool.run(ranges, work)
    back = np.empty_like(out)
    back[order] = out
    return back
