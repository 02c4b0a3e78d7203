"""Lists to write beside a completion: intervals of cells, and predictions of pairs of ids."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import EmptyLineWarning, InputError

if TYPE_CHECKING:
    from ..completion.imputer import DeepLinearImputer
    from ..completion.matrix_completion import DeepMatrixCompletion
    from ..files import Table
    from ..files.long import Triples

COVERAGE = 0.9  # of the intervals that are listed
ALL_MISSING = 5_000_000  # entries that are listed where no pairs are named

#: Row ids and column ids, one of each per pair; of a matrix positions from 0.
Pairs = tuple[np.ndarray, np.ndarray]


def interval_columns(
    table: "Table", filled: np.ndarray, imputer: "DeepLinearImputer", coverage: float
) -> dict[str, np.ndarray]:
    """The list of intervals: one line per missing number, row by row.

    ``row`` is counted from 1, the heading apart; ``column`` is its name; then what was filled in,
    the ends of its interval, and their coverage. Long rather than two tables of ends: nothing is
    said of observed cells, and it joins any table by row and column. NaN ends, with a warning,
    where too few cells were held out.
    """
    numbers = np.array([not feature.categories for feature in table.features])
    rows, cols = np.nonzero(np.isnan(table.values) & numbers)
    low = high = np.full(table.values.shape, np.nan)
    calibration = imputer.model_.calibration
    if calibration.reaches(coverage):
        low, high = imputer.interval(table.coded, coverage=coverage)
    else:
        _warn_that_ends_are_empty(
            f"The {len(calibration.scores)} held-out cells are too few for intervals of coverage "
            f"{coverage:.4g}"
        )
    among_all = np.delete(np.arange(len(filled) + len(table.left_out)), table.left_out)
    names = np.array([feature.name for feature in table.features], dtype=object)
    return {
        "row": among_all[rows] + 1,
        "column": names[cols],
        "value": filled[rows, cols],
        "low": low[rows, cols],
        "high": high[rows, cols],
        "coverage": np.full(len(rows), coverage),
    }


def all_missing(data: "Triples") -> Pairs:
    """The pairs that have no entry; `InputError` if they are too many to list."""
    m, n = data.shape
    if m * n - len(data) > ALL_MISSING:
        raise InputError(
            f"--at: {m * n - len(data):,} entries are missing, more than the {ALL_MISSING:,} that "
            "are listed without it; give a file with the pairs that you want."
        )
    hidden = np.ones((m, n), dtype=bool)
    hidden[data.rows, data.cols] = False
    rows, cols = np.nonzero(hidden)
    return data.row_ids.labels[rows], data.col_ids.labels[cols]


def prediction_columns(
    estimator: "DeepMatrixCompletion", pairs: Pairs, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """The list to write: ids, predictions, and the ends of their intervals (or empty cells)."""
    rows, cols = pairs
    model = estimator.model_
    found = estimator.predict(rows, cols)
    low = high = np.full(len(found), np.nan)
    if model.seen is None:
        _warn_that_ends_are_empty("The model was saved without its entries, which intervals need")
    elif not model.calibration.reaches(COVERAGE):
        held = len(model.calibration.scores)
        _warn_that_ends_are_empty(
            f"The {held} held-out entries are too few for {COVERAGE:.0%} intervals"
        )
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmptyLineWarning)  # `predict` has given it
            low, high = estimator.interval(rows, cols, coverage=COVERAGE)
    shift = int(model.row_ids.positional)  # matrices on file count from 1
    shown = (rows + 1, cols + 1) if shift else (rows, cols)
    return {names[0]: shown[0], names[1]: shown[1], "prediction": found, "low": low, "high": high}


def _warn_that_ends_are_empty(reason: str) -> None:
    warnings.warn(f"{reason}: low and high are left empty.", UserWarning, stacklevel=3)
