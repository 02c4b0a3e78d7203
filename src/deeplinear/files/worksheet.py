"""The parts of an Excel file, edited in place: cells get values, all other bytes stay.

An ``.xlsx`` file is a zip archive of XML parts, one for each sheet. Charts, formats, macros and the
last values of formulas survive because no part is written anew.
"""

import io
import re
import xml.etree.ElementTree as ElementTree
import zipfile
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from posixpath import dirname, join, normpath
from xml.parsers import expat
from xml.sax.saxutils import escape

from .archives import rewritten

#: What a cell may hold.
CellValue = float | int | bool | str

_MOST_ROWS, _MOST_COLUMNS = 1 << 20, 1 << 14  # of a sheet of Excel
_TAG = re.compile(rb"""<(?:[^<>"']|"[^"]*"|'[^']*')*>""")
_WORKBOOK = "officeDocument"  # the end of the type of the relation that leads to the workbook
_CALCULATION = "calcChain"  # and of the order of calculation, which Excel also finds by itself


@dataclass
class _Cell:
    column: int
    start: int  # first byte
    style: str | None
    kind: str | None  # its type: b, e, str, …; None is a number
    end: int = 0  # past the last byte
    formula: bool = False
    leads: bool = False  # whether the formula is that of other cells too
    text: str = ""  # of its value, as the file spells it


@dataclass
class _Row:
    start: int
    end: int = 0  # where the closing tag begins
    cells: list[_Cell] = field(default_factory=list)


class Sheet:
    """Where the cells of a sheet lie in its XML. Rows and columns count from 1.

    ValueError for rows and cells that do not follow each other: programs differ in what they make
    of these.
    """

    def __init__(self, xml: bytes) -> None:
        self.xml = xml
        self.rows: dict[int, _Row] = {}
        self._row, self._column = 0, 0
        self._path: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._open
        self._parser.EndElementHandler = self._close
        self._parser.CharacterDataHandler = self._read
        self._prefixed = False
        self._parser.Parse(xml, True)
        if not xml[:100].decode("utf-8", "replace").lstrip("\ufeff \r\n\t").startswith("<"):
            raise ValueError("its sheet is not in UTF-8")

    def has_formula(self, row: int, column: int) -> bool:
        """Whether a cell holds a formula."""
        cell = self._cell(row, column)
        return cell is not None and cell.formula

    def leads_formula(self, row: int, column: int) -> bool:
        """Whether a cell holds a formula that other cells refer to."""
        cell = self._cell(row, column)
        return cell is not None and cell.leads

    def uncalculated(self) -> str | None:
        """The first cell with a formula that never got a value, as programs write it that do not
        calculate.
        """
        for number, row in self.rows.items():
            for cell in row.cells:
                if cell.formula and not cell.text.strip() and cell.kind not in ("str", "e"):
                    return reference(number, cell.column)
        return None

    def check(self, cells: Iterable[tuple[int, int]]) -> None:
        """ValueError unless these cells (row, column) are all here, as another reader saw them."""
        known = {(number, cell.column) for number, row in self.rows.items() for cell in row.cells}
        strange = set(cells) - known
        if strange:
            raise ValueError(f"its cell {reference(*min(strange))} is not where it says")

    def _cell(self, row: int, column: int) -> _Cell | None:
        cells = self.rows[row].cells
        k = bisect_left(cells, column, key=lambda cell: cell.column)
        return cells[k] if k < len(cells) and cells[k].column == column else None

    def with_values(self, cells: Mapping[tuple[int, int], CellValue]) -> bytes:
        """The XML with values in the cells (row, column), each of which lies in a row that exists;
        formats stay.
        """
        edits: list[tuple[int, int, bytes]] = []
        spans = set()
        for (number, column), value in cells.items():
            row = self.rows[number]
            k = bisect_left(row.cells, column, key=lambda cell: cell.column)
            old = self._cell(number, column)
            start = old.start if old else row.cells[k].start if k < len(row.cells) else row.end
            new = self._element(row, reference(number, column), old.style if old else None, value)
            edits.append((start, old.end if old else start, new))
            spans |= set() if old else {number}
        for number in spans:  # the columns of a row, a hint that could be wrong now
            start = self.rows[number].start
            tag = _TAG.match(self.xml, start)
            assert tag is not None
            edits.append((start, tag.end(), re.sub(rb'\sspans="[^"]*"', b"", tag.group())))
        return _edited(self.xml, edits)

    def _element(self, row: _Row, place: str, style: str | None, value: CellValue) -> bytes:
        prefix = self.xml[row.start + 1 :].split(b"row", 1)[0].decode() if self._prefixed else ""
        style = f' s="{style}"' if style else ""
        if isinstance(value, str):
            text = escape(value)
            kind = ' t="inlineStr"'
            inner = f'<{prefix}is><{prefix}t xml:space="preserve">{text}</{prefix}t></{prefix}is>'
        else:
            kind = ' t="b"' if isinstance(value, bool) else ""
            inner = f"<{prefix}v>{int(value) if isinstance(value, bool) else value!r}</{prefix}v>"
        return f'<{prefix}c r="{place}"{style}{kind}>{inner}</{prefix}c>'.encode()

    def _open(self, tag: str, attributes: dict[str, str]) -> None:
        prefix, _, name = tag.rpartition(":")
        self._path.append(name)
        at = self._parser.CurrentByteIndex
        match self._path[1:]:
            case ["sheetData", "row"]:
                self._prefixed = bool(prefix)
                self._row = int(attributes.get("r", self._row + 1))
                self._column = 0
                if self._row in self.rows:
                    raise ValueError(f"its row {self._row} comes twice")
                self.rows[self._row] = _Row(at)
            case ["sheetData", "row", "c"]:
                self._place_cell(attributes.get("r"))
                cell = _Cell(self._column, at, attributes.get("s"), attributes.get("t"))
                self.rows[self._row].cells.append(cell)
            case ["sheetData", "row", "c", "f"]:
                cell = self.rows[self._row].cells[-1]
                cell.formula, cell.leads = True, ":" in attributes.get("ref", "")

    def _place_cell(self, place: str | None) -> None:
        """Go on to the next cell of the row, called ``place`` if it has a name."""
        column = self._column + 1 if place is None else _column_of(place)
        if column <= self._column:
            raise ValueError(f"its cell {place} does not follow the one before")
        if place is not None and place.upper() != reference(self._row, column):
            raise ValueError(f"its cell {place} lies in row {self._row}")
        self._column = column

    def _read(self, text: str) -> None:
        if self._path[1:] == ["sheetData", "row", "c", "v"]:
            self.rows[self._row].cells[-1].text += text

    def _close(self, tag: str) -> None:
        match self._path[1:]:
            case ["sheetData", "row"]:
                self.rows[self._row].end = self._parser.CurrentByteIndex
            case ["sheetData", "row", "c"]:
                cell = self.rows[self._row].cells[-1]
                opening = _TAG.match(self.xml, cell.start)
                assert opening is not None
                closed = opening.group().endswith(b"/>")
                at = self._parser.CurrentByteIndex
                cell.end = opening.end() if closed else self.xml.index(b">", at) + 1
        self._path.pop()


