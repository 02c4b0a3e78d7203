"""The held-out error of a table whose columns have noise of their own.

Plainly averaged, the square errors of a column that nothing predicts (a row number, a time stamp)
outweigh the rest: whatever is gained in the other columns is lost beside them. Here the errors e of
column j are normal with a variance of its own, about which the other columns tell as much as k
entries of its own, k the mean number of entries: v_j ~ Inv-χ²(k, v). With v_j integrated out the
columns are draws from multivariate t laws; S_j = Σ e² over the n_j entries of column j, the
likelihood is, up to what no fit changes,

    −log L(v) = ½ Σ_j (k + n_j) log((k v + S_j) / ((k + n_j) v)) + ½ (Σ n_j) log v,

and v is the one that maximizes it. A column that is beyond prediction then counts by the part of
its error that a fit removes, and no more, as long as most columns are not; columns of like errors
count entry by entry; and what is gained where there is hardly any error counts little.

Source: Gelman et al., Bayesian Data Analysis, §3.2 (scaled inverse-χ² law of a variance), §5.
"""

import math

import numpy as np

from ...scores import root_mean_square

# Fewer entries per column, on average, cannot tell noise levels apart.
ENOUGH = 4
# The common scale is at least this part of the mean square, also where most columns are fitted to
# rounding.
LEAST = 1e-20


def column_error(errors: np.ndarray, cols: np.ndarray) -> float:
    """The typical size of ``errors`` in columns ``cols``: (L's maximum)^{−1/Σn}, in their units.

    It is the root mean square where that is the same in all columns or entries are fewer than
    `ENOUGH` per column, and less elsewhere.

    >>> cols = np.repeat(np.arange(10), 4)
    >>> errors = np.where(cols == 0, 5.0, 0.1) * np.tile([-1, 1], 20)
    >>> half = np.where(cols == 0, errors, errors / 2)
    >>> [round(column_error(e, cols), 3) for e in (errors, half)]  # the mean square hardly changes
    [0.203, 0.117]
    """
    size = root_mean_square(errors)
    if not 0 < size < math.inf:
        return size
    squares, counts = _by_column(errors / size, cols)
    if counts.mean() < ENOUGH:
        return size
    v = _common_scale(squares, counts)
    k = counts.mean()
    spread = (k + counts) @ np.log((k * v + squares) / ((k + counts) * v))
    return size * math.sqrt(v) * math.exp(0.5 * spread / counts.sum())


def influence(errors: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """2 ∂ log(column_error) / ∂(e_t²) of every error e_t: how much its square counts.

    It is (k + n_j) / ((k v + S_j) Σn) in column j, and 1/Σ e² where `column_error` is the root
    mean square.
    """
    size = root_mean_square(errors)
    plain = np.full(len(errors), 1 / (len(errors) * size**2 or 1.0))
    if not 0 < size < math.inf:
        return plain
    squares, counts = _by_column(errors / size, cols)
    if counts.mean() < ENOUGH:
        return plain
    v, k = _common_scale(squares, counts), counts.mean()
    own = (k + counts) / ((k * v + squares) * counts.sum() * size**2)
    return own[np.unique(cols, return_inverse=True)[1]]


def _by_column(errors: np.ndarray, cols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Σ e² and the number of entries of every column that has some."""
    squares, counts = np.bincount(cols, np.square(errors, dtype=float)), np.bincount(cols)
    return squares[counts > 0], counts[counts > 0]


def _common_scale(squares: np.ndarray, counts: np.ndarray) -> float:
    """The v that maximizes L, where Σ (k + n_j) S_j / (k v + S_j) = Σ n_j; for a mean square of 1.

    By Newton steps in log v, or bisection where they leave what is known to hold v; to four digits:
    L, flat there, is then known to eight.
    """
    k, total, means = counts.mean(), counts.sum(), squares / counts
    width = k + counts
    low, high = math.log(max(float(means.min()), LEAST)), math.log(float(means.max()))
    at = min(max(0.0, low), high)
    while high - low > 1e-4:
        part = squares / (k * math.exp(at) + squares)
        excess = float(width @ part) - total
        low, high = (at, high) if excess > 0 else (low, at)
        slope = float(width @ (part * (1 - part)))
        step = excess / slope if slope > 0 else math.inf
        if abs(step) < 1e-4:
            break
        at = at + step if low < at + step < high else (low + high) / 2
    return math.exp(at)
