"""Lines of long data in text and their cells, many lines at a time."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from ..errors import InputError
from .dialect import BLANK, OpenRecord, cells_of, plain_cells, split_line
from .markers import MISSING

#: What begins a comment line, unless --comment says so.
COMMENTS = ("#", "%")
#: A line of its own that names the column of the lines below it: ``12:``.
BLOCK = re.compile(r"\s*(\d+):\s*")

# Errors of spreadsheets are missing cells, no comments.
_ERROR = re.compile(
    rf"({'|'.join(re.escape(text) for text in MISSING if text.startswith('#'))})(?!\w)",
    re.IGNORECASE,
)
_LONGEST = 1000  # lines of a cell, within which a quotation mark must be closed
#: Line numbers, and as many records of cells.
Numbered = tuple[Sequence[int], list[list[str]]]


@dataclass(frozen=True)
class Form:
    """How lines become cells. With ``blocks`` the name of a block is the second cell of its
    lines.
    """

    separator: str
    comments: tuple[str, ...]
    blocks: bool = False

    def is_comment(self, line: str) -> bool:
        line = line.lstrip(" \t\ufeff")
        return bool(self.comments) and line.startswith(self.comments) and not _ERROR.match(line)

    def cells(self, content: str) -> list[str]:
        """The cells of a line without its end, without blanks and quotation marks."""
        return plain_cells(cells_of(content, self.separator))

    def shown(self) -> str:
        return {"\t": "tabs", BLANK: "blanks"}.get(self.separator, f"'{self.separator}'")


class Lines:
    """The lines of an open file after the first ``number`` ones."""

    def __init__(self, file: Iterator[str], form: Form, path: Path, number: int) -> None:
        self.form, self._file, self._path = form, file, path
        self.number = sum(1 for _ in islice(file, number))
        self._block: str | None = None
        self.width: int | None = None  # cells per line, as soon as it is known
        #: Whether cells that begin like a comment may be an entry all the same.
        self.is_entry: Callable[[list[str]], bool] = lambda cells: False

    def take(self, count: int) -> list[str]:
        """The next lines, fewer at the end of the file."""
        lines = list(islice(self._file, count))
        self.number += len(lines)
        return lines

    def columns(
        self, lines: list[str], width: int, places: Sequence[int]
    ) -> list[list[str]] | None:
        """The columns at ``places`` of lines just taken; None where lines need a closer look.

        This is the fast way for lines that are all alike: cells are cut from all lines at once.
        """
        text, mark = "".join(lines), self.form.separator
        if self.form.blocks or self._has_comments(text):
            return None
        if mark == BLANK or '"' in text:
            rows = self._quoted(lines) if '"' in text else map(str.split, lines)
            cells = _flat(rows, width) if rows is not None else []
            columns = [cells[c::width] for c in places]
            return columns if len(cells) == len(lines) * width and all(map(all, columns)) else None
        text = text.replace("\r\n", "\n").removesuffix("\n")
        # ends of lines as cells of their own, which must then stand in equal distances
        cells = text.replace("\n", f"{mark}\n{mark}").split(mark)
        ends = cells[width :: width + 1]
        if len(cells) != len(lines) * (width + 1) - 1 or ends.count("\n") != len(ends):
            return None
        columns = [cells[c :: width + 1] for c in places]
        return columns if "\r" not in text and all(map(all, columns)) else None

    def split(self, lines: list[str]) -> Numbered:
        """The records of lines just taken, without comments and empty lines.

        A record that goes on takes more lines. `InputError` for a quotation mark that is not
        closed.
        """
        start = self.number - len(lines) + 1
        if not self.form.blocks and not self._has_comments("".join(lines)):
            reader = self._quoted(lines)
            try:
                rows = [] if reader is None else list(reader)
            except csv.Error:
                rows = []
            if len(rows) == len(lines):  # each line is a record
                return range(start, start + len(rows)), rows
        return self._split(lines, start)

    def _has_comments(self, text: str) -> bool:
        return any(
            mark in text and re.search(rf"^[ \t\ufeff]*{re.escape(mark)}", text, re.MULTILINE)
            for mark in self.form.comments
        )

    def _quoted(self, lines: list[str]) -> Iterator[list[str]] | None:
        """The records by the csv module, which is fast and names no lines."""
        mark = self.form.separator
        if len(mark) > 1 or mark == BLANK:
            return None
        return csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)

    def _split(self, lines: list[str], start: int) -> Numbered:
        numbers, rows = [], []
        place = 0
        while place < len(lines):
            number, line = start + place, lines[place]
            place += 1
            if self.form.is_comment(line):
                self._check_comment(line, number)
                continue
            content = line.rstrip("\r\n")
            if self.form.blocks and (block := BLOCK.fullmatch(content)):
                self._block = block[1]
                continue
            cells, rest = split_line(content, self.form.separator)
            if rest is not None:
                width = self.width or len(cells_of(content, self.form.separator))
                record = OpenRecord(cells, rest, self.form.separator)
                cells = self._continued(record, width, lines, place, number)
                place += record.count - 1
            cells = plain_cells(cells)
            if not any(cells):
                continue
            if self.form.blocks:
                cells.insert(1, self._named_block(number))
            numbers.append(number)
            rows.append(cells)
        return numbers, rows

    def _continued(
        self, record: OpenRecord, width: int, lines: list[str], place: int, number: int
    ) -> list[str]:
        """The raw cells of a record that goes on; ``lines`` grows where needed."""
        for k in range(place, place + _LONGEST):
            if k >= len(lines):
                lines += self.take(1)
            if k >= len(lines):
                break
            line = lines[k].rstrip("\r\n")
            if len(cells_of(line, self.form.separator)) == width > 1:
                break  # an entry of its own
            if record.add("\n", line):
                return record.cells
            if record.hopeless:
                break
        raise InputError(
            f"INPUT: '{self._path}', line {number}: a quotation mark is opened and not closed; "
            "close it, or double it inside a quoted cell."
        )

    def _check_comment(self, line: str, number: int) -> None:
        content = line.strip("\r\n \t\ufeff")
        cells = self.form.cells(content)
        if self.is_entry(cells) and not (self.form.separator == BLANK and cells[0] in COMMENTS):
            raise InputError(
                f"INPUT: '{self._path}', line {number} begins like a comment and reads like an "
                f"entry; say --comment '{content[0]}' to leave such lines out, or --comment '' to "
                "read them."
            )

    def _named_block(self, number: int) -> str:
        if self._block is None:
            raise InputError(
                f"INPUT: '{self._path}', line {number} comes before the first line such as '12:', "
                "which names a block of entries; correct the file."
            )
        return self._block


def _flat(rows: Iterable[list[str]], width: int) -> list[str]:
    """The cells of all rows, nothing unless each has ``width``; rows are not held, as that costs
    time.
    """
    widths: set[int] = set()
    try:
        cells = list(chain.from_iterable(row for row in rows if not widths.add(len(row))))  # type: ignore[func-returns-value]
    except csv.Error:
        return []
    return cells if widths == {width} else []


def fitted(numbered: Numbered, width: int, form: Form, path: Path, usual: int) -> Numbered:
    """The records with ``width`` cells each, without empty ones.

    Empty cells at the end may be too many. `InputError` that names the first line that has another
    number of cells than line ``usual``.
    """
    numbers, rows = [], []
    for number, row in zip(*numbered, strict=True):
        if len(row) != width or not row[0]:
            if not "".join(row).strip():
                continue
            if len(row) < width or any(map(str.strip, row[width:])):
                raise InputError(
                    f"INPUT: '{path}', line {number} has {len(row)} cell{'s' * (len(row) > 1)} "
                    f"where line {usual} has {width} (separated by {form.shown()}); give every "
                    "line the same number of cells, or name the --separator."
                )
        numbers.append(number)
        rows.append(row[:width])
    return numbers, rows
