"""The picture of docs/completion.md: python docs/figures/completion.py writes completion.png beside
itself (half a minute).
"""

import warnings
from pathlib import Path

import numpy as np

import deeplinear as dl
from deeplinear.labels import short_depth_label
from deeplinear.plots import house_style, line_style, new_figure

DEPTHS = (2.0, 3.0, 4.0)
STRENGTHS = (1.0, 0.7, 0.5, 0.36, 0.25)


def run(count=100_000, strengths=STRENGTHS, seed=0):
    """Held-out errors by depth and strength, and coverage of 90 % intervals by how sure the model
    says it is.
    """
    warnings.simplefilter("ignore")
    ratings = dl.datasets.make_ratings(1900, 1200, count, seed=seed)
    train, test = ratings.split(0.1, seed=seed)
    errors = {}
    for depth in DEPTHS:
        errors[depth] = [
            -dl.DeepMatrixCompletion(depth, strength=strength, random_state=0, threads=1)
            .fit(train.triples)
            .score(test.triples)
            for strength in strengths
        ]
    model = dl.DeepMatrixCompletion(3, random_state=0, threads=1).fit(train.triples)
    _, deviation = model.predict(test.pairs, return_std=True)
    low, high = model.interval(test.pairs)
    covered = (low <= test.values) & (test.values <= high)
    order = np.array_split(np.argsort(deviation), 10)
    return (
        errors,
        [(deviation[part].mean(), covered[part].mean(), len(part)) for part in order],
        covered.mean(),
    )


def draw(errors, bins, overall, strengths=STRENGTHS):
    figure = new_figure(9.5, 3.8)
    left, right = figure.subplots(1, 2)
    for index, (depth, line) in enumerate(errors.items()):
        left.plot(strengths, line, label=short_depth_label(depth), **line_style(index))
    left.set_xscale("log")
    left.set_xticks([0.25, 0.35, 0.5, 0.7, 1.0], ["0.25", "0.35", "0.5", "0.7", "1"])
    left.minorticks_off()
    left.set_xlabel("strength (weight decay in units of the noise)")
    left.set_ylabel("RMSE on new ratings (stars)")
    left.legend()
    deviation, share, count = (np.array(column) for column in zip(*bins, strict=True))
    bars = 1.96 * np.sqrt(share * (1 - share) / count)
    right.axhline(0.9, color="0.5", linestyle="--", linewidth=1)
    right.errorbar(deviation, share, yerr=bars, **line_style(0) | {"linestyle": "none"})
    right.text(
        0.5 * (deviation[-1] + deviation[-2]),
        0.897,
        "asked for",
        ha="center",
        va="top",
        color="0.35",
    )
    right.set_ylim(0.8, 1.0)
    right.set_xlabel("stated deviation (stars), ten classes")
    right.set_ylabel("part inside the 90 % interval")
    right.set_title(f"all new ratings: {overall:.1%}", fontsize="medium")
    return figure


if __name__ == "__main__":
    with house_style():
        draw(*run()).savefig(Path(__file__).with_suffix(".png"), dpi=150)
