"""Excel workbooks, through openpyxl (the extra ``excel``) and `worksheet`: one sheet is a table.

The output is a copy of the workbook in which only the missing cells get values.
"""

import io
import math
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..completion.data.features import Feature, FeatureKind
from ..errors import InputError
from .archives import open_archive
from .cells import Cells, parse_cells
from .limits import check_entries
from .mixed_columns import CellSource
from .numbers import PLAIN, NumberFormat, guess_format, shape_of
from .refusals import listed, reading, require, shown
from .selection import Selection
from .table import Table
from .text_options import TextOptions
from .worksheet import CellValue, Sheet, covered, letters, reference, sheet_parts, with_part

if TYPE_CHECKING:
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

SUFFIXES = (".xlsx", ".xlsm")


@dataclass(kw_only=True)
class ExcelTable(Table):
    """A sheet of a workbook; the columns are typed by what their cells hold."""

    values: np.ndarray
    features: tuple[Feature, ...]
    carried: tuple[str, ...]
    notes: tuple[str, ...]
    suffixes: tuple[str, ...]
    content: bytes  # of the file
    part: str  # of the archive, which holds the sheet
    sheet: Sheet
    title: str  # of the sheet, and what else is in the workbook
    rows: list[int]  # where the rows of ``values`` lie in the sheet, from 1
    columns: list[int]
    layout: str
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

    def escape_formulas(self, path: Path) -> None:
        """Nothing has to be done: completed labels are cells of the type text."""

    def place(self, row: int, column: int) -> str:
        cell = reference(self.rows[row], self.columns[column])
        return f"cell {cell}, column {shown(self.features[column].name)}"

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
    """The cells of a table with their places; None is a cell that the file does not have."""

    rows: list[int]
    columns: list[int]
    cells: list[list["Cell | None"]]


def read_excel(
    path: Path,
    options: TextOptions | None = None,
    selection: Selection | None = None,
    *,
    sheet: str | None = None,
) -> ExcelTable:
    """Read the sheet called ``sheet`` of an Excel workbook, by default the first that is not empty.

    Missing are empty cells, errors such as #N/A, and the texts that mark missing cells in CSV.
    Formulas count by the values they had when the file was saved. Numbers that are stored as text
    are read as in CSV; ``options`` and ``selection`` are those of `read_text`.
    """
    require("openpyxl", path, "reading Excel")
    options, selection = options or TextOptions(), selection or Selection()
    content = path.read_bytes()
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(
            f"INPUT: '{path}' has a password or is an old .xls file; save it as .xlsx without a "
            "password."
        )
    with reading(path, "Excel"):
        with open_archive(path, content) as archive:
            parts = sheet_parts(archive)
            check_entries(path, sum(covered(archive.read(part)) for part in {*parts.values()}))
            worksheet, title = _pick_sheet(path, content, sheet)
            part = parts[worksheet.title]
            xml = Sheet(archive.read(part))
        xml.check(place for place, cell in worksheet._cells.items() if _is_filled(cell))
        if (cell := xml.uncalculated()) is not None:
            raise InputError(
                f"INPUT: '{path}' has formulas without a value in {title}, such as cell {cell}; "
                "open it in Excel or LibreOffice and save it, which calculates them."
            )
        grid = _grid(worksheet, options.skip_lines)
        _check_merged(path, title, worksheet, grid)
    if not grid.rows:
        raise InputError(f"INPUT: '{path}' has no cells with data in {title}; give a table.")
    cells, numbers = _cells(grid, options)

    def place(row: int, column: int) -> str:
        return f"cell {reference(grid.rows[row], grid.columns[column])} of {title}"

    names = [letters(column) for column in grid.columns]
    notes = [numbers.describe()] if options.numbers is None and numbers.marks else []
    found = CellSource(path, cells, numbers, options, place, names).read(selection)
    if found.dropped:
        raise InputError("--drop: a workbook keeps its columns; give --keep instead.")
    return ExcelTable(
        values=found.values,
        features=tuple(
            replace(feature, categories=_as_stored(grid, k, feature.categories))
            for k, feature in zip(found.fitted, found.features, strict=True)
        ),
        carried=found.carried,
        notes=(*notes, *found.notes),
        suffixes=(path.suffix.lower(),),
        content=content,
        part=part,
        sheet=xml,
        title=title,
        rows=grid.rows[found.start :],
        columns=[grid.columns[k] for k in found.fitted],
        unfitted=found.unfitted,
        layout="header line" if found.start else "no header line",
    )


