"""How depths and names are written in text, tables, legends and messages."""

import math
import unicodedata

# marks that turn the direction of writing
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def depth_number(depth: float) -> str:
    """``3``, ``2.5`` or ``∞``.

    >>> from deeplinear.labels import depth_number
    >>> [depth_number(depth) for depth in (3, 2.5, math.inf)]
    ['3', '2.5', '∞']
    """
    return "∞" if math.isinf(depth) else f"{depth:g}"


def depth_label(depth: float) -> str:
    """``depth 3`` or ``depth ∞``: for sentences, tables and progress.

    >>> from deeplinear.labels import depth_label
    >>> depth_label(math.inf)
    'depth ∞'
    """
    return f"depth {depth_number(depth)}"


def short_depth_label(depth: float) -> str:
    """``N = 3`` or ``N = ∞``: for legends and titles of figures.

    >>> from deeplinear.labels import short_depth_label
    >>> short_depth_label(2.5)
    'N = 2.5'
    """
    return f"N = {depth_number(depth)}"


def printable(text: str) -> str:
    r"""``text`` as one line that any terminal shows: names of files and columns may hold anything.

    Control characters, ends of lines and marks that turn the direction of writing come as Python
    writes them, bytes of a file's name that are no text as ``\xe9``.

    >>> from deeplinear.labels import printable
    >>> print(printable("a\nb"), printable("caf\udce9"))
    a\nb caf\xe9
    """
    return "".join(map(_shown, text)) if not text.isprintable() else text


def _shown(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds the byte of an undecodable name
        return rf"\x{ord(character) - 0xDC00:02x}"
    hidden = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
    if hidden or unicodedata.bidirectional(character) in _TURNING or character in "\u200e\u200f":
        return repr(character)[1:-1] if character.isascii() else f"\\u{ord(character):04x}"
    return character
