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


@dataclass(frozen=True)
class Reached:
    """The coverage that intervals reach at each of ``levels``, which were asked for.

    ``mean`` and ``spread`` (levels,): mean and standard deviation over the splits; ``columns``
    (levels, n): the mean in each column with `ENOUGH` held-out entries, NaN in others.
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
    inside, tried = np.zeros((len(levels), laws)), np.zeros((len(levels), laws))
    for share in shares:
        mine = rng.permutation(len(cols)) < len(cols) // 2
        half = calibration.only(mine)
        rest, theirs = calibration.scores[~mine], cols[~mine]
        for k, level in enumerate(levels):
            if half.reaches(level):
                hit = rest <= half.factors(level)[theirs]
                share[k] = hit.mean()
                inside[k] += np.bincount(theirs, hit, laws)
                tried[k] += np.bincount(theirs, minlength=laws)
    few = np.bincount(cols, minlength=laws) < ENOUGH
    columns = np.where((tried > 0) & ~few, inside / np.maximum(tried, 1), np.nan)
    return Reached(levels, shares.mean(axis=0), shares.std(axis=0), columns)


def coverage_figure(reached: Reached, calibration: Calibration) -> Figure:
    """Reached against stated coverage, of calibrated intervals and of those of the normal law."""
    from scipy.stats import norm

    levels, scores = reached.levels, calibration.scores
    normal = np.array([(scores <= norm.ppf((1 + level) / 2)).mean() for level in levels])
    judged = ~np.isnan(reached.columns).all(axis=0)
    with plots.house_style():
        figure = plots.new_figure(6.4, 5.4)
        axis: Axes = figure.subplots()
        axis.plot([0, 1], [0, 1], color="#555555", lw=1.4, ls="--", label="as often as they say")
        colour = plots.COLOURS[0]
        if len(calibration.columns) and judged.sum() > 1:
            ends = np.nanquantile(reached.columns[:, judged], [0.05, 0.95], axis=1)
            label = f"nine in ten of {judged.sum()} columns"
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
    columns = reached.columns[at][~np.isnan(reached.columns[at])]
    each = (
        f"; in the {len(columns)} columns with {ENOUGH} held-out cells or more between "
        f"{columns.min():.0%} and {columns.max():.0%}, of which part is chance"
        if len(columns) > 1
        else ""
    )
    return (
        "How often intervals cover cells that had no part in making them: calibrated on one half "
        f"of the {len(calibration.scores):,} held-out cells and measured on the other, many times. "
        f"Intervals for {coverage:.0%} held {reached.mean[at]:.1%}{each}. The same cells chose the "
        "strength and when to stop, so that new ones may be held a little less often. Intervals of "
        "the normal law come from the deviations before any calibration."
    )
