"""Long data in text: CSV, TSV and files with other separators, a block of lines at a time."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from . import columns
from .columns import ARGUMENTS, Encoders, Piece, Source, Wanted
from .long_layout import Layout, find_layout, look
from .long_lines import Lines, fitted
from .markers import MISSING, NO_ID, Markers
from .numbers import PLAIN, advice
from .opening import encoding_of, open_bytes, open_text
from .refusals import SHOWN, shown
from .text_options import TextOptions

SUFFIXES = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".base", ".test")


def open_text_source(
    path: Path, wanted: Wanted, options: TextOptions, encoders: Encoders
) -> Source:
    """Look at the first lines of a text file, and read its entries when they are asked for."""
    try:
        layout = find_layout(path, wanted, options)
    except UnicodeDecodeError:
        raise _undecodable(path, options) from None
    return Source(layout.names, 0, _Reader(path, layout, options, encoders).pieces())


def first_line(path: Path, options: TextOptions) -> list[str]:
    """The cells of the first line, or of a comment before it that names the columns."""
    try:
        return look(path, options, 2).first
    except UnicodeDecodeError:
        raise _undecodable(path, options) from None


class _Reader:
    """Reads the entries of a file whose layout is known."""

    def __init__(
        self, path: Path, layout: Layout, options: TextOptions, encoders: Encoders
    ) -> None:
        self.path, self.layout, self.options, self.encoders = path, layout, options, encoders
        self.markers = Markers(options.missing, layout.numbers, known=frozenset())
        self.left_out = 0
        # ids that may mean a missing one: (line, which, id)
        self.doubtful: list[tuple[int, int, str]] = []

    def pieces(self) -> Iterator[Piece]:
        """All entries; `InputError` that names the first line that is none."""
        layout = self.layout
        try:
            with open_text(self.path, self.options.encoding) as file:
                lines = Lines(file, layout.form, self.path, layout.start)
                lines.width = layout.width
                if self.options.comment is None:
                    lines.is_entry = self._is_entry
                heading = max(layout.heading - layout.start, 0)  # apart, the others are alike
                while block := lines.take(heading or columns.CHUNK):
                    heading = 0
                    numbers, cells = self._columns(lines, block)
                    if len(numbers):
                        yield self._piece(numbers, cells)
        except UnicodeDecodeError:
            raise _undecodable(self.path, self.options) from None
        self._check_doubtful()
        self.markers.tell(self.path, self.left_out)

    def _columns(self, lines: Lines, block: list[str]) -> tuple[Sequence[int], list[list[str]]]:
        """(line numbers, columns) of a block, without the heading."""
        layout, start = self.layout, lines.number - len(block) + 1
        if start > layout.heading:
            columns = lines.columns(block, layout.width, layout.places)
            if columns is not None:
                return range(start, start + len(block)), columns
        numbers, rows = lines.split(block)
        first = bisect_right(numbers, layout.heading)
        below = numbers[first:], rows[first:]
        numbers, rows = fitted(below, layout.width, layout.form, self.path, layout.usual)
        return numbers, [[row[c] for row in rows] for c in layout.places]

    def _piece(self, numbers: Sequence[int], cells: list[list[str]]) -> Piece:
        """Codes and values of entries in these lines, without those whose value is missing."""
        values = np.zeros(len(numbers))
        for texts in cells[2:]:
            values, kept = self._values(numbers, texts)
            if kept is not None:
                values, numbers = values[kept], [numbers[t] for t in kept]
                cells = [[column[t] for t in kept] for column in cells]
        codes = [self._codes(numbers, cells[k], k) for k in range(2)]
        return codes[0], codes[1], values

    def _values(
        self, numbers: Sequence[int], texts: list[str]
    ) -> tuple[np.ndarray, list[int] | None]:
        """The values, and the positions of those that are not missing, if some are."""
        number, markers = self.layout.numbers, self.markers
        self._check_percent(numbers, texts)
        try:
            values = number.parse_all(texts)
        except ValueError:
            read = (number.parse(t) if number.reads(t) else np.nan for t in texts)
            values = np.fromiter(read, float, len(texts))
        values = markers.hide(values)
        if np.isfinite(values).all():
            return values, None
        gone = set()
        for t in np.flatnonzero(~np.isfinite(values)).tolist():
            if not markers.mean_missing(texts[t]):
                raise self._no_number(numbers[t], texts[t])
            gone.add(t)
        self.left_out += len(gone)
        return values, [t for t in range(len(texts)) if t not in gone]

    def _check_percent(self, numbers: Sequence[int], texts: list[str]) -> None:
        percent = self.layout.percent
        count = "".join(texts).count("%")
        if count == (len(texts) if percent else 0):
            return
        for number, text in zip(numbers, texts, strict=True):
            if ("%" in text) != percent and not self.markers.mean_missing(text):
                if not self.layout.numbers.reads(text):
                    raise self._no_number(number, text)
                ways = [*self._if_heading(number), "write all alike"]
                raise InputError(
                    f"INPUT: '{self.path}', line {number}: the value {shown(text.strip())} has "
                    f"{'no' if percent else 'a'} sign of percent, other values have "
                    f"{'one' if percent else 'none'}; {', or '.join(ways)}."
                )

    def _no_number(self, number: int, text: str) -> InputError:
        text = text.strip()
        quoted = "'" + text.replace("'", "'\\''") + "'"
        used = self.layout.numbers
        way = "" if used.reads(text) else advice(text, used)  # else it is not finite
        if used.decimal == "," and PLAIN.reads(text):
            way = "--decimal '.'"
        verb = "read it with" if way.startswith("--") else "write numbers with"
        ways = [f"{verb} {way}"] * bool(way) + self._if_heading(number)
        ways += [f"leave such entries out with --missing {quoted}"] * (len(text) <= SHOWN)
        ways = ways or ["correct the line"]
        return InputError(
            f"INPUT: '{self.path}', line {number}: the value is {shown(text)} where a finite "
            f"number is needed; {', '.join(ways[:-1])}{', or ' if len(ways) > 1 else ''}{ways[-1]}."
        )

    def _if_heading(self, number: int) -> list[str]:
        """What to do if a line, should it be the first, is a heading after all."""
        first = number == self.layout.first and not self.layout.heading
        return ["name the first line a heading with --header"] * first

    def _codes(self, numbers: Sequence[int], texts: list[str], which: int) -> np.ndarray:
        encoder = self.encoders[which]
        before = len(encoder)
        codes = encoder.text_codes(texts)
        for text in encoder.newest(len(encoder) - before):
            if text.strip().lower() in MISSING:
                number = numbers[texts.index(text)]
                if text.strip().lower() in NO_ID:
                    raise self._no_id(number, which, text)
                self.doubtful.append((number, which, text))
        return codes

    def _check_doubtful(self) -> None:
        """`InputError` for a marker such as "-" among ids that are integers."""
        for number, which, text in self.doubtful:
            if self.encoders[which].are_integers(but=MISSING):
                raise self._no_id(number, which, text)

    def _no_id(self, number: int, which: int, text: str) -> InputError:
        return InputError(
            f"INPUT: '{self.path}', line {number}: an id is missing ({ARGUMENTS[which]} finds "
            f"{shown(text.strip())}); drop the line, or write the id in another way."
        )

    def _is_entry(self, cells: list[str]) -> bool:
        """Whether the cells of what begins like a comment may be an entry."""
        if len(cells) != self.layout.width:
            return False
        values = [cells[c] for c in self.layout.places[2:]]
        return all(
            self.layout.numbers.reads(text) or text.strip().lower() in MISSING for text in values
        )


def is_decodable(path: Path) -> bool:
    """Whether a file is UTF-8, or what its byte-order mark says."""
    try:
        with open_text(path) as file:
            return all(True for _ in file)
    except UnicodeDecodeError:
        return False


def _undecodable(path: Path, options: TextOptions) -> InputError:
    """Which line of a file cannot be decoded: letters that are guessed could make two ids one."""
    with open_bytes(path) as file:
        name = options.encoding or encoding_of(file.read(4))
    argument, shown = ("--encoding", name) if options.encoding else ("INPUT", "UTF-8")
    if name != "utf-8" and options.encoding is None:
        shown = name.upper()
    way = (
        "give another --encoding"
        if options.encoding
        else ("name its --encoding, such as cp1252 or latin-1")
    )
    where = ""
    if not name.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
        with open_bytes(path) as file:
            where = _undecodable_line(file, name)
    return InputError(f"{argument}: '{path}'{where} is not {shown} text; {way}.")


def _undecodable_line(file: Iterator[bytes], name: str) -> str:
    for number, line in enumerate(file, 1):
        try:
            line.decode(name)
        except UnicodeDecodeError as error:
            return f", line {number} (byte {line[error.start]:#04x} at place {error.start + 1})"
    return ""
