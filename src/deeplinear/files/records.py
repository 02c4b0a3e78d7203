"""A text file as records of raw cells, which joined again are the file, byte for byte."""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import InputError
from .dialect import (
    BLANK,
    SAMPLE,
    OpenRecord,
    cells_of,
    directive,
    guess_separator,
    named_separator,
    plain,
    split_line,
)
from .text_options import TextOptions

_ERROR = re.compile(r"#(n/a|na|div/0!|num!|value!|ref!|name\?|null!)", re.IGNORECASE)
_LONGEST = 1000  # lines of a record, within which a quotation mark must be closed


@dataclass(slots=True)
class Line:
    """A line that is no record (empty, comment, …), or a record, perhaps of several lines."""

    number: int  # of its first line, from 1
    cells: list[str]  # raw; of other lines the whole line alone
    end: str
    comment: bool = False


@dataclass
class Records:
    """All lines of a file in order, and which of them are records."""

    lines: list[Line]
    separator: str
    body: list[int]  # positions of the records in `lines`
    heading: list[str] | None  # cells of a comment that may name the columns
    comment: str  # what comments begin with; "" where there are none
    empty: list[int]  # positions of records of empty cells, which are left out
    bare: bool  # whether no cell has quotation marks or blanks around it
    simple: bool  # whether all is ASCII, without _ and %

    def rows(self) -> list[list[str]]:
        return [self.lines[i].cells for i in self.body]

    def notes(self) -> list[str]:
        """What was left out."""
        comments = sum(line.comment for line in self.lines) - (self.heading is not None)
        counts = {f"comment line(s), which begin with {self.comment}": comments}
        counts["empty line(s)"] = len(self.empty)
        return [f"left out: {count} {what}" for what, count in counts.items() if count]


def read_records(text: str, suffix: str, options: TextOptions) -> Records:
    """Split ``text``; `InputError` where a quotation mark is never closed."""
    parts = list(io.StringIO(text, newline=""))
    first = options.skip_lines
    separator = None if options.separator is None else named_separator(options.separator)
    declared = directive(parts[first]) if len(parts) > first else None
    if declared is not None:
        separator, first = separator or declared, first + 1
    comment = _comment(parts[first:], options)
    if separator is None:
        separator = guess_separator(_sample(parts[first:], comment), suffix)
    lines = [Line(k + 1, [part], "") for k, part in enumerate(parts[:first])]
    lines += _lines(parts, first, separator, comment)
    body = [i for i, line in enumerate(lines) if i >= first and not line.comment]
    empty = _without_gaps(lines, body)
    bare = separator != BLANK and not any(m in text for m in '" \t\u00a0' if m != separator)
    simple = text.isascii() and "_" not in text and "%" not in text
    records = Records(lines, separator, body, None, comment, empty, bare, simple)
    if comment:
        records.heading = _commented_heading(records)
    return records


def _without_gaps(lines: Sequence[Line], body: list[int]) -> list[int]:
    """Take empty lines and records of empty cells out of ``body``; the latter are returned."""
    widths = Counter(len(lines[i].cells) for i in body)
    if widths and widths.most_common(1)[0][0] > 1:  # of one column, an empty line is a gap
        body[:] = [i for i in body if len(lines[i].cells) > 1 or plain(lines[i].cells[0])]
        empty = [i for i in body if not any(map(plain, lines[i].cells))]
        body[:] = [i for i in body if any(map(plain, lines[i].cells))] if empty else body
        return empty
    while body and not plain(lines[body[-1]].cells[0]):
        body.pop()
    return []


def _comment(parts: Sequence[str], options: TextOptions) -> str:
    """What comment lines begin with; nothing where most lines do, which then are data."""
    if options.comment is not None:
        return options.comment
    marked = sum(_is_comment(part, "#") for part in parts)
    return "#" if 0 < 2 * marked <= len(parts) else ""


def _is_comment(part: str, comment: str) -> bool:
    """Whether a line is a comment; errors of spreadsheets such as #N/A begin no comment."""
    part = part.lstrip(" \t")
    return bool(comment) and part.startswith(comment) and not _ERROR.match(part)


def _sample(parts: Sequence[str], comment: str) -> list[str]:
    """The first lines of the table; records of several lines as one."""
    found: list[str] = []
    pending = ""
    for part in parts[: 10 * SAMPLE]:
        if not pending and (not part.strip() or _is_comment(part, comment)):
            continue
        pending += part
        if pending.count('"') % 2 and pending.count("\n") < 20:
            continue
        found.append(pending.rstrip("\r\n"))
        pending = ""
        if len(found) == SAMPLE:
            break
    return found or [pending.rstrip("\r\n")]


def _lines(parts: Sequence[str], first: int, separator: str, comment: str) -> Iterator[Line]:
    record: OpenRecord | None = None  # whose quotation mark is open
    end = ""
    for number, part in enumerate(parts[first:], first + 1):
        if record is None and comment and _is_comment(part, comment):
            yield Line(number, [part], "", comment=True)
            continue
        content = part.rstrip() if separator == BLANK else part.rstrip("\r\n")
        if record is None and '"' not in part and separator != BLANK:  # nearly all lines
            yield Line(number, content.split(separator), part[len(content) :])
            continue
        if record is None:
            cells, rest = split_line(content, separator)
            closed = rest is None
            record = None if rest is None else OpenRecord(cells, rest, separator)
        else:
            closed = record.add(end, content)
        end = part[len(content) :]
        if closed:
            start = number if record is None else number - record.count + 1
            yield Line(start, (cells if record is None else record.cells) or [""], end)
            record = None
        elif record is not None and (record.hopeless or record.count > _LONGEST):
            break
    if record is not None:
        raise InputError(
            f"INPUT: the quotation mark opened in line {number - record.count + 1} is never "
            f"closed{' within 1,000 lines' if record.count > _LONGEST else ''}; close it, or "
            "double it inside a quoted cell."
        )


def _commented_heading(records: Records) -> list[str] | None:
    """The cells of the first comment just before the records that has as many as they have."""
    lines, body = records.lines, records.body
    if not body:
        return None
    width = Counter(len(lines[i].cells) for i in body[:SAMPLE]).most_common(1)[0][0]
    found = None
    for line in reversed(lines[: body[0]]):
        content = line.cells[0].strip().lstrip(records.comment)
        cells = cells_of(content, records.separator)
        if not line.comment or len(cells) != width or _are_numbers(cells):
            break
        found = cells
    return found if width > 1 else None


def _are_numbers(cells: Sequence[str]) -> bool:
    return all(re.fullmatch(r"[-+.,\deE ]*", plain(cell)) for cell in cells)
