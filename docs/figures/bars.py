"""Bars of ratios, as several pictures of these pages have them."""

import numpy as np

from deeplinear.plots import COLOURS


def ratio_bars(axes, ratios, label, end):
    """A bar for each name of ``ratios``, from the top; a line at 1; the axis ends at ``end``."""
    places = np.arange(len(ratios))[::-1]
    axes.barh(places, list(ratios.values()), color=COLOURS[0], height=0.6)
    for place, ratio in zip(places, ratios.values(), strict=True):
        axes.text(ratio - 0.03, place, f"{ratio:.2f}", va="center", ha="right", color="white")
    axes.axvline(1.0, color="0.5", linestyle="--", linewidth=1)
    axes.set_yticks(places, list(ratios))
    axes.set_xlim(0, end)
    axes.set_xlabel(label)
