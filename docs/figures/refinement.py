"""The picture of docs/refinement.md: python docs/figures/refinement.py writes refinement.png beside
itself (a minute; the sensor file is downloaded once).
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from bars import ratio_bars
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

import deeplinear as dl
from benchmarks.real_files import listed_files
from deeplinear.plots import COLOURS, house_style, new_figure
from deeplinear.scores import root_mean_square

COLUMN, FIRST, LAST = "CO(GT)", 2955, 3027  # three days of one sensor


def hidden(X, share, seed=0):
    """X without a part of its cells, and where they are."""
    hole = (np.random.default_rng(seed).random(X.shape) < share) & ~np.isnan(X)
    return np.where(hole, np.nan, X), hole


def completed(X, **options):
    warnings.simplefilter("ignore")
    return [
        dl.DeepLinearImputer(random_state=0, refine=how, **options).fit_transform(X)
        for how in ("off", "auto")
    ]


def sensors(folder):
    """The air quality file, completed without and with the second stage: hours by sensors."""
    file = next(file for file in listed_files() if file.name == "AirQualityUCI.csv")
    table = file.read(folder)
    column = [feature.name for feature in table.features].index(COLUMN)
    X, hole = hidden(table.values, 0.2)
    return table.values, hole, completed(X, row_order=True), column


def gains(air):
    """The error of the refined network over that of the network, on hidden cells."""
    truth, hole, both, _ = air
    tables = {"air quality, in order": (truth, hole, both)}
    for name, load in (
        ("digits", load_digits),
        ("cancer", load_breast_cancer),
        ("wine", load_wine),
    ):
        data = load().data
        X, cells = hidden(data, 0.2)
        tables[f"{name}, neighbours"] = (data, cells, completed(X))
    ratios = {}
    for name, (whole, cells, (plain, refined)) in tables.items():
        spread = np.nanstd(whole, axis=0)
        scale = np.where(spread > 0, spread, 1.0)
        errors = [root_mean_square(((x - whole) / scale)[cells]) for x in (plain, refined)]
        ratios[name] = errors[1] / errors[0]
    return ratios


def draw(air, ratios):
    truth, hole, (plain, refined), column = air
    figure = new_figure(10.0, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(2.2, 1))
    hours = np.arange(FIRST, LAST)
    x, cells = truth[hours, column], hole[hours, column]
    observed = np.where(cells, np.nan, x)
    left.plot(
        hours - FIRST, observed, ".-", color="0.7", markersize=4, linewidth=1, label="observed"
    )
    points = {"linestyle": "none", "color": "black", "markerfacecolor": "none"}
    left.plot(hours[cells] - FIRST, x[cells], "o", **points, markersize=9, label="hidden")
    for values, mark, colour, name in (
        (plain, "s", COLOURS[1], "network"),
        (refined, "D", COLOURS[0], "refined"),
    ):
        guess = values[hours, column][cells]
        left.plot(hours[cells] - FIRST, guess, mark, color=colour, markersize=4, label=name)
    left.set_xlabel("hour")
    left.set_ylabel("carbon monoxide (mg/m³)")
    left.legend(ncols=2)
    ratio_bars(right, ratios, "error: refined / network", 1.08)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, help="where the sensor file lies already")
    found = sensors(parser.parse_args().folder)
    with house_style():
        draw(found, gains(found)).savefig(Path(__file__).with_suffix(".png"), dpi=130)
