"""The columns with the highest predictions for a row, without those it has seen."""

from numbers import Integral

import numpy as np

from ...errors import InputError
from ..data.ids import IdVector
from .predictor import MISSING_ENTRIES, Model

_BLOCK = 4_000_000  # predictions at a time
_LARGEST = 100_000_000  # places of a result that has more than there are columns


def recommend(
    model: Model, rows: IdVector, k: int, *, exclude_seen: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(column ids, predictions), each (len(rows), k), best first.

    See `DeepMatrixCompletion.recommend`.
    """
    n = model.col_ids.size
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise InputError(f"k must be an integer ≥ 1, got {k!r}.")
    if exclude_seen and model.seen is None:
        raise InputError(MISSING_ENTRIES.format(what="exclude_seen=True"))
    codes = model.row_ids.codes(rows, "ids")
    if k > n and len(codes) * int(k) > _LARGEST:
        raise InputError(f"k must be at most the number of columns, {n}, got {k}.")
    codes = model.known_rows(codes)
    places, scores = np.zeros((len(codes), k), np.int64), np.full((len(codes), k), -np.inf)
    there = min(int(k), n)
    step = max(1, _BLOCK // n)
    for lo in range(0, len(codes), step):
        part = codes[lo : lo + step]
        values = model.block(part)
        values[:, model.col_counts == 0] = -np.inf  # nothing is known about them
        if exclude_seen and model.seen is not None:
            lines = model.seen.by_row
            for t, code in enumerate(part):
                if code >= 0:
                    values[t, lines.indices[lines.indptr[code] : lines.indptr[code + 1]]] = -np.inf
        top = np.argpartition(-values, there - 1, axis=1)[:, :there]
        found = np.take_along_axis(values, top, axis=1)
        order = np.lexsort((top, -found), axis=1)  # equal predictions: by position
        places[lo : lo + step, :there] = np.take_along_axis(top, order, axis=1)
        scores[lo : lo + step, :there] = np.take_along_axis(found, order, axis=1)
    labels = model.col_ids.labels[places]
    nothing = np.isneginf(scores)
    if nothing.any():  # rows that have fewer than k unseen columns
        labels = labels.astype(object)
        labels[nothing], scores[nothing] = None, np.nan
    return labels, scores
