"""The held-out error of a table whose columns have noise of their own.

Plainly averaged, the square errors of a column that nothing predicts (a row number, a time stamp)
outweigh the rest: whatever is gained in the other columns is lost beside them. Here the errors e of
column j are normal with a variance of its own, about which a common scale v is known as much as
`PRIOR` entries tell: v_j ~ Inv-χ²(PRIOR, v). With v_j integrated out the columns are draws from
multivariate t laws; S_j = Σ e² over the n_j entries of column j, the likelihood is, up to what no
fit changes,

    −log L(v) = ½ Σ_j (PRIOR + n_j) log((PRIOR v + S_j) / ((PRIOR + n_j) v)) + ½ (Σ n_j) log v,

and v is the one that maximizes it. A column that is beyond prediction then counts by the part of
its error that a fit removes, and no more; columns of like errors count as entry by entry.

Source: Gelman et al., Bayesian Data Analysis, §3.2 (scaled inverse-χ² law of a variance), §5.
"""

import math

import numpy as np

from ...scores import root_mean_square

# Of 2 … 16 the one that changed ordinary tables least and still bore three columns without any
# structure in ten.
PRIOR = 8.0
# The common scale is at least this part of the mean square, also where most columns are fitted to
# rounding.
LEAST = 1e-20


def column_error(errors: np.ndarray, cols: np.ndarray) -> float:
    """The typical size of ``errors`` in columns ``cols``: (L's maximum)^{−1/Σn}, in their units.

    It is the root mean square where that is the same in all columns, and less elsewhere.

    >>> cols = np.repeat([0, 1, 2], 40)
    >>> errors = np.where(cols == 0, 5.0, 0.1) * np.tile([-1, 1], 60)
    >>> round(column_error(errors, cols), 2), round(column_error(0.1 * errors, cols), 3)
    (0.46, 0.046)
    """
    size = root_mean_square(errors)
    if not 0 < size < math.inf:
        return size
    squares = np.bincount(cols, np.square(errors / size, dtype=float))
    counts = np.bincount(cols)
    squares, counts = squares[counts > 0], counts[counts > 0]
    v = _common_scale(squares, counts)
    width = PRIOR + counts
    spread = width @ np.log((PRIOR * v + squares) / (width * v))
    return size * math.sqrt(v) * math.exp(0.5 * spread / counts.sum())


def _common_scale(squares: np.ndarray, counts: np.ndarray) -> float:
    """The v that maximizes L, where Σ (PRIOR + n_j) S_j / (PRIOR v + S_j) = Σ n_j."""
    from scipy.optimize import brentq

    means = squares / counts
    low, high = max(float(means.min()), LEAST), float(means.max())

    def excess(log_v: float) -> float:
        part = squares / (PRIOR * math.exp(log_v) + squares)
        return float((PRIOR + counts) @ part - counts.sum())

    if not low < high or excess(math.log(low)) <= 0:
        return low
    return math.exp(brentq(excess, math.log(low), math.log(high), xtol=1e-9))
