"""Tables as sheets to draw: colours, and words for every cell. Made in the process of a fit."""

import html
from dataclasses import dataclass, field

import numpy as np

from ..files import Table
from ..report.page import scrolled
from ..report.report import Study

#: What is drawn of a table, and the longer side of a picture.
ROWS, COLUMNS, PIXELS = 80, 40, 240
_HEAD_ROWS, _HEAD_COLUMNS, _HEAD_WORD = 6, 9, 22


@dataclass(frozen=True)
class Sheet:
    """One matrix to draw: ``cells`` (rows, columns) of numbers, or (rows, columns, 3) of colours;
    NaN is missing. ``words``: of a table what each cell says; ``low``, ``high``: of a picture in
    grey the ends of its intervals.
    """

    title: str
    cells: np.ndarray
    words: list[list[str]] | None = None
    low: np.ndarray | None = None
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Frame:
    """What all sheets of one table share: ``missing`` (rows, columns); ``places``: the words for
    where a cell is; ``names`` of columns; ``limits`` of the colours.
    """

    is_image: bool
    missing: np.ndarray
    limits: tuple[float, float]
    names: tuple[str, ...] = ()
    places: list[list[str]] | None = field(default=None, repr=False)


def frame_of(table: Table, study: Study) -> Frame:
    """The part of the table that is drawn."""
    given = _cut(study, study.picture(table.values))
    missing = np.isnan(given) if given.ndim == 2 else np.isnan(given).any(axis=2)
    if study.is_image:
        return Frame(True, missing, study.limits)
    m, n = missing.shape
    places = [[table.place(i, j) for j in range(n)] for i in range(m)]
    names = tuple(feature.name for feature in table.features[:n])
    return Frame(False, missing, study.limits, names, places)


def sheet(
    title: str,
    table: Table,
    study: Study,
    values: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray] | None = None,
) -> Sheet:
    """The ``values`` (as `Table.values`), with the ``ends`` of intervals where there are some."""
    cells = _cut(study, study.picture(values))
    if study.is_image:
        if ends is None or cells.ndim == 3:
            return Sheet(title, cells.astype(np.float32))
        low, high = (_cut(study, end).astype(np.float32) for end in ends)
        return Sheet(title, cells.astype(np.float32), low=low, high=high)
    m, n = cells.shape
    words = [[_words(table, values, ends, i, j) for j in range(n)] for i in range(m)]
    return Sheet(title, cells.astype(np.float32), words)


def head(table: Table) -> str:
    """The first cells of a table as HTML, missing ones marked; nothing for an image."""
    if table.kind == "image":
        return ""
    m, n = (min(a, b) for a, b in zip(table.values.shape, (_HEAD_ROWS, _HEAD_COLUMNS), strict=True))
    names = "".join(f"<th>{_escaped(f.name)}</th>" for f in table.features[:n])
    rows = ""
    for i in range(m):
        cells = (_cell(table, table.values[i, j], j) for j in range(n))
        rows += "<tr>" + "".join(
            '<td class="gone">missing</td>' if not cell else f"<td>{_escaped(cell)}</td>"
            for cell in cells
        )
        rows += "</tr>"
    return scrolled(
        f"<table><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>", "first rows"
    )


def _cut(study: Study, shown: np.ndarray) -> np.ndarray:
    if not study.is_image:
        return shown[:ROWS, :COLUMNS]
    step = -(-max(shown.shape[:2]) // PIXELS)
    return shown[::step, ::step]


def _words(
    table: Table,
    values: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray] | None,
    i: int,
    j: int,
) -> str:
    cell = _cell(table, values[i, j], j)
    if not np.isnan(table.values[i, j]):
        return f"{cell}, as given"
    if ends is None or np.isnan(ends[0][i, j]):
        return cell or "missing"
    low, high = (_cell(table, end[i, j], j) for end in ends)
    return f"{cell} (90 %: {low} to {high})"


def _cell(table: Table, value: float, column: int) -> str:
    if np.isnan(value):
        return ""
    labels = table.features[column].categories
    return str(labels[int(value)])[:60] if labels else f"{value:.5g}"


def _escaped(text: str) -> str:
    return html.escape(text if len(text) <= _HEAD_WORD else text[: _HEAD_WORD - 1] + "…")
