"""Which observed cells are hidden, and how well they are filled in."""

import numpy as np

from deeplinear.completion.data.features import CodedTable, FeatureKind
from deeplinear.completion.solver.column_noise import column_error
from deeplinear.report.compare import spread
from deeplinear.scores import root_mean_square

PART = 0.1  # of the observed cells
RUN = 24  # successive rows of a block
FEW, OF = 0.2, 0.8  # in this part of the rows this part of the cells


def hidden_cells(observed: np.ndarray, how: str, seed: int) -> np.ndarray:
    """A mask of observed cells: a tenth of the "cells" at random; "blocks", runs of 24 successive
    rows (of an eighth in short tables) of single columns, at most half of each column, until they
    are a tenth; or 80 % of the cells of a fifth of the "rows".
    """
    rng = np.random.default_rng(seed)
    if how == "cells":
        return _some(observed, PART, rng)
    if how == "rows":
        chosen = rng.permutation(len(observed))[: round(FEW * len(observed))]
        few = np.zeros_like(observed)
        few[chosen] = observed[chosen]
        return _some(few, OF, rng)
    return _blocks(observed, rng)


def _some(among: np.ndarray, part: float, rng: np.random.Generator) -> np.ndarray:
    cells = rng.permutation(np.flatnonzero(among))
    hidden = np.zeros(among.size, bool)
    hidden[cells[: max(1, round(part * len(cells)))]] = True
    return hidden.reshape(among.shape)


def _blocks(observed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    hidden = np.zeros_like(observed)
    m, n = observed.shape
    run, wanted = min(RUN, max(2, m // 8)), PART * observed.sum()
    for _ in range(20 * m * n):
        if hidden.sum() >= wanted:
            break
        start, j = rng.integers(m - run + 1), rng.integers(n)
        block = observed[start : start + run, j]
        if 2 * (hidden[:, j].sum() + block.sum()) <= observed[:, j].sum():
            hidden[start : start + run, j] = block
    return hidden


def errors(
    table: CodedTable, filled: np.ndarray, hidden: np.ndarray, *, ratings: bool
) -> tuple[float, float]:
    """(typical error, root mean square error) of hidden cells, relative to the spread of their
    columns.

    Numbers in standard deviations of their column; of labels the wrong ones, relative to guessing
    by frequency (`deeplinear.report.compare.spread`). The first is the `column_error` of these, in
    which a column that nothing predicts does not outweigh the others. ``ratings`` have one unit,
    the standard deviation of all.
    """
    rows, cols = np.nonzero(hidden)
    if ratings:
        seen = table.values[~np.isnan(table.values)]
        error = root_mean_square((filled - table.values)[hidden]) / float(seen.std())
        return error, error
    gaps = (filled - table.values)[rows, cols]
    labels = np.array([feature.kind is FeatureKind.category for feature in table.features])
    gaps = np.where(labels[cols], gaps != 0, gaps)
    sizes = np.array(
        [
            spread(x[~np.isnan(x)], feature)
            for feature, x in zip(table.features, table.values.T, strict=True)
        ]
    )
    tiny = 1e-9 * np.nanmax(np.abs(table.values), axis=0)  # columns that differ by rounding alone
    counted = (sizes > tiny)[cols]
    relative, cols = gaps[counted] / sizes[cols[counted]], cols[counted]
    return column_error(relative, cols), root_mean_square(relative)
