"""Complete one matrix in several ways and measure them all on the same entries."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..errors import InputError
from ..labels import depth_label
from ..progress import Progress
from ..scores import root_mean_square


@dataclass(frozen=True)
class Candidate:
    """One completed matrix and how good it is. What a baseline does not have is None."""

    name: str
    filled: np.ndarray
    seconds: float
    validation_rmse: float  # on observed entries held out from training
    truth_rmse: float | None = None  # on all missing entries, where their truth is known
    depth: float | None = None
    train_rmse: float | None = None
    effective_rank: float | None = None
    rank: int | None = None
    strength: float | None = None
    singular_values: np.ndarray | None = None
    # what networks are compared by: the held-out error typical of the columns, in no unit of theirs
    typical_error: float | None = None

    @property
    def rank_by(self) -> float:
        """Smaller is better: ``typical_error``, or the held-out RMSE where there is none."""
        error = self.validation_rmse if self.typical_error is None else self.typical_error
        return math.inf if math.isnan(error) else error


def rmse(prediction: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Root mean squared error over the entries ``where``; NaN if there are none."""
    return root_mean_square((prediction - truth)[where]) if where.any() else math.nan


def compare_depths(
    X: np.ndarray,
    depths: Sequence[float],
    *,
    truth: np.ndarray | None = None,
    progress: Callable[[float, Progress], None] | None = None,
    on_done: Callable[[Candidate], None] | None = None,
    **options: Any,
) -> tuple[list[Candidate], np.ndarray]:
    """Fit one `deeplinear.DeepLinearImputer` per depth, all on the same held-out entries.

    Returns the candidates and the mask of those held-out entries, on which baselines can be
    measured too. ``progress`` is called with the depth and the estimator's own progress,
    ``on_done`` with each result; ``options`` are those of the estimator.
    """
    from sklearn.utils._param_validation import InvalidParameterError

    from ..completion.imputer import DeepLinearImputer

    candidates = []
    for depth in depths:
        start = time.perf_counter()
        callback = partial(progress, depth) if progress else None
        imputer = DeepLinearImputer(depth=depth, callback=callback, **options)
        try:
            filled = np.asarray(imputer.fit_transform(X))
        except InvalidParameterError as error:
            raise InputError(str(error)) from None
        candidate = Candidate(
            name=depth_label(depth),
            filled=filled,
            seconds=time.perf_counter() - start,
            validation_rmse=float(imputer.validation_score_),
            truth_rmse=_truth_rmse(X, filled, truth),
            depth=depth,
            train_rmse=float(imputer.train_score_),
            effective_rank=float(imputer.effective_rank_),
            rank=int(imputer.rank_),
            strength=imputer.strength_,
            singular_values=np.asarray(imputer.singular_values_),
            typical_error=min((t.validation_rmse for t in imputer.trials_), default=None),
        )
        candidates.append(candidate)
        if on_done:
            on_done(candidate)
    return candidates, imputer.validation_mask_


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the smallest held-out error; the truth, even where known, has no say."""
    return min(candidates, key=lambda candidate: candidate.rank_by)


def column_means(
    X: np.ndarray, held_out: np.ndarray, *, truth: np.ndarray | None = None
) -> Candidate:
    """Every missing entry becomes the mean of its column: the least that a method must beat."""

    def fill(matrix: np.ndarray) -> np.ndarray:
        seen = ~np.isnan(matrix)
        overall = matrix[seen].mean()
        count = seen.sum(axis=0)
        means = np.where(
            count > 0, np.where(seen, matrix, 0).sum(axis=0) / np.maximum(count, 1), overall
        )
        return np.where(seen, matrix, means)

    return _baseline("column means", X, fill, held_out, truth)


def nearest_neighbours(
    X: np.ndarray, held_out: np.ndarray, *, truth: np.ndarray | None = None
) -> Candidate:
    """scikit-learn's ``KNNImputer``, tuned like the network: neighbours and weights by the held-out
    entries.
    """
    from sklearn.impute import KNNImputer

    def fill(matrix: np.ndarray, neighbours: int, weights: str) -> np.ndarray:
        imputer = KNNImputer(n_neighbors=neighbours, weights=weights, keep_empty_features=True)
        return imputer.fit_transform(matrix)

    hidden = np.where(held_out, np.nan, X)

    def score(neighbours: int, weights: str) -> float:
        return rmse(fill(hidden, neighbours, weights), X, held_out)

    start = time.perf_counter()
    neighbours = min((5, 10, 20), key=lambda k: score(k, "distance"))
    weights = min(("distance", "uniform"), key=lambda w: score(neighbours, w))
    name = f"KNN ({neighbours} rows)"
    return _baseline(
        name, X, lambda matrix: fill(matrix, neighbours, weights), held_out, truth, start
    )


def _baseline(
    name: str,
    X: np.ndarray,
    fill: Callable[[np.ndarray], np.ndarray],
    held_out: np.ndarray,
    truth: np.ndarray | None,
    start: float | None = None,
) -> Candidate:
    start = time.perf_counter() if start is None else start
    validation = rmse(fill(np.where(held_out, np.nan, X)), X, held_out)
    filled = fill(X)
    return Candidate(
        name, filled, time.perf_counter() - start, validation, _truth_rmse(X, filled, truth)
    )


def _truth_rmse(X: np.ndarray, filled: np.ndarray, truth: np.ndarray | None) -> float | None:
    return None if truth is None else rmse(filled, truth, np.isnan(X))
