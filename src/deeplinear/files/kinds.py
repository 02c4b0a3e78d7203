"""What a column of text cells holds: numbers, categories, or what is carried through untouched."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ..completion.data.features import FeatureKind, few_labels
from .cells import ColumnView, sampled
from .dates import are_dates
from .layout import measured
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
    """A cell, by its row, that is no number in a column of numbers, or not of their kind."""

    row: int
    fault: str = "is no number"


def read_column(
    view: ColumnView, numbers: NumberFormat = PLAIN, *, categorical: bool = False
) -> Reading | OddCell:
    """What a column holds; an `OddCell` where numbers and text cannot both be meant.

    ``categorical``: the user says that all that is written there are labels of categories.
    """
    if categorical and view.observed:
        return Reading(FeatureKind.category, "", tuple(sorted(set(view.observed))))
    labels = view.labels
    if not labels and not view.is_number.any():
        return Reading(None, "empty")
    if not labels and (mixed := _odd_percentage(view)) is not None:
        return mixed
    if not labels and _are_codes(view, numbers):
        return _labels_or(view, "codes")
    if not labels:
        return Reading(FeatureKind.integer if _are_whole(view, numbers) else FeatureKind.number)
    some = labels if view.is_number.any() else sampled(labels)
    forms = {text: shape_of(text) for text in set(some)}
    shaped = sum(bool(forms[text]) for text in some)  # numbers in a format not the file's
    odd = {text for text, form in forms.items() if form or measured(text)}
    if 2 * shaped > len(some) or (view.is_number.any() and (view.is_numeric or odd)):
        rows = np.flatnonzero(view.is_text).tolist()
        return OddCell(next((i for i in rows if view.texts[i] in odd), rows[0]))
    if are_dates(some):
        return Reading(None, "dates")
    return _labels_or(view, "text")


def _labels_or(view: ColumnView, what: str) -> Reading:
    """Categories where the texts are few and come again, else carried through as ``what``."""
    distinct, count = set(view.observed), len(view.observed)
    # where most cells are empty, that is an answer too: a comment, a box that was not ticked
    known = 2 * count > len(view.texts)
    if known and (few_labels(len(distinct), count) or are_booleans(distinct)):
        return Reading(FeatureKind.category, "", tuple(sorted(distinct)))
    return Reading(None, what)


def _are_codes(view: ColumnView, numbers: NumberFormat) -> bool:
    """Whether whole numbers are codes, such as 00501: five digits or more, with zeros before.

    Shorter ones are months, hours, angles (080), which are numbers that keep their width.
    """
    return _are_whole(view, numbers) and padded_width(view) > 4


def padded_width(view: ColumnView) -> int:
    """The largest number of digits in a column where zeros stand before some; 0 elsewhere."""
    texts = view.observed
    if not any(len(text) > 1 and text[0] == "0" and text.isdigit() for text in texts):
        return 0
    return max(len(text) for text in texts if text.isdigit())


def _odd_percentage(view: ColumnView) -> OddCell | None:
    """A percentage among plain numbers, or the reverse: whichever are fewer."""
    if view.cells.simple or "%" not in "".join(view.texts):
        return None
    rows = np.flatnonzero(view.is_number).tolist()
    marked = [view.texts[i].rstrip().endswith("%") for i in rows]
    fewer = 2 * sum(marked) < len(marked)
    odd = [i for i, is_percentage in zip(rows, marked, strict=True) if is_percentage == fewer]
    fault = "is a percentage among plain numbers" if fewer else "is no percentage, as others are"
    return OddCell(odd[0], fault) if odd else None


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
