"""CSV and TSV: only the missing cells change; all other bytes are written back as they were."""

import io
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import InputError
from .numbers import is_number, parse_number, spelling
from .table import Table

#: Cells that are read as missing, compared in lower case without surrounding blanks.
MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "-nan", "null", "none", "nil", "?", ".", "-", "--", "missing"}
)

_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Line:
    """One record: its number in the file (from 1), raw cells and line end."""

    number: int
    cells: list[str]
    end: str


@dataclass
class TextTable(Table):
    """A delimited text file, held as its raw cells (quotes and blanks included) and line ends."""

    values: np.ndarray
    suffixes: tuple[str, ...]
    delimiter: str
    encoding: str
    lines: list[Line]
    data: list[int]  # indices into `lines` of the rows of `values`
    first_column: int  # 1 if the first column holds row labels, else 0
    header: list[str] | None

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        rows = {line: row for row, line in enumerate(self.data)}
        missing = np.isnan(self.values)
        out = []
        for index, line in enumerate(self.lines):
            cells = line.cells
            row = rows.get(index)
            if row is not None and missing[row].any():
                cells = list(cells)
                for column in np.flatnonzero(missing[row]):
                    # ten digits: more than any completion is worth, and the file stays readable
                    cells[self.first_column + column] = format(filled[row, column], ".10g")
            out.append(self.delimiter.join(cells) + line.end)
        return "".join(out).encode(self.encoding)

    def place(self, row: int, column: int) -> str:
        return f"line {self.lines[self.data[row]].number}, column {self.column_name(column)}"

    def column_name(self, column: int) -> str:
        if self.header is not None:
            return f"'{_plain(self.header[self.first_column + column])}'"
        return str(self.first_column + column + 1)

    def describe(self) -> str:
        layout = ["header line" if self.header is not None else "no header line"]
        layout.append("row labels in the first column" if self.first_column else "no row labels")
        return f"{super().describe()}; {', '.join(layout)}"


def read_text(
    path: Path,
    *,
    missing: frozenset[str] = frozenset(),
    header: bool | None = None,
    labels: bool | None = None,
) -> TextTable:
    """Read a CSV or TSV file; ``header`` and ``labels`` are recognised where they are None.

    The first line is a header if one of its cells is text where the rest of the column is numbers.
    The first column holds row labels if it has text below the header, or if the header leaves its
    corner empty (as data frames are exported).
    """
    text, encoding = _decode(path)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _guess_delimiter(text)
    lines = _split(text, delimiter)
    body = [i for i, line in enumerate(lines) if line.cells != [""] or len(lines[0].cells) == 1]
    if not body:
        raise InputError(
            f"INPUT: '{path}' is empty; give a table with at least one row and one column of "
            "numbers."
        )
    _check_rectangular(path, [lines[i] for i in body])

    markers = MISSING | {marker.strip().lower() for marker in missing}
    if header is None or labels is None:
        header, labels = _guess_layout([lines[i].cells for i in body], markers, header, labels)
    first_column = 1 if labels else 0
    data = body[1:] if header else body
    names = lines[body[0]].cells if header else None
    if not data or len(lines[body[0]].cells) == first_column:
        raise InputError(
            f"INPUT: '{path}' has no rows of numbers below its header; give a table with data."
        )

    values, bad = _numbers([lines[i].cells for i in data], first_column, markers)
    table = TextTable(
        values, (path.suffix.lower(),), delimiter, encoding, lines, data, first_column, names
    )
    if bad:
        named = ", ".join(table.column_name(column) for column in list(bad)[:5]) + (
            ", …" if len(bad) > 5 else ""
        )
        column, (row, cell) = next(iter(bad.items()))
        raise InputError(
            f"INPUT: '{path}' has text in column{'s' if len(bad) > 1 else ''} {named} (such as "
            f"{cell!r} in {table.place(row, column)}){spelling(cell)}; remove the column, or name "
            "the cell as a marker with --missing."
        )
    return table


