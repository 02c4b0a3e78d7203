"""Columns of few entries each that are alike: their means and sizes borrow from one another.

A mean of ten entries is off by a third of the column's spread; hundreds of such columns say by
themselves how much columns differ (empirical Bayes): x_j ~ N(m, τ), seen with the error variance
v_j, is best guessed by m + (x_j − m) τ/(τ + v_j) (Efron and Morris, JASA 1973).
"""

import numpy as np

# Columns are alike whose log size lies within so many robust standard deviations of the median.
_NEAR = 6.0
_LEAST = 3  # fewer say nothing about each other


def borrowed(
    means: np.ndarray, sizes: np.ndarray, counts: np.ndarray, gaps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The ``means`` and ``sizes`` (n,) of columns, moved towards each other where they are alike.

    ``sizes``: fourth-moment sizes s, positive; ``counts``: entries of each column; ``gaps``: (x −
    mean)/s of all entries, which say how sure a mean is (variance s² gap²/count on the average) and
    a log size (variance (gap⁸ − 1)/(16 count)). A column of another unit or without two entries
    stays as it is, and is not asked.
    """
    logs = np.log(sizes)
    able = counts >= 2
    if able.sum() < _LEAST:
        return means, sizes
    away = np.abs(logs - np.median(logs[able]))
    able &= away <= _NEAR * 1.4826 * np.median(away[able])
    if able.sum() < _LEAST:
        return means, sizes
    means, sizes, count = means.copy(), sizes.copy(), counts[able]
    tail, spread = np.mean(gaps**8) - 1, np.sum(gaps**2) / (len(gaps) - len(counts))
    sizes[able] = np.exp(shrunken(logs[able], tail / 16 / count))
    unit = max(np.abs(means[able]).max(), sizes[able].max())  # no square may overflow
    errors = spread * (sizes[able] / unit) ** 2 / count
    means[able] = unit * shrunken(means[able] / unit, errors)
    return means, sizes


def shrunken(x: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """The posterior means of numbers that were seen as ``x`` with errors of these ``variances``."""
    between = max(float(x.var(ddof=1) - variances.mean()), 0.0)
    total = np.maximum(between + variances, np.finfo(float).tiny)
    middle = np.sum(x / total) / np.sum(1 / total)
    return middle + between / total * (x - middle)
