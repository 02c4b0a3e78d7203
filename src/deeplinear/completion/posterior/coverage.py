"""How often calibrated intervals cover: stated against reached, on cells that made none of them."""

from dataclasses import dataclass

import numpy as np

from .conformal import Calibration

LEVELS = np.linspace(0.05, 0.95, 19)  # coverages that are asked for
ENOUGH = 40  # held-out entries, so that each half can say something about most levels
SPLITS = 200  # random halves of the held-out entries over which coverage is averaged,
_SPLITS_BY_COLUMN = 10  # and where every column has its own law
ENOUGH_OF_A_COLUMN = 100  # of half of them, coverage has a standard error of 4 % at 90 %


@dataclass(frozen=True)
class Reached:
    """The coverage that intervals reach at each of ``levels``, which were asked for.

    ``mean`` and ``spread`` (levels,): mean and standard deviation over the splits; ``columns``
    (splits, levels, n): in each split in each column with a hundred held-out entries, NaN in
    others. Their mean over splits would say nothing: what one half lacks the other has.
    """

    levels: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    columns: np.ndarray


def cross_fitted(calibration: Calibration, levels: np.ndarray = LEVELS) -> Reached:
    """Calibrated on a random half of the held-out entries, measured on the other, many times.

    The scores are in sorted order, but exchangeable: any half may calibrate, and the other is then
    a test that had no part in it. NaN where half of the entries is too few for a level.
    """
    by_column = len(calibration.columns) > 0
    cols = calibration.columns if by_column else np.zeros(len(calibration.scores), int)
    laws, splits = len(calibration.sizes), _SPLITS_BY_COLUMN if by_column else SPLITS
    rng = np.random.default_rng(0)
    shares = np.full((splits, len(levels)), np.nan)
    columns = np.full((splits, len(levels), laws), np.nan)
    few = np.bincount(cols, minlength=laws) < ENOUGH_OF_A_COLUMN
    for share, column in zip(shares, columns, strict=True):
        mine = rng.permutation(len(cols)) < len(cols) // 2
        half = calibration.only(mine)
        rest, theirs = calibration.scores[~mine], cols[~mine]
        for k, level in enumerate(levels):
            if half.reaches(level):
                hit = rest <= half.factors(level)[theirs]
                share[k] = hit.mean()
                tried = np.bincount(theirs, minlength=laws)
                column[k] = np.bincount(theirs, hit, laws) / np.where(few, np.nan, tried)
    return Reached(levels, shares.mean(axis=0), shares.std(axis=0), columns)
