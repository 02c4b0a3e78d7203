"""What a column of text cells holds: numbers, categories, or what is carried through untouched."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..completion.data.features import FeatureKind, few_labels
from .dates import are_dates
from .layout import ColumnView, measured
from .numbers import PLAIN, NumberFormat, shape_of

_TRUTHS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"})


@dataclass(frozen=True)
class Reading:
    """What becomes of a column. ``kind`` None: carried through, for it holds ``what``."""

    kind: FeatureKind | None
    what: str = ""
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class OddCell:
    """A cell, by its row, that is no number in a column of numbers."""

    row: int


def read_column(
    view: ColumnView, numbers: NumberFormat = PLAIN, *, categorical: bool = False
) -> Reading | OddCell:
    """What a column holds; an `OddCell` where numbers and text cannot both be meant.

    ``categorical``: the user says that all that is written there are labels of categories.
    """
    if categorical:
        return Reading(FeatureKind.category, "", tuple(sorted(set(view.observed))))
    labels = view.labels
    if not labels:
        return Reading(FeatureKind.integer if _are_whole(view, numbers) else FeatureKind.number)
    odd = [measured(text) or bool(shape_of(text)) for text in labels]
    shaped = sum(map(bool, map(shape_of, labels)))  # numbers in a format that is not the file's
    if 2 * shaped > len(labels) or (view.is_number.any() and (view.is_numeric or any(odd))):
        texts = iter(odd)
        rows = [(i, next(texts)) for i in np.flatnonzero(view.is_text)]
        return OddCell(int(next((i for i, meant in rows if meant), rows[0][0])))
    if are_dates(labels):
        return Reading(None, "dates")
    distinct = set(view.observed)
    if few_labels(len(distinct), len(view.observed)) or are_booleans(distinct):
        return Reading(FeatureKind.category, "", tuple(sorted(distinct)))
    return Reading(None, "text")


def are_booleans(labels: Collection[str]) -> bool:
    """Whether the labels are the two words of a truth value, such as yes and no."""
    return {label.lower() for label in labels} in _TRUTHS and len(labels) == 2


def _are_whole(view: ColumnView, numbers: NumberFormat) -> bool:
    """Whether all numbers are whole, and written so."""
    values = view.values[view.is_number]
    if not len(values) or not (np.isfinite(values) & (values == np.rint(values))).all():
        return False
    marks = (numbers.decimal, "e", "E", "%")
    return not any(mark in text for text in view.observed for mark in marks)
