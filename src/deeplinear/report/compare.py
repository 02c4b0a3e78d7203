"""Complete one table in several ways and measure them all on the same cells."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..completion._column_scores import ColumnScore
from ..completion.data.features import CodedTable, Feature, FeatureKind
from ..completion.field.refinement import Refinement
from ..completion.solver.fit_state import held_out_size, standard_error
from ..errors import InputError
from ..labels import depth_label
from ..progress import Progress
from ..scores import root_mean_square
from ..status import Status
from .expand import collapse, expand

if TYPE_CHECKING:
    from ..completion.imputer import DeepLinearImputer


@dataclass(frozen=True)
class Candidate:
    """One completed table and how good it is. What a baseline does not have is None.

    ``held_out_error`` is measured on observed cells that were hidden from training, in the measure
    of the comparison: see `compare_depths`.
    """

    name: str
    filled: np.ndarray
    seconds: float
    held_out_error: float
    truth_rmse: float | None = None  # on all missing entries, where their truth is known
    depth: float | None = None
    train_rmse: float | None = None
    effective_rank: float | None = None
    rank: int | None = None
    strength: float | None = None
    singular_values: np.ndarray | None = None
    status: Status | None = None  # of a fit that did not converge
    columns: tuple[ColumnScore, ...] = ()
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    refinement: Refinement | None = None
    used: str = "fit"  # what predictions are made of, as the estimator says
    average_share: float = 0.0  # the share of the average of draws in them
    draws: int = 0
    imputer: "DeepLinearImputer | None" = field(default=None, repr=False, compare=False)

    @property
    def accuracy(self) -> float | None:
        """The share of held-out cells of categories that are right; None without any."""
        found = [c for c in self.columns if c.kind is FeatureKind.category and c.count]
        count = sum(c.count for c in found)
        return sum(c.count * c.accuracy for c in found) / count if count else None


@dataclass(frozen=True)
class Comparison:
    """A table, and how its completions are measured.

    ``by_column``: errors relative to the spread of each column, so that its unit does not matter:
    numbers in standard deviations; a wrong label of a category is as wrong as guessing by frequency
    is on the average. Otherwise the root mean squared error in the units of the table, for tables
    of one unit, such as images.
    """

    table: CodedTable
    by_column: bool = True
    truth: np.ndarray | None = None

    def gaps(self, predicted: np.ndarray, held_out: np.ndarray) -> np.ndarray:
        """The errors of the cells ``held_out``, row by row; ``predicted`` did not see them.

        Of a category the squared error of a cell is 0 or 1, over the variance 1 − Σ p² of who
        guesses by the frequencies p. Columns that do not vary do not count.
        """
        values = self.table.values
        gaps = np.where(held_out, predicted - values, 0.0)
        if self.by_column:
            for j, (feature, x) in enumerate(zip(self.table.features, values.T, strict=True)):
                size = spread(x[~np.isnan(x)], feature)
                if feature.kind is FeatureKind.category:
                    gaps[:, j] = gaps[:, j] != 0
                gaps[:, j] = gaps[:, j] / size if size > 0 else np.nan
        return gaps[held_out]

    def error(self, gaps: np.ndarray, held_out: np.ndarray) -> float:
        """The typical error of a held-out cell: `column_error`, or the root mean square."""
        counts = np.isfinite(gaps)
        if not counts.any():
            return math.nan
        cols = np.nonzero(held_out)[1][counts]
        return held_out_size(gaps[counts], cols, self.by_column)

    def uncertainty(self, gaps: np.ndarray, best: np.ndarray, held_out: np.ndarray) -> float:
        """The standard error of the difference of two errors on the same cells."""
        counts = np.isfinite(gaps) & np.isfinite(best)
        cols = np.nonzero(held_out)[1][counts]
        return standard_error(gaps[counts], best[counts], cols, self.by_column)

    def truth_rmse(self, filled: np.ndarray) -> float | None:
        return None if self.truth is None else rmse(filled, self.truth, np.isnan(self.table.values))


def spread(observed: np.ndarray, feature: Feature) -> float:
    """The standard deviation of a column; of a category √(1 − Σ p²)."""
    if not len(observed):
        return 0.0
    if feature.kind is FeatureKind.category:
        shares = np.bincount(observed.astype(int)) / len(observed)
        return math.sqrt(1 - float(np.sum(shares**2)))
    return root_mean_square(observed - observed.mean())


def rmse(prediction: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """Root mean squared error over the entries ``where``; NaN if there are none."""
    return root_mean_square((prediction - truth)[where]) if where.any() else math.nan


def compare_depths(
    comparison: Comparison,
    depths: Sequence[float],
    *,
    progress: Callable[[float, Progress], bool | None] | None = None,
    on_done: Callable[[Candidate], None] | None = None,
    **options: Any,
) -> tuple[list[Candidate], np.ndarray]:
    """Fit one `deeplinear.DeepLinearImputer` per depth, all on the same held-out cells.

    Returns the candidates and the mask of those held-out cells, on which baselines can be
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
            filled = np.asarray(imputer.fit_transform(comparison.table))
        except InvalidParameterError as error:
            raise InputError(str(error)) from None
        columns = tuple(imputer.column_scores_.values())
        mask = imputer.validation_mask_
        gaps = comparison.gaps(imputer.validation_predictions_, mask)
        candidate = Candidate(
            name=depth_label(depth),
            filled=filled,
            seconds=time.perf_counter() - start,
            held_out_error=comparison.error(gaps, mask),
            gaps=gaps,
            columns=columns,
            imputer=imputer,
            truth_rmse=comparison.truth_rmse(filled),
            depth=depth,
            train_rmse=None if comparison.by_column else float(imputer.train_score_),
            effective_rank=float(imputer.effective_rank_),
            rank=int(imputer.rank_),
            strength=imputer.strength_,
            singular_values=np.asarray(imputer.singular_values_),
            refinement=imputer.refinement_,
            used=imputer.used_,
            average_share=imputer.average_share_,
            draws=imputer.n_draws,
            status=None if imputer.converged_ else _unconverged(imputer.status_),
        )
        candidates.append(candidate)
        if on_done:
            on_done(candidate)
    return candidates, mask


