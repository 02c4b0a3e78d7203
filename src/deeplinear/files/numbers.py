"""What counts as a number in a text file: the same for tables and for long data."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError

# A mark of thousands that is a blank stands for all of these.
BLANKS = " \u00a0\u202f\u2009"
_MINUS = "\u2212"  # as statistics offices typeset it
# A note behind a number: the flags of statistics offices, as 153 p, and marks, as 12* or 7 (e). No
# letters that may be units or magnitudes: 1 k is not 1.
_NOTE = re.compile(
    r"(?<=[\d.,%])(?:\s+[bcdefinprsuz]{1,2}|\s*[*†‡]+|\s*\([a-z\d]{1,2}\))$", re.IGNORECASE
)


@dataclass(frozen=True)
class NumberFormat:
    """How numbers are written: the decimal mark, and what stands between groups of three digits.

    A sign of percent may follow: "12 %" is 12; with ``notes`` also a short note: "153 p" is 153.
    Both signs of minus are read.

    >>> NumberFormat(",", ".").parse("-1.234,5")
    -1234.5
    """

    decimal: str = "."
    thousands: str = ""
    notes: bool = False

    def __post_init__(self) -> None:
        if self.decimal not in (".", ","):
            raise InputError(f"--decimal: '{self.decimal}' is no decimal mark; give '.' or ','.")
        if self.thousands and self.thousands not in (",", ".", "'", "’", " "):
            raise InputError(
                f"--thousands: '{self.thousands}' is no mark of thousands; give ',', '.', \"'\" or "
                "' '."
            )
        if self.decimal == self.thousands:
            raise InputError(
                f"--thousands: '{self.thousands}' is the decimal mark already; give another one, "
                "or --decimal too."
            )

    def parse(self, text: str) -> float:
        """``text`` as a float; ValueError for anything else, also for what only Python reads so.

        Python takes 1_000 and digits of all scripts; other programs that read the file do not.
        """
        text = text.strip()
        if self.notes:
            text = _NOTE.sub("", text)
        if text.endswith("%"):
            text = text[:-1].rstrip()
        if text.startswith(_MINUS):
            text = "-" + text[1:]
        if self.thousands and self._grouped.fullmatch(text):
            text = self._marks.sub("", text)
        if self.decimal == ",":
            if "." in text:
                raise ValueError(text)
            text = text.replace(",", ".")
        if "_" in text or not text.isascii():
            raise ValueError(text)
        return float(text)

    def parse_all(self, texts: Sequence[str], *, simple: bool = False) -> np.ndarray:
        """`parse` of each; ValueError if one fails. ``simple``: all are ASCII without _ and %."""
        if simple and self == PLAIN:
            return np.fromiter(map(float, texts), float, len(texts))
        joined = "\n".join(texts)  # one look at all is faster than one at each
        odd = "_" in joined or "%" in joined or not joined.isascii()
        if self.thousands or self.notes or odd:
            return np.fromiter(map(self.parse, texts), float, len(texts))
        if self.decimal == ",":
            if "." in joined:
                raise ValueError("a decimal point")
            texts = joined.replace(",", ".").split("\n") if texts else []
        return np.fromiter(map(float, texts), float, len(texts))

    def note(self, text: str) -> str:
        """The note behind a number, or nothing."""
        found = _NOTE.search(text.strip()) if self.notes else None
        return found.group().strip() if found else ""

    def reads(self, text: str) -> bool:
        """Whether ``text`` is a number."""
        try:
            self.parse(text)
        except ValueError:
            return False
        return True

    @property
    def marks(self) -> bool:
        """Whether numbers are written with other marks than a decimal point."""
        return self.decimal != "." or bool(self.thousands)

    def describe(self) -> str:
        """The marks, for a line that says what was recognized."""
        more = f", thousands mark '{self.thousands}'" if self.thousands else ""
        return f"decimal mark '{self.decimal}'{more}"

    def write(self, number: float) -> str:
        """Ten digits, more than any completion is worth, so that the file stays readable; all of a
        whole number.
        """
        if number.is_integer() and abs(number) < 1e15:
            return f"{number:.0f}"
        return format(number, ".10g").replace(".", self.decimal)

    @cached_property
    def _marks(self) -> re.Pattern[str]:
        return re.compile(f"[{BLANKS}]" if self.thousands == " " else re.escape(self.thousands))

    @cached_property
    def _grouped(self) -> re.Pattern[str]:
        mark, decimal = self._marks.pattern, re.escape(self.decimal)
        return re.compile(rf"[+-]?\d{{1,3}}(?:{mark}\d{{3}})+(?:{decimal}\d*)?")


PLAIN = NumberFormat()

_END = r"(?:[eE][+-]?\d+)?"
# Decimal marks that cannot stand between groups of three digits.
_DECIMAL = (
    r"[+-]?(?:\d*{0}(?!\d{{3}}(?!\d))\d+|0{0}\d+|\d{{4,}}{0}\d+|\d+{0}|\d+{0}\d+(?=[eE]))" + _END
)
_SHAPES = {
    "decimal ,": re.compile(_DECIMAL.format(",")),
    "decimal .": re.compile(_DECIMAL.format(r"\.")),
    # groups of three digits that cannot be decimals
    "thousands ,": re.compile(rf"[+-]?\d{{1,3}}(?:,\d{{3}}){{2,}}{_END}"),
    "thousands .": re.compile(rf"[+-]?\d{{1,3}}(?:\.\d{{3}}){{2,}}{_END}"),
    "thousands , decimal .": re.compile(rf"[+-]?\d{{1,3}}(?:,\d{{3}})+\.\d*{_END}"),
    "thousands . decimal ,": re.compile(rf"[+-]?\d{{1,3}}(?:\.\d{{3}})+,\d*{_END}"),
    "either ,": re.compile(r"[+-]?[1-9]\d{0,2},\d{3}"),
    "either .": re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}"),
}
# Marks of thousands that are never decimal marks.
_SPACED = re.compile(rf"([+-]?\d{{1,3}})((?:['’{BLANKS}]\d{{3}})+)(?!\d)(.*)")


def shape_of(text: str) -> str:
    """Which marks a text that looks like a number needs, ``plain`` for none, or ``""``.

    >>> [shape_of(text) for text in ("1,5", "1,234", "1 234,567", "12 %", "x")]
    ['decimal ,', 'either ,', 'thousands   decimal ,', 'plain', '']
    """
    text = text.strip().removesuffix("%").rstrip()
    if text.startswith(_MINUS):
        text = "-" + text[1:]
    grouped = _SPACED.fullmatch(text)
    if grouped is None:
        return _shape(text)
    _, groups, rest = grouped.groups()
    mark = " " if groups[0] in BLANKS else groups[0]
    if any(group != groups[0] for group in groups[::4]):
        return ""
    shape = _shape("1234" + rest)  # where a comma cannot stand between groups
    if not shape.startswith(("plain", "decimal")):
        return ""
    return f"thousands {mark}" if shape == "plain" else f"thousands {mark} {shape}"


def _shape(text: str) -> str:
    if not ("," in text or "." in text):
        return "plain" if PLAIN.reads(text) else ""
    found = next((name for name, shape in _SHAPES.items() if shape.fullmatch(text)), "")
    return found or ("decimal ." if PLAIN.reads(text) else "")


def guess_format(texts: Iterable[str]) -> NumberFormat | None:
    """The format in which all of ``texts`` that look like numbers are numbers, if only one is.

    None where two formats read them differently (1,234 alone) or where none reads them all.
    """
    shapes = {shape_of(text) for text in texts}
    decimals = {s[-1] for s in shapes if s.startswith("decimal") or " decimal " in s}
    thousands = {s[10] for s in shapes if s.startswith("thousands")}
    if len(decimals) > 1 or len(thousands) > 1:
        return None
    if {"either ,", "either ."} <= shapes:
        return None
    mark, group = "".join(decimals), "".join(thousands)
    for either in ("either ,", "either ."):
        sign = either[-1]
        if either not in shapes or sign in (mark, group):
            continue
        if sign == "," and (mark == "." or group == "."):
            mark, group = (".", ",") if mark == "." else (",", ".")
        elif sign == "," or (mark == "," and group != "."):
            return None
    mark = mark or ("," if group == "." else ".")
    return None if mark == group else NumberFormat(mark, group)


def advice(text: str, used: NumberFormat = PLAIN, others: Iterable[str] = ()) -> str:
    """The options that would read ``text``, and ``others`` with it, as numbers; else nothing.

    >>> advice("1,5"), advice("1,234"), advice("x")
    ("--decimal ','", "--decimal ',' or --thousands ','", '')
    """
    texts = {text, *(other for other in others if shape_of(other) or used.reads(other))}
    if "_" in text or not text.lstrip(_MINUS).isascii():
        try:
            float(text)
        except ValueError:
            pass
        else:
            return "the digits 0 to 9, without '_'"
    if not shape_of(text):
        return "--notes" if shape_of(_NOTE.sub("", text)) else ""
    marks = ["", ",", ".", " ", "'", "’"]
    formats = [NumberFormat(d, t) for t in marks for d in ",." if d != t and (d, t) != (".", "")]
    ways = [way for way in formats if all(map(way.reads, texts))]
    least = [w for w in ways if not (w.thousands and NumberFormat(w.decimal) in ways)]
    return " or ".join(map(_options, least[:2]))


def _options(numbers: NumberFormat) -> str:
    words = ["--decimal ','"] if numbers.decimal == "," else []
    if numbers.thousands:
        quote = '"' if numbers.thousands == "'" else "'"
        words.append(f"--thousands {quote}{numbers.thousands}{quote}")
    return " ".join(words)
