"""Text that a spreadsheet would run as a formula when it opens a file of text."""

from collections.abc import Callable

from ..errors import InputError
from .numbers import PLAIN

# also in the width of Chinese and Japanese characters
_STARTS = tuple("=+-@\t\r\n＝＋－＠")


def is_formula(text: str, is_number: Callable[[str], bool] = PLAIN.reads) -> bool:
    """Whether a spreadsheet would take a cell for a formula, or strip it down to one.

    Numbers such as −1.5 are none, nor is a sign alone, which often marks a missing value.

    >>> [is_formula(text) for text in ("=1+1", "-1.5", "-x", "@SUM(A1)", "-", "a=b")]
    [True, False, True, True, False, False]
    """
    bare = text.lstrip(" \u00a0")
    return len(bare.strip()) > 1 and bare.startswith(_STARTS) and not is_number(bare)


def neutral(text: str, is_number: Callable[[str], bool] = PLAIN.reads) -> str:
    """``text`` with an apostrophe before it where `is_formula`: spreadsheets show it as text."""
    return "'" + text if is_formula(text, is_number) else text


def meaningless(path: object) -> InputError:
    """The option --escape-formulas for a file whose cells have types."""
    return InputError(
        f"--escape-formulas: '{path}' is no text, and its cells have types that no spreadsheet "
        "takes for formulas; leave it out."
    )
