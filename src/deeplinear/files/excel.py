"""Excel workbooks, through openpyxl (the extra ``excel``) and `worksheet`: one sheet is a table.

The output is a copy of the workbook in which only the missing cells get values.
"""

import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..completion.data.features import Feature, FeatureKind
from ..errors import InputError
from .archives import open_archive
from .categories import few_labels
from .numbers import is_number, parse_number
from .refusals import reading, require
from .table import Table
from .text import MISSING, _guess_layout
from .worksheet import CellValue, Sheet, letters, reference, sheet_parts, with_part

if TYPE_CHECKING:
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

SUFFIXES = (".xlsx", ".xlsm")

_DATES = (datetime, date, time, timedelta)
#: The entry of a cell; None is missing.
Entry = float | bool | str | datetime | date | time | timedelta | None
_COMMA = re.compile(r"[+-]?\d*,\d+")


@dataclass
class ExcelTable(Table):
    """A sheet of a workbook; the columns are typed by what their cells hold."""

    content: bytes  # of the file
    part: str  # of the archive, which holds the sheet
    sheet: Sheet
    title: str  # of the sheet, and what else is in the workbook
    rows: list[int]  # where the rows of ``values`` lie in the sheet, from 1
    columns: list[int]
    suffixes: tuple[str, ...]
    layout: str
    values: np.ndarray
    features: tuple[Feature, ...]
    carried: tuple[str, ...]
    unfitted: list[int]

    def __post_init__(self) -> None:
        self._check_formulas()

    def hide(self, mask: np.ndarray) -> None:
        super().hide(mask)
        self._check_formulas()

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        cells = {
            (self.rows[i], self.columns[j]): _cell_value(filled[i, j], self.features[j])
            for i, j in np.argwhere(np.isnan(self.values))
        }
        changed = any(self.sheet.has_formula(*place) for place in cells)
        xml = self.sheet.with_values(cells)
        return with_part(self.content, self.part, xml, formulas_changed=changed)

    def place(self, row: int, column: int) -> str:
        cell = reference(self.rows[row], self.columns[column])
        return f"cell {cell}, column '{self.features[column].name}'"

    def describe(self) -> str:
        lost = sum(self.sheet.has_formula(*place) for place in self._missing())
        formulas = f"; formulas without a result that become values: {lost}" if lost else ""
        return f"{self.title}: {super().describe()}; {self.layout}{formulas}"

    def _missing(self) -> list[tuple[int, int]]:
        """The places of the missing cells in the sheet."""
        return [(self.rows[i], self.columns[j]) for i, j in np.argwhere(np.isnan(self.values))]

    def _check_formulas(self) -> None:
        """A formula that stands for other cells too cannot give way to a value."""
        for place in self._missing():
            if self.sheet.leads_formula(*place):
                raise InputError(
                    f"INPUT: {self.title}: the missing cell {reference(*place)} belongs to a "
                    "formula of several cells; replace these formulas by their values."
                )


@dataclass(frozen=True)
class _Grid:
    """The cells of a table with their places, entries (None is missing) and the layout."""

    rows: list[int]
    columns: list[int]
    cells: list[list["Cell | None"]]
    entries: list[list[Entry]]

    def texts(self) -> list[list[str]]:
        return [["" if entry is None else str(entry) for entry in row] for row in self.entries]


def read_excel(
    path: Path,
    *,
    missing: frozenset[str] = frozenset(),
    header: bool | None = None,
    labels: bool | None = None,
    sheet: str | None = None,
    decimal: str = ".",
) -> ExcelTable:
    """Read the sheet called ``sheet`` of an Excel workbook, by default the first that is not empty.

    Missing are empty cells, errors such as #N/A, and the texts that mark missing cells in CSV.
    Formulas count by the values they had when the file was saved. ``decimal`` is the decimal mark
    of numbers that are stored as text.
    """
    require("openpyxl", "excel", path, "Excel")
    content = path.read_bytes()
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(
            f"INPUT: '{path}' has a password or is an old .xls file; save it as .xlsx without a "
            "password."
        )
    markers = MISSING | {marker.strip().lower() for marker in missing}
    with reading(path, "Excel"):
        with open_archive(content) as archive:
            worksheet, title = _pick_sheet(path, content, sheet)
            part = sheet_parts(archive)[worksheet.title]
            xml = Sheet(archive.read(part))
        if (cell := xml.uncalculated()) is not None:
            raise InputError(
                f"INPUT: '{path}' has formulas without a value in {title}, such as cell {cell}; "
                "open it in Excel or LibreOffice and save it, which calculates them."
            )
        grid = _grid(worksheet, markers, decimal)
        _check_merged(path, title, worksheet, grid)
    if not grid.rows:
        raise InputError(f"INPUT: '{path}' has no cells with data in {title}; give a table.")
    _check_commas(path, grid, first=1 if labels else 0)
    if header is None or labels is None:
        header, labels = _guess_layout(grid.texts(), markers, header, labels)
    names = [
        str(entry) if header and entry is not None else letters(column)
        for column, entry in zip(grid.columns, grid.entries[0], strict=True)
    ]
    if len(grid.rows) == int(header) or len(grid.columns) == int(labels):
        raise InputError(f"INPUT: '{path}' has no rows of numbers below its header in {title}.")
    return _table(path, content, part, xml, title, grid, names, header, labels)


