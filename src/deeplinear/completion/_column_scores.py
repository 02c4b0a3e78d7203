"""How well the held-out cells of each column are imputed."""

import math
from dataclasses import dataclass

import numpy as np

from .data.bounds import Limits
from .data.features import Feature, FeatureKind
from .data.indicators import Indicators
from .data.table import ColumnScaler
from .posterior.labels import LabelLaw
from .solver.selection import HoldOut


@dataclass(frozen=True)
class ColumnScore:
    """What imputation makes of the ``count`` held-out cells of a column, NaN where there are none.

    Numbers: ``rmse`` in the units of the column, and ``r2`` = 1 − MSE / mean (x − mean)² about the
    mean of the entries that were trained on. Categories: ``accuracy``, and ``log_loss`` (mean −log
    of the probability of the true label).
    """

    name: str
    kind: FeatureKind
    count: int = 0
    rmse: float = math.nan
    r2: float = math.nan
    accuracy: float = math.nan
    log_loss: float = math.nan


def unscored(features: tuple[Feature, ...]) -> list[ColumnScore]:
    """Scores of a fit that held nothing out."""
    return [ColumnScore(feature.name, feature.kind) for feature in features]


def number_scores(
    held: HoldOut,
    predicted: np.ndarray,
    features: tuple[Feature, ...],
    indicators: Indicators,
    scaler: ColumnScaler,
    limits: Limits,
) -> dict[int, ColumnScore]:
    """Those of the numbers, by feature; ``held`` and ``predicted`` in the scaled units.

    What is measured is what is imputed: within the bounds, and rounded.
    """
    n = len(indicators.labels)
    is_number = np.array([codes is None for codes in indicators.labels], bool)
    owner = indicators.owner[held.cols]
    mine = is_number[owner]
    cols, j, truth = held.cols[mine], owner[mine], held.values[mine]
    center, scale = scaler.center[cols], scaler.scale[cols]
    with np.errstate(over="ignore", invalid="ignore"):
        given = predicted[mine] * scale + center
        cut = limits.apply(given, j)
        imputed = np.where(cut == given, predicted[mine], (cut - center) / scale)
    count = np.bincount(j, minlength=n)
    among = np.maximum(count, 1)
    error = np.bincount(j, (imputed - truth) ** 2, n) / among
    mean = (scaler.means[cols] - center) / scale
    variance = np.bincount(j, (truth - mean) ** 2, n) / among
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(variance > 0, 1 - error / variance, np.nan)
    rmse = np.sqrt(error) * scaler.scale[[span.start for span in indicators.spans]]
    return {
        k: ColumnScore(
            features[k].name, features[k].kind, int(count[k]), float(rmse[k]), float(r2[k])
        )
        for k in indicators.numbers.tolist()
        if count[k]
    }


def category_cells(
    feature: int,
    held: HoldOut,
    predicted: np.ndarray,
    indicators: Indicators,
    scaler: ColumnScaler,
) -> tuple[np.ndarray, np.ndarray]:
    """(predicted indicators (cells, labels seen), position of the true label) of a category."""
    span = indicators.spans[feature]
    mine = (held.cols >= span.start) & (held.cols < span.stop)
    width, cols = span.stop - span.start, held.cols[mine]
    guess, truth = (
        indicators.per_label(feature, scaler.backward(x[mine], cols).reshape(-1, width))
        for x in (predicted, held.values)
    )
    return guess, truth.argmax(axis=1)


def category_score(
    feature: Feature, law: LabelLaw, guess: np.ndarray, truth: np.ndarray
) -> ColumnScore:
    """That of a category, from its `category_cells`."""
    if not len(truth):
        return ColumnScore(feature.name, feature.kind)
    right = law.probabilities(guess).argmax(axis=1) == truth
    return ColumnScore(
        feature.name,
        feature.kind,
        len(truth),
        accuracy=float(right.mean()),
        log_loss=law.log_loss(guess, truth),
    )
