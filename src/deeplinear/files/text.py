"""CSV and other tables in text: only the missing cells change; all other bytes come back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..completion.data.features import Feature, FeatureKind
from ..errors import InputError
from .dates import are_dates
from .dialect import BLANK, plain, plain_cells
from .kinds import OddCell, Reading, read_column
from .layout import Cells, find_layout, parse_cells
from .markers import Markers
from .numbers import PLAIN, NumberFormat, advice, guess_format, shape_of
from .opening import compress, encoding_of, file_type, open_bytes
from .records import Line, Records, read_records
from .selection import Positions, Selection
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
    layout: str
    percent: frozenset[int] = field(default_factory=frozenset)  # columns of percentages

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
            out.append(glue.join(cells) + line.end)
        return (self.mark + "".join(out)).encode(self.encoding)

    def _written(self, column: int, value: float) -> str:
        """A completed entry as the file writes its column."""
        feature = self.features[column]
        if feature.kind == FeatureKind.category:
            text = str(feature.categories[int(value)])
        elif value.is_integer():  # also of more than ten digits
            text = f"{value:.0f}"
        else:
            text = self.numbers.write(value) + "%" * (self.columns[column] in self.percent)
        if '"' in text or self.records.separator in text or any(mark in text for mark in "\r\n"):
            text = '"' + text.replace('"', '""') + '"'
        return text

    def pack(self, data: bytes, path: Path) -> bytes:
        return compress(data, path)

    def place(self, row: int, column: int) -> str:
        line = self.records.lines[self.data[row]].number
        name = self.features[column].name
        return f"line {line}, column {name if name.isdigit() else repr(name)}"

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
    text, encoding = _decode(path, options)
    mark = "\ufeff" * text.startswith("\ufeff")
    records = read_records(text.removeprefix(mark), file_type(path), options)
    if not records.body:
        raise InputError(
            f"INPUT: '{path}' is empty; give a table with at least one row and one column of "
            "numbers."
        )
    _check_rectangular(path, records)
    return _Reader(path, options, records, encoding, mark).table(selection)


class _Reader:
    """From the records of a file to its table."""

    def __init__(
        self, path: Path, options: TextOptions, records: Records, encoding: str, mark: str
    ) -> None:
        self.path, self.options, self.records = path, options, records
        self.encoding, self.mark = encoding, mark
        self._look(records.rows())
        if records.heading is not None:
            # a commented line names the columns only if no other line does
            given = options.header is not None
            if given or find_layout(self.cells, None, options.labels).header:
                records.heading = None
            else:
                self._look([records.heading, *records.rows()])

    def _look(self, rows: list[list[str]]) -> None:
        self.columns = [plain_cells(column) for column in zip(*rows, strict=True)]
        self.numbers, self.cells = self._parse()

    def _parse(self) -> tuple[NumberFormat, Cells]:
        """The format of the numbers, and all cells in it."""
        given, markers = self.options.numbers, self.options.missing
        numbers = given or PLAIN
        cells = parse_cells(self.columns, Markers(markers, numbers), numbers)
        if given is not None or not _needs_marks(cells):
            return numbers, cells
        guess = guess_format(_number_like(cells, Markers(markers)))
        if guess is None or guess == PLAIN:
            return PLAIN, cells
        return guess, parse_cells(self.columns, Markers(markers, guess), guess)

    def table(self, selection: Selection) -> TextTable:
        options, records = self.options, self.records
        named = records.heading is not None or _is_quoted_heading(records.rows())
        header = True if named and options.header is None else options.header
        layout = find_layout(self.cells, header, options.labels)
        start = int(layout.header)
        width, count = len(self.columns), len(self.columns[0]) - start
        names_only = count == 1 and not start and bool(self.cells.is_text.all())
        if not count or width <= int(layout.labels) or names_only:
            raise InputError(
                f"INPUT: '{self.path}' has no rows of numbers below its header; give a table with "
                "data."
            )
        texts = [column[0] for column in self.columns] if layout.header else [""] * width
        names = [text.strip() or str(k + 1) for k, text in enumerate(texts)]
        chosen = selection.positions(names if layout.header else [""] * width, self.path)
        data = records.body if records.heading is not None else records.body[start:]
        self.names, self.lines, self.start = names, [records.lines[i] for i in data], start
        readings = self._readings(chosen, labels=layout.labels)
        fitted = [k for k, reading in enumerate(readings) if reading.kind is not None]
        table = TextTable(
            values=self._values(fitted, readings),
            features=tuple(
                Feature(names[k], readings[k].kind or FeatureKind.number, readings[k].categories)
                for k in fitted
            ),
            suffixes=(file_type(self.path) or ".csv",),
            carried=tuple(self._carried(readings)),
            notes=tuple(self._notes(layout.note)),
            records=records,
            encoding=self.encoding,
            mark=self.mark,
            numbers=self.numbers,
            data=data,
            columns=fitted,
            dropped=chosen.drop,
            layout="header line" if layout.header else "no header line",
            percent=frozenset(k for k in fitted if self._is_percent(k)),
        )
        if not fitted:
            raise InputError(
                f"INPUT: '{self.path}' has no column of numbers or categories "
                f"({'; '.join(table.carried[:5])}); name columns with --columns or --categorical."
            )
        return table

    def _notes(self, guess: str) -> list[str]:
        """What was recognized, and what was guessed."""
        notes = self.records.notes()
        if self.records.heading is not None:
            shown = ", ".join(map(plain, self.records.heading[:3]))
            notes.append(f"the comment ({shown}) was taken for headings: --no-header for none")
        if self.numbers != PLAIN and self.options.numbers is None:
            marks = f"decimal mark '{self.numbers.decimal}'"
            if self.numbers.thousands:
                marks += f", thousands mark '{self.numbers.thousands}'"
            notes.append(marks)
        return notes + [guess] * bool(guess)

    def _readings(self, chosen: Positions, *, labels: bool) -> list[Reading]:
        """What becomes of each column; `InputError` that names the first odd cell."""
        readings = []
        for k in range(len(self.columns)):
            view = self.cells.column(k, self.start)
            if k in chosen.drop:
                readings.append(Reading(None, "dropped"))
            elif chosen.carries(k):
                readings.append(Reading(None, "kept"))
            elif k == 0 and labels and not {0} & (chosen.columns | chosen.categorical):
                dates = are_dates(view.labels) and view.is_text.any()
                readings.append(Reading(None, "dates" if dates else "labels"))
            elif self._is_tail(k):
                readings.append(Reading(None, "empty"))
            else:
                found = read_column(view, self.numbers, categorical=k in chosen.categorical)
                if isinstance(found, OddCell) or (k in chosen.columns and found.kind is None):
                    raise self._odd(k, found.row if isinstance(found, OddCell) else None)
                readings.append(found)
        return readings

    def _is_tail(self, k: int) -> bool:
        """Whether a column is the empty rest of lines that end with a separator."""
        if k != len(self.columns) - 1 or k == 0:
            return False
        return not any(map(str.strip, self.columns[k]))

    def _values(self, fitted: Sequence[int], readings: Sequence[Reading]) -> np.ndarray:
        values = self.cells.values[self.start :, fitted]
        for j, k in enumerate(fitted):
            if readings[k].kind == FeatureKind.category:
                view = self.cells.column(k, self.start)
                codes = {label: float(code) for code, label in enumerate(readings[k].categories)}
                there = view.is_text | view.is_number
                values[:, j] = np.nan
                values[there, j] = [codes[text] for text in view.observed]
        return values

    def _carried(self, readings: Sequence[Reading]) -> list[str]:
        """One phrase per column that is carried through, with what stays missing there."""
        phrases = []
        for k, reading in enumerate(readings):
            if reading.kind is not None or reading.what in ("dropped", "empty"):
                continue
            view = self.cells.column(k, self.start)
            gaps = int((~view.is_text & ~view.is_number).sum())
            more = f", {gaps:,} missing stay" if gaps else ""
            phrases.append(f"{self._named(k)} ({reading.what}{more})")
        return phrases

    def _named(self, k: int) -> str:
        name = self.names[k]
        return f"column {name}" if name == str(k + 1) else repr(name)

    def _is_percent(self, k: int) -> bool:
        view = self.cells.column(k, self.start)
        first = int(np.argmax(view.is_number))  # most columns are done after one look
        return view.texts[first].endswith("%") and all(x.endswith("%") for x in view.observed)

    def _odd(self, k: int, row: int | None) -> InputError:
        """The message about a cell that is no number, with the options that would read it."""
        view = self.cells.column(k, self.start)
        row = int(np.argmax(view.is_text)) if row is None else row
        text, column = view.texts[row], self.names[k]
        more = int(view.is_text.sum()) - 1
        others = f" and {more:,} more cell{'s' if more > 1 else ''} like it" if more else ""
        markers = Markers(self.options.missing, self.numbers)
        like = [x for x, odd in zip(view.texts, view.is_text, strict=True) if odd and shape_of(x)]
        way = advice(text, self.numbers, like[:1000] + _number_like(self.cells, markers, 100))
        shown = "'" + text.replace("'", "'\\''") + "'"
        word = str(k + 1) if column.startswith("-") or not column.isidentifier() else column
        ways = ([f"read it with {way}"] if way else []) + [
            f"mark it as missing with --missing {shown}",
            f"carry the column through with --keep {word}",
            f"make it labels with --categorical {word}",
        ]
        return InputError(
            f"INPUT: '{self.path}', line {self.lines[row].number}: {text!r}{others} in "
            f"{self._named(k)} is no number; {', '.join(ways[:-1])}, or {ways[-1]}."
        )


def _is_quoted_heading(rows: list[list[str]]) -> bool:
    """Whether the first line is quoted where numbers below it are not, as R writes headings."""
    first, below = rows[0], rows[1:50]
    quoted = [cell.strip().startswith('"') for cell in first]
    numbers = [cell for row in below for cell in row if shape_of(plain(cell))]
    return all(quoted) and bool(numbers) and not any('"' in cell for cell in numbers)


def _needs_marks(cells: Cells) -> bool:
    """Whether some text is a number in another format than the plain one."""
    columns = np.flatnonzero(cells.is_text.any(axis=0)).tolist()
    return any(
        shape_of(cells.texts[j][i]) for j in columns for i in np.flatnonzero(cells.is_text[:, j])
    )


def _number_like(cells: Cells, markers: Markers, most: int = 1000) -> list[str]:
    """Cells of columns where most look like numbers, for the guess of their format."""
    found: list[str] = []
    for texts in cells.texts:
        sample = texts[:: max(1, len(texts) // most)]
        observed = [text for text in sample if not markers.mean_missing(text)]
        shaped = [text for text in observed if shape_of(text)]
        if 2 * len(shaped) >= len(observed) - 1:  # a heading is none
            found += shaped
    return found


def _decode(path: Path, options: TextOptions) -> tuple[str, str]:
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


def _check_rectangular(path: Path, records: Records) -> None:
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