def _pick_sheet(path: Path, content: bytes, wanted: str | None) -> tuple["Worksheet", str]:
    """The sheet, and words for it."""
    import openpyxl

    with warnings.catch_warnings():  # of what openpyxl would lose in writing, which it does not do
        warnings.simplefilter("ignore")
        workbook = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if wanted is not None and wanted not in sheets:
        raise InputError(
            f"--sheet: '{path}' has no sheet '{wanted}'; it has {', '.join(map(repr, sheets))}."
        )
    shown = [s for s in sheets.values() if s.sheet_state == "visible"] or [*sheets.values()]
    full = [s for s in shown if any(_is_filled(cell) for cell in s._cells.values())]
    if not full and wanted is None:
        raise InputError(f"INPUT: '{path}' is empty; give a workbook with a table.")
    found = full[0] if wanted is None else sheets[wanted]
    others = [s.title for s in full if s is not found] if wanted is None else []
    more = f" (not {', '.join(map(repr, others[:5]))}; choose with --sheet)" if others else ""
    return found, f"sheet '{found.title}'{more}"


def _is_filled(cell: "Cell") -> bool:
    return cell.value is not None and str(cell.value).strip() != ""


def _grid(sheet: "Worksheet", markers: frozenset[str], decimal: str) -> _Grid:
    """The rows and columns that are not empty."""
    cells = sheet._cells  # by (row, column); only those that the file has
    filled = [place for place, cell in cells.items() if _is_filled(cell)]
    rows = sorted({row for row, _ in filled})
    columns = sorted({column for _, column in filled})
    grid = [[cells.get((row, column)) for column in columns] for row in rows]
    entries = [[_entry(cell, markers, decimal) for cell in row] for row in grid]
    return _Grid(rows, columns, grid, entries)


def _entry(cell: "Cell | None", markers: frozenset[str], decimal: str) -> Entry:
    if cell is None or cell.value is None or cell.data_type == "e":
        return None
    value = cell.value
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in markers:
            return None
        number = text.replace(",", ".") if decimal == "," and _COMMA.fullmatch(text) else text
        return parse_number(number) if is_number(number) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, (bool, *_DATES)) else str(value)


def _check_merged(path: Path, title: str, sheet: "Worksheet", grid: _Grid) -> None:
    for merged in sheet.merged_cells.ranges:
        left, top, right, bottom = merged.bounds
        if any(top <= row <= bottom for row in grid.rows) and any(
            left <= column <= right for column in grid.columns
        ):
            raise InputError(
                f"INPUT: '{path}' has merged cells ({merged.coord}) in {title}; unmerge them, so "
                "that each cell holds one entry."
            )


def _check_commas(path: Path, grid: _Grid, first: int) -> None:
    """Refuse columns of numbers that are text for their decimal comma."""
    for j in range(first, len(grid.columns)):
        seen = [(row[j], i) for i, row in zip(grid.rows[1:], grid.entries[1:], strict=True)]
        texts = [(entry.strip(), i) for entry, i in seen if isinstance(entry, str)]
        others = [entry for entry, _ in seen if not isinstance(entry, str | float | None)]
        if texts and not others and all(_COMMA.fullmatch(text) for text, _ in texts):
            text, row = texts[0]
            raise InputError(
                f"INPUT: '{path}' has numbers as text with a decimal comma (such as '{text}' in "
                f"cell {reference(row, grid.columns[j])}); read them with --decimal ','."
            )


