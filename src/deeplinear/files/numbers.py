"""What counts as a number in a text file: the same for tables and for long data."""

import numpy as np


def parse_number(text: str) -> float:
    """``text`` as a float; ValueError for anything else, also for what only Python reads so.

    Python takes 1_000 and digits of all scripts; other programs that read the file do not.

    >>> parse_number(" -2.5e3 ")
    -2500.0
    """
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return float(text)


def parse_numbers(texts: list[str]) -> np.ndarray:
    """`parse_number` of each; ValueError if one fails."""
    joined = "".join(texts)  # one look at all is faster than one at each
    if "_" in joined or not joined.isascii():
        raise ValueError("not plain numbers")
    return np.fromiter(map(float, texts), float, len(texts))


def is_number(text: str) -> bool:
    try:
        parse_number(text)
    except ValueError:
        return False
    return True


def spelling(text: str) -> str:
    """Advice, in brackets, for a number that is written as only Python reads it; else nothing."""
    try:
        float(text)
    except ValueError:
        return ""
    return "" if is_number(text) else " (write numbers with the digits 0 to 9, without '_')"
