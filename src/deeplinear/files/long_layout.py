"""What a look at the first lines of a long text file tells: cells, heading, columns, numbers."""

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from ..errors import InputError
from .columns import Wanted, find_columns
from .dialect import (
    BLANK,
    SAMPLE,
    SEPARATORS,
    cells_of,
    directive,
    guess_separator,
    named_separator,
)
from .long_lines import BLOCK, COMMENTS, Form, Lines
from .markers import MISSING, Markers
from .numbers import PLAIN, NumberFormat, guess_format, shape_of
from .opening import file_type, open_text
from .text_options import TextOptions


@dataclass(frozen=True)
class FirstLook:
    """The first records of a file. ``heading`` is a comment before them that names the columns."""

    form: Form
    start: int  # lines before the first that counts
    numbers: list[int]  # of the lines of the records
    records: list[list[str]]  # made equally wide, where that is clear
    width: int
    usual: int  # number of a line of this width
    heading: list[str] | None
    unnamed: bool  # whether the first line names all columns but the first

    @property
    def first(self) -> list[str]:
        """The cells that may be headings."""
        return self.records[0] if self.heading is None else self.heading


@dataclass(frozen=True)
class Layout:
    """How the entries of a file are read."""

    form: Form
    start: int
    width: int
    usual: int
    places: list[int]  # of row ids, column ids and perhaps values
    names: tuple[str, ...]
    first: int  # number of the first line with cells
    heading: int  # the same if it is a heading; 0 for none
    numbers: NumberFormat
    percent: bool  # whether values carry a sign of percent


def look(path: Path, options: TextOptions, least: int) -> FirstLook:
    """Read the first lines. ``least`` is how many columns are needed."""
    with open_text(path, options.encoding) as file:
        raw = list(islice(file, options.skip_lines + 10 * SAMPLE))
    if any("\0" in line for line in raw):
        raise InputError(
            f"INPUT: '{path}' holds zero bytes, which are no text; save it as text, or name its "
            "--encoding."
        )
    start = options.skip_lines
    declared = directive(raw[start]) if len(raw) > start else None
    start += declared is not None
    comments = COMMENTS if options.comment is None else (options.comment,) * bool(options.comment)
    form = Form("", comments)
    content = [
        line.rstrip("\r\n").lstrip("\ufeff")
        for line in raw[start:]
        if line.strip(" \t\r\n\ufeff") and not form.is_comment(line)
    ]
    blocks = bool(content) and bool(BLOCK.fullmatch(content[0]))
    lines = [line for line in content if not (blocks and BLOCK.fullmatch(line))]
    if not lines:
        raise InputError(f"INPUT: '{path}' is empty; give at least one line of data.")
    if options.separator is not None:
        separator = named_separator(options.separator)
    else:
        separator = declared or _separator(path, lines, file_type(path), least - blocks)
    form = Form(separator, comments, blocks)
    with open_text(path, options.encoding) as file:
        source = Lines(file, form, path, start)
        numbered = zip(*source.split(source.take(10 * SAMPLE)), strict=True)
    rows = [(k, [cell.strip() for cell in row]) for k, row in numbered if any(row)][:SAMPLE]
    if not rows:
        raise InputError(f"INPUT: '{path}' is empty; give at least one line of data.")
    found = _equally_wide(path, form, start, [k for k, _ in rows], [row for _, row in rows])
    above = raw[start : found.numbers[0] - 1]
    return found if not above else _with_heading(found, above[-1])


def _separator(path: Path, lines: Sequence[str], suffix: str, least: int) -> str:
    """The guess, in which a separator counts only where lines have at least ``least`` cells.

    `InputError` where commas may as well stand between groups of digits, and others separate.
    """
    if least < 2:
        return ","
    lines = _joined(lines)[:SAMPLE]
    separator = guess_separator(lines, suffix, least)
    below = lines[1:] or lines
    if separator == "," and all(map(_GROUPS.fullmatch, below)):
        for other in SEPARATORS:
            if other != "," and min(len(cells_of(line, other)) for line in below) >= least:
                shown = {BLANK: "blank", "\t": "tab"}.get(other, f"'{other}'")
                raise InputError(
                    f"INPUT: the commas of '{path}' may stand between cells or between groups of "
                    f"digits; say which with --separator {shown} or --separator ','."
                )
    return separator


