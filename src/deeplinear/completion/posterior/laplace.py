"""How far off a prediction may be: the local Gaussian posterior of the factors."""

from dataclasses import dataclass

import numpy as np

from ..backends.open import open_backend
from ..data.observations import Observations
from ..solver.fit import LowRankFit


@dataclass(frozen=True)
class LocalPosterior:
    """The Gaussian posterior of each row given the columns, and of each column given the rows.

    With noise variance σ² the row vector (p_i, a_i) has covariance σ² A_i⁻¹, where A_i is the
    Hessian of its own ridge problem; so has the column vector with B_j. The variance of a new entry
    is, to first order and without the covariance between the two,

        v_ij = σ² (1 + y_jᵀ A_i⁻¹ y_j + z_iᵀ B_j⁻¹ z_i),       y_j = (q_j, 1), z_i = (p_i, 1).

    For rows that were folded in, B_j is that of the entries the columns were learned from.
    """

    fit: LowRankFit
    observations: Observations
    noise: float
    columns: "LocalPosterior | None" = None  # for folded rows: what the columns were learned from

    @classmethod
    def of(cls, fit: LowRankFit, observations: Observations) -> "LocalPosterior":
        """σ² is the mean square of the weighted residuals on ``observations``."""
        return cls(fit, observations, observations.mean_square(fit.residuals(observations)))

    def deviation(
        self, rows: np.ndarray, cols: np.ndarray, threads: int | None = None
    ) -> np.ndarray:
        """√v at (rows[t], cols[t]) for new entries of weight 1.

        O(Σ n_i r² + r³) over the lines that are asked about.
        """
        rows, cols = np.asarray(rows, np.int64), np.asarray(cols, np.int64)
        behind = self.columns or self
        row_lines, col_lines = self.observations, behind.observations.T
        of_rows = _leverage(self.fit, row_lines, rows, cols, threads, self.fit.right)
        of_cols = _leverage(behind.fit.T, col_lines, cols, rows, threads, self.fit.left)
        return np.sqrt(self.noise * (1 + of_rows + of_cols))


def _leverage(
    fit: LowRankFit,
    seen: Observations,
    mine: np.ndarray,
    theirs: np.ndarray,
    threads: int | None,
    asked: np.ndarray,
) -> np.ndarray:
    """x_tᵀ A_i⁻¹ x_t, x = (asked, 1), for the rows of ``fit`` on ``seen``."""
    with open_backend(seen, threads) as backend:
        return backend.leverage(seen.by_row, mine, theirs, *leverage_of(fit, asked))


def leverage_of(fit: LowRankFit, asked: np.ndarray) -> tuple[np.ndarray, ...]:
    """(other, ridge, scale, asked) of `AbstractBackend.leverage` for the rows of ``fit``."""
    bias = fit.bias_ridge if fit.bias_ridge is not None else np.inf
    ridge = np.append(fit.ridge, min(bias, 1e12)).astype(float)  # without biases: as good as fixed
    scale = np.square(fit.row_scale, dtype=float)
    other, x = (np.column_stack([q, np.ones(len(q))]).astype(float) for q in (fit.right, asked))
    return other, ridge, scale, x