def _unconverged(status: Status) -> Status:
    """The status of a fit that did not converge, perhaps before it saw the held-out entries."""
    return Status.max_steps if Status.succeeded(status) else status


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the smallest held-out error; the truth, even where known, has no say."""
    return min(
        candidates, key=lambda c: math.inf if math.isnan(c.held_out_error) else c.held_out_error
    )


@dataclass(frozen=True)
class Verdict:
    """What the held-out cells say: the candidate that is ``used``, and those that are level.

    The best ``network`` is used unless something simpler is better by more than the standard error
    of the difference; ``ties`` differ from what is used by no more than that.
    """

    used: Candidate
    network: Candidate
    ties: tuple[Candidate, ...] = ()
    count: int = 0  # of the held-out cells

    @classmethod
    def of(
        cls, comparison: Comparison, candidates: Sequence[Candidate], held_out: np.ndarray
    ) -> "Verdict":
        network, first = best([c for c in candidates if c.depth is not None]), best(candidates)

        def level(one: Candidate, other: Candidate) -> bool:
            error = comparison.uncertainty(one.gaps, other.gaps, held_out)
            return abs(one.held_out_error - other.held_out_error) <= error

        used = network if first is network or level(network, first) else first
        ties = tuple(c for c in candidates if c is not used and level(c, used))
        return cls(used, network, ties, int(held_out.sum()))


def worst_columns(candidate: Candidate, most: int = 5) -> list[ColumnScore]:
    """The columns whose held-out cells are predicted worst, by R² or accuracy."""
    scored = [c for c in candidate.columns if c.count]

    def quality(score: ColumnScore) -> float:
        found = score.accuracy if score.kind is FeatureKind.category else score.r2
        return -math.inf if math.isnan(found) else found

    return sorted(scored, key=quality)[:most]


def column_means(comparison: Comparison, held_out: np.ndarray) -> Candidate:
    """Every missing entry becomes the mean of its column, of a category the most frequent label."""

    def fill(matrix: np.ndarray) -> np.ndarray:
        seen = ~np.isnan(matrix)
        count = seen.sum(axis=0)
        overall = matrix[seen].mean() if seen.any() else 0.0
        total = np.where(seen, matrix, 0).sum(axis=0)
        means = np.where(count > 0, total / np.maximum(count, 1), overall)
        return np.where(seen, matrix, means)

    return _baseline("column means", comparison, fill, held_out, scaled=False)


def interpolation(comparison: Comparison, held_out: np.ndarray) -> Candidate:
    """Numbers on the line between the observed ones before and behind them in their column; labels
    are the last ones before them.
    """

    def complete(values: np.ndarray) -> np.ndarray:
        filled, place = values.copy(), np.arange(len(values))
        for j, feature in enumerate(comparison.table.features):
            seen = np.flatnonzero(~np.isnan(values[:, j]))
            if not len(seen):
                continue
            if feature.kind is FeatureKind.category:
                before = np.maximum(np.searchsorted(seen, place, side="right") - 1, 0)
                filled[:, j] = values[seen[before], j]
            else:
                filled[:, j] = np.interp(place, seen, values[seen, j])
        empty = np.isnan(filled)
        return np.where(empty, np.nanmean(np.where(empty, np.nan, filled)), filled)

    return _measured("interpolation", comparison, complete, held_out)


def nearest_neighbours(comparison: Comparison, held_out: np.ndarray) -> Candidate:
    """scikit-learn's ``KNNImputer``, tuned like the network: neighbours and weights by the held-out
    entries; distances in standard deviations of the columns.
    """
    from sklearn.impute import KNNImputer

    def fill(matrix: np.ndarray, neighbours: int, weights: str) -> np.ndarray:
        imputer = KNNImputer(n_neighbors=neighbours, weights=weights, keep_empty_features=True)
        return imputer.fit_transform(matrix)

    def attempt(neighbours: int, weights: str) -> Candidate:
        method = partial(fill, neighbours=neighbours, weights=weights)
        name = f"KNN ({neighbours} rows)"
        return _baseline(name, comparison, method, held_out, scaled=comparison.by_column)

    start = time.perf_counter()
    tried = [attempt(k, "distance") for k in (5, 10, 20)]
    neighbours = (5, 10, 20)[tried.index(best(tried))]
    winner = best([*tried, attempt(neighbours, "uniform")])
    return replace(winner, seconds=time.perf_counter() - start)


def _baseline(
    name: str,
    comparison: Comparison,
    fill: Callable[[np.ndarray], np.ndarray],
    held_out: np.ndarray,
    *,
    scaled: bool,
) -> Candidate:
    """A method for matrices of numbers."""
    features = comparison.table.features

    def complete(values: np.ndarray) -> np.ndarray:
        matrix, back = expand(CodedTable(values, features), scaled=scaled)
        return collapse(fill(matrix), back, features)

    return _measured(name, comparison, complete, held_out)


def _measured(
    name: str,
    comparison: Comparison,
    complete: Callable[[np.ndarray], np.ndarray],
    held_out: np.ndarray,
) -> Candidate:
    """What a method makes of the table, and of its cells ``held_out`` without them."""
    start = time.perf_counter()
    table = comparison.table
    hidden, filled = (
        np.where(np.isnan(values), complete(values), values)
        for values in (np.where(held_out, np.nan, table.values), table.values)
    )
    columns = tuple(
        _column_score(feature, hidden[:, j], table.values[:, j], held_out[:, j])
        for j, feature in enumerate(table.features)
    )
    gaps = comparison.gaps(hidden, held_out)
    return Candidate(
        name,
        filled,
        time.perf_counter() - start,
        comparison.error(gaps, held_out),
        comparison.truth_rmse(filled),
        columns=columns,
        gaps=gaps,
    )


def _column_score(
    feature: Feature, filled: np.ndarray, truth: np.ndarray, held_out: np.ndarray
) -> ColumnScore:
    """How well the cells ``held_out`` of one column were filled."""
    if not held_out.any():
        return ColumnScore(feature.name, feature.kind)
    count, gaps = int(held_out.sum()), (filled - truth)[held_out]
    if feature.kind is FeatureKind.category:
        return ColumnScore(feature.name, feature.kind, count, accuracy=float(np.mean(gaps == 0)))
    error = root_mean_square(gaps)
    rest = truth[~held_out & ~np.isnan(truth)]
    spread = root_mean_square(truth[held_out] - rest.mean()) if len(rest) else 0.0
    r2 = 1 - (error / spread) ** 2 if spread > 0 else math.nan
    return ColumnScore(feature.name, feature.kind, count, error, r2)