def sheet_parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """The part of the archive that holds each sheet."""
    workbook = workbook_part(archive)
    targets = {found["Id"]: _target(workbook, found) for found in _relations(archive, workbook)}
    parts = {}
    for element in ElementTree.fromstring(archive.read(workbook)).iter():
        if element.tag.rpartition("}")[2] == "sheet":
            ids = [v for k, v in element.attrib.items() if k.rpartition("}")[2] == "id"]
            parts[element.attrib["name"]] = targets[ids[0]]
    return parts


def covered(xml: bytes) -> int:
    """How many cells the merged and linked ranges of a sheet cover, which openpyxl all makes."""
    from openpyxl.utils import range_boundaries

    text = xml.replace(b"\0", b"")  # of UTF-16
    if b"mergeCell" not in text and b"hyperlink" not in text:
        return 0
    count = 0
    for _, element in ElementTree.iterparse(io.BytesIO(xml)):
        if element.tag.rpartition("}")[2] in ("mergeCell", "hyperlink"):
            left, top, right, bottom = range_boundaries(element.get("ref", "A1"))
            height = _MOST_ROWS if top is None or bottom is None else bottom - top + 1
            width = _MOST_COLUMNS if left is None or right is None else right - left + 1
            count += height * width
    return count


def workbook_part(archive: zipfile.ZipFile) -> str:
    """The part that lists the sheets."""
    for relation in _relations(archive, ""):
        if relation["Type"].endswith(_WORKBOOK):
            return _target("", relation)
    raise ValueError("it has no workbook")


def with_part(content: bytes, part: str, xml: bytes, *, formulas_changed: bool) -> bytes:
    """The archive with another XML in one part; Excel is asked to calculate its formulas anew."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        workbook = workbook_part(archive)

    def change(name: str, data: bytes) -> bytes | None:
        if name == part:
            return xml
        if name == workbook and b"fullCalcOnLoad" not in data:
            return re.sub(rb"(<(?:\w+:)?calcPr)\b", rb'\1 fullCalcOnLoad="1"', data)
        if formulas_changed and name.endswith(f"/{_CALCULATION}.xml"):
            return None
        return _without_calculation(name, data) if formulas_changed else data

    return rewritten(content, change)


def reference(row: int, column: int) -> str:
    """The name of a cell.

    >>> reference(7, 28)
    'AB7'
    """
    return f"{letters(column)}{row}"


def letters(column: int) -> str:
    """The name of a column, counted from 1."""
    name = ""
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name


def _column_of(place: str) -> int:
    number = 0
    for letter in place.rstrip("0123456789"):
        number = 26 * number + ord(letter.upper()) - ord("A") + 1
    return number


def _edited(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """``data`` with each piece from start to end replaced; pieces do not overlap."""
    pieces, done = [], 0
    for start, end, new in sorted(edits, key=lambda edit: edit[:2]):
        pieces += [data[done:start], new]
        done = end
    return b"".join([*pieces, data[done:]])


def _without_calculation(name: str, data: bytes) -> bytes:
    """A list of parts without the order of calculation, in which each formula has an entry."""
    if not name.endswith((".rels", "[Content_Types].xml")):
        return data
    return re.sub(
        rb"<(?:Override|Relationship)\s[^>]*%s\.xml[^>]*>" % _CALCULATION.encode(), b"", data
    )


def _relations(archive: zipfile.ZipFile, part: str) -> list[dict[str, str]]:
    name = part.rpartition("/")[2]
    listed = ElementTree.fromstring(archive.read(join(dirname(part), "_rels", f"{name}.rels")))
    return [element.attrib for element in listed]


def _target(part: str, relation: dict[str, str]) -> str:
    target = relation["Target"]
    if target.startswith("/"):
        return target.lstrip("/")
    return normpath(join(dirname(part), target))
