"""What the picture of calibration shows, in a sentence."""

import numpy as np

from ..completion.posterior.conformal import Calibration
from ..completion.posterior.coverage import ENOUGH_OF_A_COLUMN, Reached


def coverage_sentence(reached: Reached, calibration: Calibration, coverage: float = 0.9) -> str:
    """What the figure of a table shows, with the number of held-out cells."""
    at = int(np.argmin(np.abs(reached.levels - coverage)))
    columns = reached.columns[:, at, ~np.isnan(reached.columns[:, at]).all(axis=0)]
    each = ""
    if columns.shape[1] > 1:
        low, high = np.nanquantile(columns, [0.05, 0.95])
        each = (
            f"; of the {columns.shape[1]} columns with {ENOUGH_OF_A_COLUMN} held-out cells or "
            f"more, nine in ten between {low:.0%} and {high:.0%}, part of which is chance"
        )
    return (
        "How often intervals cover cells that had no part in making them: calibrated on one half "
        f"of the {len(calibration.scores):,} held-out cells and measured on the other, many times. "
        f"Intervals for {coverage:.0%} held {reached.mean[at]:.1%}{each}. The same cells chose the "
        "strength and when to stop, so that new ones may be held a little less often. Intervals of "
        "the normal law come from the deviations before any calibration."
    )
