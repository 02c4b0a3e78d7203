"""CSV and other tables in text: only the missing cells change; all other bytes come back."""

from bisect import bisect
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..completion.data.features import Feature, FeatureKind
from ..errors import InputError
from .cells import Cells, parse_cells, sampled
from .dialect import BLANK, plain, plain_cells
from .formulas import is_formula, neutral
from .kinds import padded_width
from .layout import find_layout
from .mixed_columns import CellSource, number_like
from .numbers import PLAIN, NumberFormat, guess_format, shape_of
from .opening import compress, encoding_of, file_type, open_bytes
from .records import Line, Records, read_records
from .refusals import SHOWN, shown
from .selection import Selection
from .table import Table
from .text_options import TextOptions


@dataclass(kw_only=True)
class TextTable(Table):
    """A delimited text file, held as its raw cells (quotes and blanks included) and line ends."""

    values: np.ndarray
    features: tuple[Feature, ...]
    suffixes: tuple[str, ...]
    carried: tuple[str, ...]
    notes: tuple[str, ...]
    records: Records
    encoding: str
    mark: str  # the byte-order mark before all, or nothing
    numbers: NumberFormat
    data: list[int]  # positions in the records' lines of the rows of `values`
    columns: list[int]  # positions in the file of the columns of `values`
    dropped: frozenset[int]
    unfitted: list[int]
    left_out: list[int]
    layout: str
    percent: frozenset[int]  # columns of percentages
    widths: dict[int, int]  # digits of columns whose whole numbers have zeros before them

    escaped: bool = False  # whether cells that are formulas are written as text

    def escape_formulas(self, path: Path) -> None:
        self.escaped = True

    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        rows = {line: row for row, line in enumerate(self.data)}
        missing = np.isnan(self.values)
        glue = "" if self.records.separator == BLANK else self.records.separator
        body = set(self.records.body)
        out = []
        for index, line in enumerate(self.records.lines):
            cells, row = line.cells, rows.get(index)
            if row is not None and missing[row].any():
                cells = list(cells)
                for column in np.flatnonzero(missing[row]).tolist():
                    k = self.columns[column]
                    blanks = cells[k][: len(cells[k]) - len(cells[k].lstrip(" \t"))]
                    cells[k] = blanks + self._written(column, float(filled[row, column]))
            if self.dropped and index in body:
                cells = [cell for k, cell in enumerate(cells) if k not in self.dropped]
            if self.escaped:
                cells = self._harmless(cells, whole=index not in body)
            out.append(glue.join(cells) + line.end)
        return (self.mark + "".join(out)).encode(self.encoding)

    def _written(self, column: int, value: float) -> str:
        """A completed entry as the file writes its column."""
        feature = self.features[column]
        if feature.kind == FeatureKind.category:
            text = str(feature.categories[int(value)])
        else:
            whole = feature.kind is FeatureKind.integer and value.is_integer()
            width = self.widths.get(self.columns[column], 0)
            text = f"{value:0{width}.0f}" if whole else self.numbers.write(value)
            text += "%" * (self.columns[column] in self.percent)
        return self._quoted(text)

    def _quoted(self, text: str) -> str:
        """A text as the raw cell that is read as it."""
        marks = ('"', self.records.separator, "\r", "\n")
        if any(mark in text for mark in marks) or text != text.strip() or text.startswith("#"):
            text = '"' + text.replace('"', '""') + '"'
        return text

    def _harmless(self, cells: list[str], *, whole: bool) -> list[str]:
        """Raw cells, those of a line that is no record (``whole``) still to be split."""
        if whole and self.records.separator != BLANK:
            between = self.records.separator
            pieces = "".join(cells).split(between)
            return [between.join(neutral(piece, self.numbers.reads) for piece in pieces)]
        if whole:
            return [neutral(cell, self.numbers.reads) for cell in cells]
        return [
            self._quoted("'" + plain(cell)) if is_formula(plain(cell), self.numbers.reads) else cell
            for cell in cells
        ]

    def pack(self, data: bytes, path: Path) -> bytes:
        return compress(data, path)

    def place(self, row: int, column: int) -> str:
        line = self.records.lines[self.data[row]].number
        name = self.features[column].name
        plain_number = name.isdigit() and len(name) <= SHOWN
        return f"line {line}, column {name if plain_number else shown(name)}"

    def describe(self) -> str:
        return f"{super().describe()}; {self.layout}"


def read_text(
    path: Path, options: TextOptions | None = None, selection: Selection | None = None
) -> TextTable:
    """Read a table in text; what ``options`` leaves open is recognized.

    Columns of numbers and categories are fitted, dates, texts and labels carried through. Raises
    `InputError` that names the line of a cell that is neither, and the options that would read it.
    """
    options, selection = options or TextOptions(), selection or Selection()
    text, encoding = decode(path, options)
    mark = "\ufeff" * text.startswith("\ufeff")
    records = read_records(text.removeprefix(mark), file_type(path), options)
    if not records.body:
        raise InputError(
            f"INPUT: '{path}' is empty; give a table with at least one row and one column of "
            "numbers."
        )
    check_rectangular(path, records)
    return _Reader(path, options, records).table(selection, encoding, mark)


