"""How often calibrated intervals cover: stated against reached, on cells that made none of them."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots
from ..completion.posterior.conformal import Calibration

LEVELS = np.linspace(0.05, 0.95, 19)  # coverages that are asked for
ENOUGH = 40  # held-out entries, so that each half can say something about most levels
SPLITS = 200  # random halves of the held-out entries over which coverage is averaged,
_SPLITS_BY_COLUMN = 10  # and where every column has its own law
_ENOUGH_OF_A_COLUMN = 100  # of half of them, coverage has a standard error of 4 % at 90 %


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
    few = np.bincount(cols, minlength=laws) < _ENOUGH_OF_A_COLUMN
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


def coverage_figure(reached: Reached, calibration: Calibration) -> Figure:
    """Reached against stated coverage, of calibrated intervals and of those of the normal law."""
    from scipy.stats import norm

    levels, scores = reached.levels, calibration.scores
    normal = np.array([(scores <= norm.ppf((1 + level) / 2)).mean() for level in levels])
    judged = int((~np.isnan(reached.columns).all(axis=(0, 1))).sum())
    with plots.house_style():
        figure = plots.new_figure(6.4, 5.4)
        axis: Axes = figure.subplots()
        axis.plot([0, 1], [0, 1], color="#555555", lw=1.4, ls="--", label="as often as they say")
        colour = plots.COLOURS[0]
        if len(calibration.columns) and judged > 1:
            ends = np.nanquantile(reached.columns, [0.05, 0.95], axis=(0, 2))
            label = f"nine in ten of {judged} columns"
            axis.fill_between(levels, *ends, color=colour, alpha=0.2, lw=0, label=label)
            label = "calibrated, all cells"
        else:
            ends = reached.mean - reached.spread, reached.mean + reached.spread
            axis.fill_between(levels, *ends, color=colour, alpha=0.2, lw=0)
            label = "calibrated (± one deviation of a split)"
        axis.plot(levels, reached.mean, label=label, **plots.line_style(0))
        axis.plot(levels, normal, label="normal law", **plots.line_style(1))
        axis.set_xlabel("coverage that was asked for")
        axis.set_ylabel("part of the held-out entries covered")
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_aspect("equal")
        axis.legend(loc="upper left")
    return figure


def coverage_sentence(reached: Reached, calibration: Calibration, coverage: float = 0.9) -> str:
    """What the figure of a table shows, with the number of held-out cells."""
    at = int(np.argmin(np.abs(reached.levels - coverage)))
    columns = reached.columns[:, at, ~np.isnan(reached.columns[:, at]).all(axis=0)]
    each = ""
    if columns.shape[1] > 1:
        low, high = np.nanquantile(columns, [0.05, 0.95])
        each = (
            f"; of the {columns.shape[1]} columns with {_ENOUGH_OF_A_COLUMN} held-out cells or "
            f"more, nine in ten between {low:.0%} and {high:.0%}, part of which is chance"
        )
    return (
        "How often intervals cover cells that had no part in making them: calibrated on one half "
        f"of the {len(calibration.scores):,} held-out cells and measured on the other, many times. "
        f"Intervals for {coverage:.0%} held {reached.mean[at]:.1%}{each}. The same cells chose the "
        "strength and when to stop, so that new ones may be held a little less often. Intervals of "
        "the normal law come from the deviations before any calibration."
    )
