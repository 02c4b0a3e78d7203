"""Numbers that may stand for missing cells, such as -999: they are named, never replaced."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..completion.data.features import Feature, FeatureKind
from .cells import ColumnView
from .markers import Markers

_NINES = re.compile(r"-?(9+(\.9+)?|0\.9+)")
# A value is repeated from so many cells and this part of a column on.
_LEAST, _PART = 3, 0.005


def likely_markers(values: np.ndarray, features: Sequence[Feature]) -> list[str]:
    """A line for each number such as -999, 99.9 or -1 that is repeated far from all others.

    Far: further than the others of its column are from one another; of nines, or the only negative
    number there. That may also be near if it is more frequent than the smallest of the others.
    ``values`` is rows × features, NaN where missing.
    """
    numbers = [j for j, f in enumerate(features) if f.kind is not FeatureKind.category]
    found = Counter(number for j in numbers for number in _far(values[:, j]))
    lines = []
    for number, _ in found.most_common(3):
        here = [int((x == number).sum()) for x in values[:, numbers].T if _is_outside(number, x)]
        cells, count = sum(here), np.count_nonzero(here)
        where = f"{cells:,} cells of {count} column{'s' if count > 1 else ''}"
        lines.append(
            f"{number:g} ({where}) does not go with the other numbers: --missing {number:g} if it "
            "marks missing cells"
        )
    return lines


def _is_outside(number: float, column: np.ndarray) -> bool:
    """Whether a number lies beyond all others of a column."""
    others = column[np.isfinite(column) & (column != number)]
    return bool((others > number).all() or (others < number).all())


def _far(column: np.ndarray) -> list[float]:
    """The extremes of a column that are repeated, and alone."""
    seen = column[np.isfinite(column)]
    if len(seen) < 2 * _LEAST:
        return []
    found = []
    for extreme in (float(seen.min()), float(seen.max())):
        others = seen[seen != extreme]
        count = len(seen) - len(others)
        if count < max(_LEAST, _PART * len(seen)) or len(others) < _LEAST:
            continue
        spread = float(np.ptp(others))
        gap = float(np.abs(others - extreme).min())
        negative = extreme < 0 <= others.min() and extreme.is_integer()
        far = 0 < spread < gap and (negative or _NINES.fullmatch(f"{extreme:.10g}"))
        if far or (negative and spread > 1 and count > np.sum(others == others.min())):
            found.append(extreme)
    return found


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