class _Reader:
    """From the records of a file to its table."""

    def __init__(self, path: Path, options: TextOptions, records: Records) -> None:
        self.path, self.options, self.records = path, options, records
        self._look(records.rows())
        if records.heading is not None:
            # a commented line names the columns only if no other line does
            given = options.header is not None
            if given or find_layout(self.cells, None, options.labels).header:
                records.heading = None
            else:
                self._look([records.heading, *records.rows()])

    def _look(self, rows: list[list[str]]) -> None:
        if not self.records.bare:
            rows = [plain_cells(row) for row in rows]
        options, simple = self.options, self.records.simple
        self.numbers = options.numbers or NumberFormat(notes=options.notes)
        self.cells = parse_cells(rows, options.markers(self.numbers), self.numbers, simple=simple)
        if options.numbers is None and _needs_marks(self.cells):
            guess = guess_format(number_like(self.cells, options.markers()))
            if guess is not None and guess != PLAIN:
                self.numbers = replace(guess, notes=options.notes)
                self.cells = parse_cells(rows, options.markers(self.numbers), self.numbers)

    def table(self, selection: Selection, encoding: str, mark: str) -> TextTable:
        records, path = self.records, self.path
        commented = records.heading is not None
        header = True if commented or _is_quoted_heading(records.rows()) else None

        def place(row: int, column: int) -> str:
            return f"line {records.lines[records.body[row - commented]].number}"

        names = [str(k + 1) for k in range(len(self.cells.first))]
        source = CellSource(path, self.cells, self.numbers, self.options, place, names)
        found = source.read(selection, header)
        start = found.start
        data = records.body[start - commented :]
        return TextTable(
            values=found.values,
            features=found.features,
            suffixes=(file_type(path) or ".csv",),
            carried=found.carried,
            notes=tuple([*self._notes(), *found.notes]),
            records=records,
            encoding=encoding,
            mark=mark,
            numbers=self.numbers,
            data=data,
            columns=found.fitted,
            dropped=found.dropped,
            unfitted=found.unfitted,
            left_out=[bisect(data, i) + k for k, i in enumerate(records.empty)],
            layout="header line" if found.start else "no header line",
            percent=frozenset(k for k in found.fitted if self._is_percent(k, start)),
            widths={
                k: padded_width(self.cells.column(k, start))
                for k, feature in zip(found.fitted, found.features, strict=True)
                if feature.kind is FeatureKind.integer
            },
        )

    def _notes(self) -> list[str]:
        """What was recognized."""
        notes = self.records.notes()
        if self.records.heading is not None:
            shown = ", ".join(map(plain, self.records.heading[:3]))
            notes.append(f"the comment ({shown}) was taken for headings: --no-header for none")
        if self.numbers.marks and self.options.numbers is None:
            notes.append(self.numbers.describe())
        if self.options.notes:
            found = Counter(self.numbers.note(text) for row in self.cells.rows for text in row)
            kinds = [f"'{note}' ({count:,})" for note, count in found.most_common(9) if note]
            notes.append(f"notes behind numbers: {', '.join(kinds) or 'none'}")
        return notes

    def _is_percent(self, k: int, start: int) -> bool:
        view = self.cells.column(k, start)
        first = int(np.argmax(view.is_number))  # most columns are done after one look
        return view.texts[first].endswith("%") and all(x.endswith("%") for x in view.observed)


def _is_quoted_heading(rows: list[list[str]]) -> bool:
    """Whether the first line is quoted where numbers below it are not, as R writes headings."""
    first, below = rows[0], rows[1:50]
    if not all(cell.strip().startswith('"') for cell in first):
        return False
    numbers = [cell for row in below for cell in row if shape_of(plain(cell))]
    return bool(numbers) and not any('"' in cell for cell in numbers)


def _needs_marks(cells: Cells) -> bool:
    """Whether some text is a number in another format than the plain one."""
    columns = np.flatnonzero(cells.is_text.any(axis=0)).tolist()
    return any(any(map(shape_of, sampled(cells.column(j, 0).labels))) for j in columns)


def decode(path: Path, options: TextOptions) -> tuple[str, str]:
    """(the text of a file, its encoding)."""
    with open_bytes(path) as file:
        data = file.read()
    encoding = options.encoding or encoding_of(data[:4])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if options.encoding is not None:
            raise InputError(
                f"--encoding: '{path}' is not {encoding} text (byte {error.start + 1}); give "
                "another encoding, or leave it out."
            ) from None
        # every byte is a character there, so labels come back byte for byte
        text, encoding = data.decode("latin-1"), "latin-1"
    if "\0" in text:
        raise InputError(
            f"INPUT: '{path}' is not a plain text table; save it as UTF-8 CSV or TSV, or name its "
            "--encoding."
        )
    return text, encoding


def check_rectangular(path: Path, records: Records) -> None:
    """`InputError` unless all records have the same number of cells."""
    lines: list[Line] = [records.lines[i] for i in records.body]
    widths = Counter(len(line.cells) for line in lines)
    if len(widths) == 1:
        return
    width = widths.most_common(1)[0][0]
    odd = next(line for line in lines if len(line.cells) != width)
    usual = next(line for line in lines if len(line.cells) == width)
    start = lines.index(usual)
    if start and all(len(line.cells) == width for line in lines[start:]):
        way = f"start at line {usual.number} with --skip-lines {usual.number - 1}"
    else:
        way = "give every line the same number of cells, or name the --separator"
    raise InputError(
        f"INPUT: line {odd.number} of '{path}' has {len(odd.cells)} cell"
        f"{'s' if len(odd.cells) > 1 else ''} where line {usual.number} has {width} (separated by "
        f"{_shown(records.separator)}); {way}."
    )


def _shown(separator: str) -> str:
    return {"\t": "tabs", BLANK: "blanks"}.get(separator, f"'{separator}'")