# All commas of a line are in one number with groups of three digits.
_GROUPS = re.compile(r"(?:[^,]*[^\w,.])?\d{1,3}(?:,\d{3})+(?:\.\d*)?(?:[^\w,.][^,]*)?")


def _joined(lines: Sequence[str]) -> list[str]:
    """The lines, those of a quoted cell as one."""
    found: list[str] = []
    pending: list[str] = []
    for line in lines:
        pending.append(line)
        if sum(part.count('"') for part in pending) % 2 == 0 or len(pending) > 20:
            found.append("\n".join(pending))
            pending = []
    return found + pending


def _equally_wide(
    path: Path, form: Form, start: int, numbers: list[int], records: list[list[str]]
) -> FirstLook:
    """The records with one width; `InputError` where the first lines have another one."""
    below = records[1:] or records
    widths = Counter(map(len, below))
    width = max(widths, key=lambda w: (widths[w], w))
    usual = next(k for k, row in enumerate(below, len(records) > 1) if len(row) == width)
    first, unnamed = records[0], False
    if len(first) > width and not any(first[width:]):
        first = first[:width]
    elif len(first) < width:
        rest = [row[len(first) :] for row in below if len(row) == width]
        if not any(map(any, rest)):  # separators at the ends of the lines
            first = first + [""] * (width - len(first))
        elif len(first) == width - 1 > 1 and form.separator in (BLANK, "\t"):
            first, unnamed = ["", *first], True
    if len(first) != width:
        others = all(len(row) == width for row in records[usual:])
        way = f"start at line {numbers[usual]} with --skip-lines {numbers[usual] - 1}"
        raise InputError(
            f"INPUT: '{path}', line {numbers[0]} has {len(first)} cell{'s' * (len(first) != 1)} "
            f"where line {numbers[usual]} has {width} (separated by {form.shown()}); "
            f"{way if others else 'give every line the same number of cells'}, or name the "
            "--separator."
        )
    same = [row[:width] for row in records[1:] if len(row) >= width and not any(row[width:])]
    return FirstLook(form, start, numbers, [first, *same], width, numbers[usual], None, unnamed)


def _with_heading(found: FirstLook, line: str) -> FirstLook:
    """With the headings of a comment just before the first record, if it has as many cells."""
    if found.unnamed or found.form.blocks or not found.form.is_comment(line):
        return found
    content = line.strip("\ufeff \t\r\n")
    mark = next(mark for mark in found.form.comments if content.startswith(mark))
    cells = found.form.cells(content.removeprefix(mark).lstrip(mark))
    if len(cells) != found.width or any(map(shape_of, cells)) or not all(cells):
        return found
    return FirstLook(**{**vars(found), "heading": cells})


def find_layout(path: Path, wanted: Wanted, options: TextOptions) -> Layout:
    """How the entries of a text file are to be read; what ``options`` leaves open is recognized.

    A `UserWarning` says where it is a guess whether the first line is a heading.
    """
    found = look(path, options, len(wanted))
    skips = _is_headed(path, wanted, options, found)  # the first record
    header = found.records[0] if skips else found.heading or [""] * found.width
    if options.header is False:
        header = [""] * found.width
    places = find_columns(wanted, header, path)
    names = tuple(header[c].strip() or _name(c, found.form) for c in places)
    below = found.records[skips:]
    values = [row[c] for c in places[2:] for row in below]
    numbers = options.numbers or guess_format(filter(shape_of, values)) or PLAIN
    markers = Markers(options.missing, numbers)
    values = [text for text in values if not markers.mean_missing(text)]
    percent = bool(values) and 2 * sum(text.endswith("%") for text in values) > len(values)
    form, start, width, usual = found.form, found.start, found.width, found.usual
    first = found.numbers[0]
    heading = first if skips else 0
    return Layout(form, start, width, usual, places, names, first, heading, numbers, percent)


def _name(column: int, form: Form) -> str:
    if not form.blocks:
        return f"column {column + 1}"
    return ("column 1", "block")[column] if column < 2 else f"column {column}"


