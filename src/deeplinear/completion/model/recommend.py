"""The columns with the highest predictions for a row, without those it has seen."""

from collections.abc import Hashable
from numbers import Integral

import numpy as np

from ...errors import InputError
from ..data.ids import IdVector, as_ids
from .predictor import MISSING_ENTRIES, Model, warn_of_empty_lines

_BLOCK = 4_000_000  # predictions at a time
_LARGEST = 100_000_000  # places of a result that has more than there are columns


def recommend(
    model: Model,
    rows: IdVector,
    k: int,
    *,
    exclude_seen: bool = True,
    unseen: str = "marginals",
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
    empty = codes < 0
    if empty.any() and unseen == "marginals":
        # positions count from 1 on files: only names are the same everywhere
        first = "" if model.row_ids.positional else f", the first is {_first(rows, empty)!r}"
        warn_of_empty_lines(
            f"{int(empty.sum())} of {len(codes)} ids have no entry in the fit{first}: they get "
            "what is best for the average row."
        )
    different, back = np.unique(codes, return_inverse=True)
    places, scores = _best(model, different, int(k), exclude_seen)
    places, scores = places[back], scores[back]
    if unseen == "nan":
        scores[empty] = -np.inf
    labels = model.col_ids.labels[places]
    nothing = np.isneginf(scores)
    scores = model.clip(scores)
    if nothing.any():  # rows that have fewer than k unseen columns
        labels = labels.astype(object)
        labels[nothing], scores[nothing] = None, np.nan
    return labels, scores


def _first(ids: IdVector, which: np.ndarray) -> Hashable:
    return as_ids(ids, "ids")[which][:1].tolist()[0]


def _best(
    model: Model, codes: np.ndarray, k: int, exclude_seen: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(codes of columns, predictions) for rows at ``codes``; −∞ where there is no column left."""
    n = model.col_ids.size
    places, scores = np.zeros((len(codes), k), np.int64), np.full((len(codes), k), -np.inf)
    there = min(k, n)
    step = max(1, _BLOCK // n)
    for lo in range(0, len(codes), step):
        part = codes[lo : lo + step]
        values = model.uncut(part)  # what is cut to the limits would all be level
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
    return places, scores
