"""What a table may mean in two ways: words that mark missing cells, or are labels themselves;
numbers among others; a second heading.
"""

import re

import numpy as np

from .cells import Cells, ColumnView
from .layout import measured
from .markers import Markers

_ANSWERS = ("none", "nil")
_CODE = re.compile(r"[A-Z]{2}")  # as countries and continents have, Namibia and North America too
_WIDTH = re.compile(r"\d+[sdn]")  # of USGS: 15s for text, 20d for dates, 14n for numbers


def doubtful_words(view: ColumnView, markers: Markers) -> np.ndarray:
    """Which cells of a column of text are read as missing, but may be one of its labels.

    ``None`` among words is an answer, and ``NA`` among codes of two letters one of them. What the
    user named as a marker is not in doubt.
    """
    labels, given = set(view.labels), {text.strip().lower() for text in markers.given}
    doubtful = np.zeros(len(view.texts), bool)
    if not labels or view.is_number.any():
        return doubtful
    words = {*_ANSWERS, "na"} if all(map(_CODE.fullmatch, labels)) else set(_ANSWERS)
    words -= given
    for i in np.flatnonzero(~view.is_text & ~view.is_number).tolist():
        text = view.texts[i].strip()
        doubtful[i] = text.lower() in words and (text.lower() != "na" or text.isupper())
    return doubtful


def doubtful_numbers(view: ColumnView, markers: Markers) -> list[tuple[float, int]]:
    """(number, how many cells it has) of the numbers that the user named as markers and that lie
    among the others of a column, where they may be values.
    """
    seen = view.values[view.is_number]
    if not markers.numbers or len(seen) < 2:
        return []
    gaps = [view.texts[i] for i in np.flatnonzero(~view.is_number & ~view.is_text).tolist()]
    counts = {number: 0 for number in markers.numbers if seen.min() <= number <= seen.max()}
    for text in gaps if counts else []:
        if (number := markers.number(text)) in counts:
            counts[number] += 1
    return [(number, count) for number, count in sorted(counts.items()) if count]


def second_heading(cells: Cells, start: int) -> list[int]:
    """The columns of numbers whose first cell is a word, where a row of words begins the data.

    So it looks where a second line, of units or of answers, belongs to the heading. ``start`` is
    the row of that line.
    """
    if start == 0 or len(cells.values) < start + 3 or not np.isnan(cells.values[start]).all():
        return []
    words = np.flatnonzero(cells.is_text[start]).tolist()
    below = {j: cells.column(j, start + 1) for j in words}
    found = [j for j in words if below[j].is_number.any() and not below[j].is_text.any()]
    if any(measured(cells.rows[start][j]) for j in found):
        widths = all(_WIDTH.fullmatch(cells.rows[start][j]) for j in words)
        return found if widths else []
    return found
