"""The picture of docs/losses.md: python docs/figures/losses.py writes losses.png beside itself (a
minute).
"""

import warnings
from pathlib import Path

import numpy as np
from bars import ratio_bars
from sklearn.datasets import load_digits

import deeplinear as dl
from deeplinear.plots import COLOURS, house_style, new_figure
from deeplinear.scores import root_mean_square

SIZES = 10.0 ** np.arange(5)


def outliers():
    """By loss, the error of the missing cells of a table of which one cell is multiplied."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 20))
    missing = rng.random(truth.shape) < 0.3
    table = np.where(missing, np.nan, truth + 0.2 * rng.normal(size=truth.shape))
    i, j = np.unravel_index(np.nanargmax(table), table.shape)
    found = {}
    for loss in ("squared", "huber"):
        found[loss] = []
        for size in SIZES:
            X = table.copy()
            X[i, j] *= size
            filled = dl.DeepLinearImputer(loss=loss, random_state=0).fit_transform(X)
            gaps = (filled - truth) / truth.std(axis=0)
            found[loss].append(root_mean_square(gaps[missing]))
    return found


def log_loss(x, p):
    p = np.clip(p, 0.01, 0.99)
    return -np.mean(np.where(x > 0, np.log(p), np.log(1 - p)))


def poisson_deviance(x, mean):
    mean = np.maximum(mean, 0.01 * x.mean())
    return 2 * np.mean(x * np.log(np.where(x > 0, x, 1) / mean) - x + mean)


def absolute(x, mean):
    return np.mean(abs(x - mean))


def tables():
    """Name: (table, its loss, what predictions of hidden cells are measured by)."""
    rng = np.random.default_rng(1)
    T = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 120))
    digits = load_digits().data
    return {
        "heavy tails, absolute error": (T + 0.5 * rng.standard_t(1.5, T.shape), "huber", absolute),
        "yes or no, log loss": ((rng.logistic(size=T.shape) < 1.5 * T) * 1.0, "logistic", log_loss),
        "counts, deviance": (rng.poisson(np.exp(0.4 * T + 1)), "poisson", poisson_deviance),
        "digits (real), deviance": (digits, "poisson", poisson_deviance),
    }


def gains():
    """What the held-out deviance with the loss is of that with squared errors."""
    ratios = {}
    for name, (X, loss, measure) in tables().items():
        seen = np.random.default_rng(2).random(X.shape) < 0.5
        (rows, cols), (i, j) = np.nonzero(seen), np.nonzero(~seen)
        found = [
            measure(
                X[i, j],
                dl.DeepMatrixCompletion(loss=how, random_state=0)
                .fit((rows, cols, X[rows, cols].astype(float)))
                .predict(i, j),
            )
            for how in (loss, "squared")
        ]
        ratios[name] = found[0] / found[1]
    return ratios


def draw(errors, ratios):
    figure = new_figure(10.0, 3.8)
    left, right = figure.subplots(1, 2)
    for (loss, values), colour, mark in zip(errors.items(), COLOURS[1::-1], "so", strict=True):
        left.loglog(SIZES, values, mark + "-", color=colour, label=loss)
    left.set_xlabel("one cell of 2,800 is multiplied by")
    left.set_ylabel("error of the missing cells\n(deviations of their columns)")
    left.legend()
    ratio_bars(right, ratios, "held-out: with the loss / with squared errors", 1.15)
    return figure


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with house_style():
        draw(outliers(), gains()).savefig(Path(__file__).with_suffix(".png"), dpi=130)