def _table(
    path: Path,
    content: bytes,
    part: str,
    sheet: Sheet,
    title: str,
    grid: _Grid,
    names: Sequence[str],
    header: bool,
    labels: bool,
) -> ExcelTable:
    body, rows = grid.entries[int(header) :], grid.rows[int(header) :]
    fitted: dict[int, tuple[Feature, list[float]]] = {}
    carried = [f"'{names[0]}' (row labels)"] if labels else []
    for j in range(int(labels), len(grid.columns)):
        entries = [row[j] for row in body]
        shown = [row[j] for row in grid.cells[int(header) :]]
        kind = _kind(path, entries, [reference(row, grid.columns[j]) for row in rows], names[j])
        if kind == "number" and _is_whole(entries, shown):
            fitted[j] = Feature(names[j], FeatureKind.integer), _codes(entries, None)
        elif kind == "number":
            fitted[j] = Feature(names[j]), _codes(entries, None)
        elif kind == "boolean" or (kind == "text" and few_labels(*_counts(entries))):
            found = {entry for entry in entries if entry is not None}
            choice = (False, True) if kind == "boolean" else tuple(sorted(map(str, found)))
            fitted[j] = Feature(names[j], FeatureKind.category, choice), _codes(entries, choice)
        else:
            carried.append(f"'{names[j]}' ({kind})")
    values = np.array([numbers for _, numbers in fitted.values()]).T.reshape(len(body), -1)
    layout = ["header line" if header else "no header line"]
    layout.append("row labels in the first column" if labels else "no row labels")
    features = tuple(feature for feature, _ in fitted.values())
    columns = [grid.columns[j] for j in fitted]
    unfitted = [j - int(labels) for j in range(int(labels), len(names)) if j not in fitted]
    suffixes = (path.suffix.lower(),)
    described = ", ".join(layout)
    return ExcelTable(
        content, part, sheet, title, rows, columns, suffixes, described, values, features,
        tuple(carried), unfitted,
    )  # fmt: skip


def _counts(entries: Sequence[Entry]) -> tuple[int, int]:
    observed = [entry for entry in entries if entry is not None]
    return len(set(observed)), len(observed)


def _codes(entries: Sequence[Entry], labels: Sequence[bool | str] | None) -> list[float]:
    """Numbers, or the positions of labels; NaN for missing."""
    if labels is None:
        return [np.nan if entry is None else float(entry) for entry in entries]  # type: ignore[arg-type]
    places = {label: float(code) for code, label in enumerate(labels)}
    return [np.nan if entry is None else places[entry] for entry in entries]  # type: ignore[index]


def _word(entry: Entry) -> str:
    if isinstance(entry, bool):
        return "boolean"
    if isinstance(entry, float):
        return "number"
    return "text" if isinstance(entry, str) else "dates"


def _kind(path: Path, entries: Sequence[Entry], places: Sequence[str], name: str) -> str:
    """What a column holds: number, boolean, text, dates, or mixed.

    Numbers with other cells among them are refused, unless most cells are others.
    """
    seen = [
        (entry, place) for entry, place in zip(entries, places, strict=True) if entry is not None
    ]
    counts = Counter(_word(entry) for entry, _ in seen)
    if len(counts) <= 1:
        return next(iter(counts), "number")
    if 2 * counts["number"] < len(seen):
        return "mixed"
    entry, place = next(pair for pair in seen if _word(pair[0]) != "number")
    raise InputError(
        f"INPUT: '{path}' has {_word(entry)} among the numbers of column '{name}' (such as "
        f"'{entry}' in cell {place}); remove the column, or name the cell as a marker with "
        "--missing."
    )


def _is_whole(entries: Sequence[Entry], cells: Sequence["Cell | None"]) -> bool:
    """Whether a column shows whole numbers only: none has decimals, or a format with decimals."""
    seen = [
        (entry, cell)
        for entry, cell in zip(entries, cells, strict=True)
        if isinstance(entry, float)
    ]
    formats = {cell.number_format for _, cell in seen if cell is not None}
    whole = all(entry.is_integer() for entry, _ in seen)
    return bool(seen) and whole and not any("." in form or "%" in form for form in formats)


def _cell_value(number: float, feature: Feature) -> CellValue:
    if feature.kind is FeatureKind.category:
        label = feature.categories[int(number)]
        return label if isinstance(label, bool) else str(label)
    return round(number) if feature.kind is FeatureKind.integer else float(number)