def _pick_sheet(path: Path, content: bytes, wanted: str | None) -> tuple["Worksheet", str]:
    """The sheet, and words for it."""
    import openpyxl

    with warnings.catch_warnings():  # of what openpyxl would lose in writing, which it does not do
        warnings.simplefilter("ignore")
        workbook = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
    sheets = {sheet.title: sheet for sheet in workbook.worksheets}
    if wanted is not None and wanted not in sheets:
        raise InputError(f"--sheet: '{path}' has no sheet '{wanted}'; it has {listed(sheets)}.")
    shown = [s for s in sheets.values() if s.sheet_state == "visible"] or [*sheets.values()]
    full = [s for s in shown if any(_is_filled(cell) for cell in s._cells.values())]
    if not full and wanted is None:
        raise InputError(f"INPUT: '{path}' is empty; give a workbook with a table.")
    found = full[0] if wanted is None else sheets[wanted]
    others = [s.title for s in full if s is not found] if wanted is None else []
    more = f" (not {listed(others, 5)}; choose with --sheet)" if others else ""
    return found, f"sheet '{found.title}'{more}"


def _is_filled(cell: "Cell") -> bool:
    return cell.value is not None and str(cell.value).strip() != ""


def _grid(sheet: "Worksheet", skipped: int) -> _Grid:
    """The rows and columns that are not empty, below so many rows."""
    # by (row, column); only those that the file has
    cells = {place: cell for place, cell in sheet._cells.items() if place[0] > skipped}
    filled = [place for place, cell in cells.items() if _is_filled(cell)]
    rows = sorted({row for row, _ in filled})
    columns = sorted({column for _, column in filled})
    return _Grid(rows, columns, [[cells.get((row, k)) for k in columns] for row in rows])


def _cells(grid: _Grid, options: TextOptions) -> tuple[Cells, NumberFormat]:
    """The cells as those of a text file, but that numbers are numbers already."""
    texts = [[_shown(cell) for cell in row] for row in grid.cells]
    markers, numbers = options.markers(), options.numbers
    if numbers is None:
        stored = [_shown(cell) for row in grid.cells for cell in row if _number(cell) is None]
        shaped = [text for text in stored if shape_of(text) and not markers.mean_missing(text)]
        numbers = replace(guess_format(shaped) or PLAIN, notes=options.notes)
    cells = parse_cells(texts, options.markers(numbers), numbers)
    for i, row in enumerate(grid.cells):
        for k, cell in enumerate(row):
            if (number := _number(cell)) is not None:
                cells.values[i, k], cells.is_text[i, k] = number, False
    cells.values[:] = markers.hide(cells.values)
    return cells, numbers


def _as_stored(grid: _Grid, k: int, labels: Sequence[Hashable]) -> tuple[Hashable, ...]:
    """Labels as the cells of a column hold them: texts, truth values, numbers."""
    cells = (row[k] for row in grid.cells)
    stored = {_shown(cell): cell.value for cell in cells if cell is not None}
    return tuple(stored.get(str(label), label) for label in labels)


def _number(cell: "Cell | None") -> float | None:
    """The number that a cell holds as such."""
    value = None if cell is None else cell.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _shown(cell: "Cell | None") -> str:
    """What a cell says, as text; whole numbers with a point where their format shows decimals."""
    if cell is None or cell.value is None or cell.data_type == "e":
        return ""
    number = _number(cell)
    if number is not None:
        whole = number.is_integer() and not ("." in cell.number_format or "%" in cell.number_format)
        return f"{number:.0f}" if whole else repr(number)
    if isinstance(cell.value, datetime):
        return cell.value.isoformat(sep=" ")
    return str(cell.value)


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


def _cell_value(number: float, feature: Feature) -> CellValue:
    if feature.kind is FeatureKind.category:
        label = feature.categories[int(number)]
        return label if isinstance(label, bool | int | float) else str(label)
    return round(number) if float(number).is_integer() else float(number)