def _decode(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    if b"\0" in data:
        raise InputError(f"INPUT: '{path}' is not a plain text table; save it as UTF-8 CSV or TSV.")
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        # every byte is a character there, so labels come back byte for byte
        return data.decode("latin-1"), "latin-1"


def _guess_delimiter(text: str) -> str:
    first = re.sub(r'"[^"]*"', "", text.lstrip("\ufeff\r\n").split("\n", 1)[0])
    return max(_DELIMITERS, key=first.count)  # the earliest, a comma, where none occurs


def _split(text: str, delimiter: str) -> list[Line]:
    d = re.escape(delimiter)
    cell = re.compile(rf'((?:\s*"(?:[^"]|"")*")?[^{d}]*)(?:{d}|$)')
    lines: list[Line] = []
    pending, number = "", 0
    for count, part in enumerate(io.StringIO(text, newline=""), start=1):
        number = number if pending else count
        pending += part
        if pending.count('"') % 2:  # a quoted line break: the record goes on
            continue
        content = pending.rstrip("\r\n")
        end = pending[len(content) :]
        cells = (
            [match.group(1) for match in cell.finditer(content)]
            if '"' in content
            else content.split(delimiter)
        )
        if '"' in content and not content.endswith(delimiter):
            cells.pop()  # the empty match at the very end
        lines.append(Line(number, cells, end))
        pending = ""
    if pending:
        raise InputError(
            f"INPUT: the quotation mark opened in line {number} is never closed; close it."
        )
    return lines


def _check_rectangular(path: Path, lines: list[Line]) -> None:
    width = len(lines[0].cells)
    for line in lines:
        if len(line.cells) != width:
            raise InputError(
                f"INPUT: line {line.number} of '{path}' has {len(line.cells)} cells where line "
                f"{lines[0].number} "
                f"has {width}; give every line the same number of cells."
            )


def _plain(cell: str) -> str:
    """The cell without the byte-order mark, blanks and quotes around it."""
    cell = cell.lstrip("\ufeff").strip()
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def _is_text(cell: str, markers: frozenset[str]) -> bool:
    cell = _plain(cell)
    return cell.lower() not in markers and not is_number(cell)


def _guess_layout(
    rows: list[list[str]], markers: frozenset[str], header: bool | None, labels: bool | None
) -> tuple[bool, bool]:
    first, below = rows[0], rows[1:]
    text_below = any(_is_text(row[0], markers) for row in below)
    corner_empty = not _plain(first[0])
    text_right = any(_is_text(cell, markers) for cell in first[1:])
    if header is None and _is_text(first[0], markers) and _names_years(rows):
        header = True
    if header is None:
        header = (
            text_right
            or (corner_empty and text_below)
            or (_is_text(first[0], markers) and not text_below)
        )
    if labels is None:
        labels = len(first) > 1 and (text_below or (header and corner_empty))
    return header, labels


def _names_years(rows: list[list[str]]) -> bool:
    """Whether the first line counts up (years, hours, …) far from the numbers below it."""
    names = [_plain(cell) for cell in rows[0][1:]]
    if len(names) < 2 or not all(name.isdigit() for name in names):
        return False
    counts = [int(name) for name in names]
    cells = (_plain(cell) for row in rows[1:] for cell in row[1:])
    below = [parse_number(cell) for cell in cells if is_number(cell)]
    rises = all(a < b for a, b in pairwise(counts))
    return rises and bool(below) and (counts[0] > max(below) or counts[-1] < min(below))


def _numbers(
    rows: list[list[str]], first_column: int, markers: frozenset[str]
) -> tuple[np.ndarray, dict[int, tuple[int, str]]]:
    """The matrix, and for each column with text the first such cell as column: (row, cell)."""
    values = np.full((len(rows), len(rows[0]) - first_column), np.nan)
    bad: dict[int, tuple[int, str]] = {}
    for i, row in enumerate(rows):
        for j, raw in enumerate(row[first_column:]):
            cell = _plain(raw)
            if cell.lower() in markers:
                continue
            try:
                values[i, j] = parse_number(cell)
            except ValueError:
                bad.setdefault(j, (i, cell))
    return values, dict(sorted(bad.items()))