def _is_headed(path: Path, wanted: Wanted, options: TextOptions, found: FirstLook) -> bool:
    """Whether the first line is a heading: it says so, it looks so, or it is a guess."""
    first = found.records[0]
    if options.header is not None:
        _check_header(path, options.header, found)
    if found.form.blocks or found.unnamed:
        return found.unnamed
    if options.header is not None and found.heading is None:
        return options.header
    # names that are no positions
    names = [name for name in wanted if name in first and not _is_place(name, found.width)]
    if any(not name.isdigit() for name in names if name is not None):
        return True
    if any(name is not None and not name.isdigit() for name in wanted):
        return found.heading is None  # the search for the columns reports what is not there
    places = find_columns(wanted, first, path)
    columns = list(zip(*found.records, strict=True))
    others = [column for c, column in enumerate(columns) if c not in places]
    headed, sure = _looks_headed([columns[c] for c in places], others)
    if names and not (sure and not headed):
        return True
    if found.heading is not None:
        return headed and sure
    if not sure:
        shown = ", ".join(map(repr, first[:5]))
        taken, other = ("a heading", "--no-header") if headed else ("an entry", "--header")
        warnings.warn(
            f"INPUT: the first line of '{path}' ({shown}) is taken for {taken}, which is a guess; "
            f"{other} says otherwise, and {'--header' if headed else '--no-header'} that it is "
            "right.",
            UserWarning,
            stacklevel=2,
        )
    return headed


def _check_header(path: Path, header: bool, found: FirstLook) -> None:
    """`InputError` for an option that contradicts the file."""
    if found.form.blocks and header:
        raise InputError(
            f"--header: '{path}' holds blocks of lines without headings; leave it out."
        )
    if found.unnamed and not header:
        raise InputError(
            f"--no-header: the first line of '{path}' has one cell less than the others; leave the "
            "option out."
        )


def _is_place(name: str | None, width: int) -> bool:
    return name is not None and name.isascii() and name.isdigit() and 1 <= int(name[:9]) <= width


def _looks_headed(
    columns: Sequence[Sequence[str]], others: Sequence[Sequence[str]]
) -> tuple[bool, bool]:
    """Whether the first cells of columns of ids, and perhaps of values, are a heading, and whether
    that is beyond doubt. The ``others`` of the file tell, too.
    """
    likeness = [_likeness(column[0], column[1:]) for column in (*columns[:2], *others)]
    like, unlike = likeness.count(1), likeness.count(-1)
    if len(columns) == 2:  # no values
        headed = unlike > like if like or unlike else len(columns[0]) > 1
        return headed, bool(like) != bool(unlike)
    value, below = columns[2][0], columns[2][1:]
    if value.lower() in MISSING:
        return unlike > like, True
    if not shape_of(value):
        if likeness[:2] == [1, 1] and not unlike:
            return False, True  # an entry whose value will be reported
        return True, bool(unlike) or not re.search(r"\d", value)
    unlike += "%" not in value and any(text.endswith("%") for text in below[:1])
    if unlike > like:
        return True, not like and unlike > 1
    if not value.isdigit() or value in below or not below:
        return False, True
    usual = len(value) in {len(re.sub(r"\D.*", "", text)) for text in below}
    usual = usual and (len(below) < 2 or any(map(str.isdigit, below)))
    return False, not unlike and (likeness[:2] == [1, 1] or (like > 0 and usual))


def _likeness(first: str, below: Sequence[str]) -> int:
    """1 if a cell is like the cells below it, −1 if it is not, 0 if nothing tells."""
    below = [text for text in below if text.lower() not in MISSING]
    if not below or first.lower() in MISSING:
        return 0
    if all(map(PLAIN.reads, below)):
        return 1 if PLAIN.reads(first) else -1
    if first in below:
        return 1
    kinds = {re.sub(r"\d+", "9", text) for text in below}  # u17 and u4 are alike
    if len(kinds) == 1 and "9" in next(iter(kinds)):
        if re.sub(r"\d+", "9", first) in kinds:
            return 1
        return -1 if len(set(below)) > 2 else 0
    return 0
