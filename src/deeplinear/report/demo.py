"""The demonstration: two real matrices that ship with scikit-learn, with entries removed whose
truth is known.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..completion.data.features import CodedTable, Feature
from .compare import (
    Candidate,
    Comparison,
    Verdict,
    column_means,
    compare_depths,
    nearest_neighbours,
)
from .report import Study

DEPTHS = (2.0, 3.0, 4.0, math.inf)
_SEED = 0  # of the estimators: held-out entries and starts
# of the removed entries: another seed, or the held-out entries would depend on the removed ones
_HOLES = 2024


def photograph(quick: bool = False) -> Study:
    """The sample photograph in grey with 60 % of its pixels removed, not yet completed."""
    from sklearn.datasets import load_sample_image

    truth = load_sample_image("china.jpg").mean(axis=2) / 255
    truth = truth[::4, ::4] if quick else truth
    return _study(
        truth,
        removed=0.6,
        title="A photograph with 60 % of its pixels removed",
        slug="photograph",
        introduction=(
            f"scikit-learn's sample photograph china.jpg in grey, {truth.shape[0]} × "
            f"{truth.shape[1]} pixels with "
            "values in [0, 1]; 60 % of the pixels were removed at random. Every method sees the "
            "rest only."
        ),
        unit="pixel values in [0, 1]",
        picture=lambda matrix: matrix,
        caption=(
            "The photograph as given (removed pixels in blue), in truth, and completed by each "
            "method."
        ),
    )


def digits(quick: bool = False) -> Study:
    """The table of handwritten digits with half of its entries removed, not yet completed."""
    from sklearn.datasets import load_digits

    truth = load_digits().data / 16
    truth = truth[:200] if quick else truth
    return _study(
        truth,
        removed=0.5,
        title="A table of handwritten digits with half of its entries removed",
        slug="digits",
        introduction=(
            f"scikit-learn's digits: a table of {truth.shape[0]:,} rows (digits) and 64 columns "
            "(the pixels of an "
            "8 × 8 image, values in [0, 1]); half of the entries were removed at random."
        ),
        unit="pixel values in [0, 1]",
        picture=digit_mosaic,
        caption="The first ten rows, each drawn as its 8 × 8 image (removed entries in blue).",
    )


def complete(
    study: Study,
    *,
    progress: Callable[[float, Any], None] | None = None,
    on_done: Callable[[Candidate], None] | None = None,
) -> Study:
    """The study with its candidates: every depth, column means and nearest neighbours."""
    table = CodedTable(study.X, tuple(Feature(str(j + 1)) for j in range(study.X.shape[1])))
    comparison = Comparison(table, by_column=False, truth=study.truth)
    networks, held_out = compare_depths(
        comparison, DEPTHS, random_state=_SEED, row_order=True, progress=progress, on_done=on_done
    )
    baselines = [method(comparison, held_out) for method in (column_means, nearest_neighbours)]
    candidates = [*networks, *baselines]
    verdict = Verdict.of(comparison, candidates, held_out)
    return replace(study, candidates=candidates, verdict=verdict)


def digit_mosaic(table: np.ndarray) -> np.ndarray:
    """The first ten rows of 64 as images, two rows of five, with white between and beside them."""
    images = np.pad(
        table[:10].reshape(2, 5, 8, 8), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=1.0
    )
    mosaic = images.transpose(0, 2, 1, 3).reshape(18, 45)[:-1, :-1]
    return np.pad(mosaic, ((0, 0), (2, 2)), constant_values=1.0)


def _study(truth: np.ndarray, *, removed: float, **words: Any) -> Study:
    hole = np.random.default_rng(_HOLES).random(truth.shape) < removed
    return Study(
        X=np.where(hole, np.nan, truth),
        truth=truth,
        candidates=(),
        regularization="explicit",
        **words,
    )
