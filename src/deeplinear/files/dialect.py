"""What separates the cells of a text file: the same guess for tables and for long data."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

from ..errors import InputError
from .markers import MISSING
from .numbers import shape_of
from .refusals import shown

BLANK = " "  # runs of blanks and tabs
#: Every separator that is looked for, where several fit the earlier one is taken.
SEPARATORS = ("\t", ";", ",", "|", "::", BLANK)
_NAMES = {"tab": "\t", "\\t": "\t", "blank": BLANK, "space": BLANK, "comma": ",", "semicolon": ";"}
_DIRECTIVE = re.compile(r"\"?sep=(.)\"?[\r\n]*", re.IGNORECASE)

_BLANKS = " \t\u00a0"
SAMPLE = 200  # lines that are looked at
_CELLS = 10  # cells of each that are


def named_separator(text: str) -> str:
    """The separator that an option names: a character, ``::``, or a word such as ``tab``.

    >>> named_separator("tab"), named_separator(";")
    ('\\t', ';')
    """
    separator = _NAMES.get(text.lower(), text)
    if separator != "::" and (len(separator) != 1 or separator in '"\r\n#' or separator.isalnum()):
        raise InputError(
            f"--separator: {shown(text)} is no separator; give one character such as ';', or tab, "
            "blank or ::."
        )
    return separator


def directive(line: str) -> str | None:
    """The separator that a first line ``sep=;`` declares, as spreadsheets write it."""
    found = _DIRECTIVE.fullmatch(line)
    return found.group(1) if found else None


def cells_of(line: str, separator: str) -> list[str]:
    """The raw cells of a line, quotation marks and blanks included; joined they are the line again.

    Between cells stands the separator, but for `BLANK`, where each cell begins with its blanks.

    >>> cells_of('"a, b", 2,', ","), cells_of(" 1.5   2", BLANK)
    (['"a, b"', ' 2', ''], [' 1.5', '   2'])
    """
    if '"' not in line and separator != BLANK:
        return line.split(separator)
    cells = [found.group(1) for found in _cell(separator).finditer(line)]
    if separator != BLANK and len(cells) > 1 and not line.endswith(separator):
        cells.pop()  # the empty match at the very end
    return cells


@cache
def _cell(separator: str) -> re.Pattern[str]:
    if separator == BLANK:
        return re.compile(rf"(\s*(?:{_QUOTED}(?=\s|$)|\S+))")
    d = re.escape(separator)
    blanks = rf"(?:(?!{d})\s)*+"  # a tab may be the separator
    other = rf"[^{d}]*" if len(separator) == 1 else rf"(?:(?!{d}).)*"
    return re.compile(rf"((?:{blanks}{_QUOTED})?{other})(?:{d}|$)", re.DOTALL)


# Nothing is tried again (+) where a mark is not closed, so that a search is linear.
_REST = r'(?:[^"]|"")*+"'
_QUOTED = '"' + _REST
_CLOSED, _CLOSING, _WHOLE = map(re.compile, (_QUOTED, _REST, rf"\s*{_QUOTED}\s*"))


def split_line(content: str, separator: str) -> tuple[list[str], str | None]:
    """The raw cells of a line, and the text from the first cell on that opens a quotation mark and
    does not close it, or None.

    >>> split_line('a,"b",c', ","), split_line('a,"b,c', ",")
    ((['a', '"b"', 'c'], None), (['a'], '"b,c'))
    """
    cells = cells_of(content, separator)
    if '"' in content:
        start = 0
        for k, cell in enumerate(cells):
            inner = cell.lstrip()
            if inner.startswith('"') and not _CLOSED.match(inner):
                return cells[:k], content[start:]
            start += len(cell) + (0 if separator == BLANK else len(separator))
    return cells, None


class OpenRecord:
    """A record that goes on, since a quotation mark is open; a line at a time is added.

    What was read is not read again, so that this is linear in the text, whatever the text.
    """

    def __init__(self, cells: list[str], rest: str, separator: str) -> None:
        self.cells = cells  # those before the open one
        self.count = 1  # lines
        #: Whether no further line can help: letters follow the mark that closes several lines.
        self.hopeless = False
        self._parts, self._separator = [rest], separator

    def add(self, end: str, line: str) -> bool:
        """Go on with ``line`` after the ``end`` of the line before; True if the record is whole."""
        self.count += 1
        self._parts += [end, line]
        if not _CLOSING.match(line):
            return False
        cells, rest = split_line("".join(self._parts), self._separator)
        self.hopeless = not cells or not _WHOLE.fullmatch(cells[0])
        self.cells += cells
        self._parts = [rest or ""]
        return rest is None and not self.hopeless


def plain(cell: str) -> str:
    """A raw cell without the blanks and quotation marks around it."""
    cell = cell.strip(_BLANKS)
    return cell[1:-1].replace('""', '"') if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def plain_cells(cells: Sequence[str]) -> list[str]:
    """`plain` of each."""
    joined = "".join(cells)  # one look at all is faster than one at each
    if '"' in joined:
        return [plain(cell) for cell in cells]
    if any(blank in joined for blank in _BLANKS):
        return [cell.strip(_BLANKS) for cell in cells]
    return list(cells)


def guess_separator(lines: Sequence[str], suffix: str = "", least: int = 2) -> str:
    """What separates the ``least`` cells or more of ``lines`` (without line ends and comments).

    That by which most lines have the same number of cells, and most cells are numbers or missing;
    the decimal comma of ``1,5;2,5`` is none.
    """
    lines = lines[:SAMPLE]
    if suffix == ".tsv" and any("\t" in line for line in lines):
        return "\t"
    scores = {mark: _score(lines, mark, least) for mark in SEPARATORS}
    best = max(scores.values())
    unused = [mark for mark in SEPARATORS if not any(mark in line for line in lines)]
    if unused and _single(lines) > max(best):  # decimal commas
        return unused[0]
    if best[0] == 0:
        return ","
    return next(mark for mark in SEPARATORS if scores[mark] == best)


def _score(lines: Sequence[str], mark: str, least: int) -> tuple[float, float]:
    """(share of lines of the usual width times that of clean cells, the first alone)."""
    split = [cells_of(line, mark) for line in lines]
    counts = Counter(map(len, split))
    if not counts:
        return 0.0, 0.0
    width, number = max(counts.items(), key=lambda item: (item[1], item[0]))
    if width < least:
        return 0.0, 0.0
    cells = [plain(cell) for row in split if len(row) == width for cell in row[:_CELLS]]
    others = [other for other in SEPARATORS if other not in (mark, ",", BLANK)]
    mixed = sum(any(other in cell for other in others) for cell in cells)
    if mark == BLANK:  # a comma in a word, "u13,film 29", is rather a separator than the blank is
        mixed += sum("," in cell and not _is_clean(cell) for cell in cells)
    clean = (sum(map(_is_clean, cells)) - mixed) / len(cells)
    # not all of a table are numbers: text says little against a separator
    return round((0.2 + 0.8 * clean) * number / len(lines), 6), number / len(lines)


def _single(lines: Sequence[str]) -> float:
    """How well all lines are one number each."""
    clean = [_is_clean(plain(line)) and shape_of(plain(line)) != "" for line in lines]
    mixed = any("," in line for line in lines) and not all("," in line for line in lines)
    return sum(clean) / len(lines) if lines and mixed else 0.0


def _is_clean(cell: str) -> bool:
    return cell.lower() in MISSING or bool(shape_of(cell))
