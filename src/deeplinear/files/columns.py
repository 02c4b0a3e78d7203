"""Which columns of a long file hold the row ids, the column ids and the values."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..completion.data.id_encoder import IdEncoder
from ..errors import InputError
from .refusals import shown
from .selection import position

CHUNK = 1 << 14  # lines of text at a time: their cells stay in the cache

#: The columns of row ids, column ids and values by heading or number; None is the default place.
Wanted = tuple[str | None, ...]
#: One encoder for rows, one for columns.
Encoders = tuple[IdEncoder, IdEncoder]
#: Codes of rows, codes of columns, values.
Piece = tuple[np.ndarray, np.ndarray, np.ndarray]

# Headings of values, such as Book-Rating.
_VALUES = re.compile(r"(.*[\W_])?(ratings?|rate|scores?|stars?|values?)", re.IGNORECASE)

ARGUMENTS = ("--rows", "--cols", "--values")


@dataclass(frozen=True)
class Source:
    """A long file that is open for reading in pieces."""

    names: tuple[str, ...]  # of the columns
    count: int  # of the entries, where the file says it; else 0
    pieces: Iterator[Piece]


def find_columns(wanted: Wanted, header: Sequence[str], path: Path) -> list[int]:
    """Positions of the wanted columns; `InputError` if one is absent or named twice.

    A number is a position from 1, and a heading only where there is no such position. The default
    is the first columns, or the first that have a heading. ``header`` holds empty texts where
    there are no headings.
    """
    default = [c for c, name in enumerate(header) if name.strip()] or list(range(len(header)))
    found = [_position(name, default[k : k + 1], k, header, path) for k, name in enumerate(wanted)]
    _check_values(wanted, header, path)
    if len(set(found)) < len(found):
        raise InputError(
            f"--rows, --cols, --values: '{path}': different columns are needed, got numbers "
            f"{', '.join(str(k + 1) for k in found)}."
        )
    return found


def _check_values(wanted: Wanted, header: Sequence[str], path: Path) -> None:
    """`InputError` if by default another column would be the values than the one called so."""
    named = [name.strip() for name in header if name.strip()]
    if wanted[2:] != (None,) or len(named) < 4 or _VALUES.fullmatch(named[2]):
        return
    likely = next((name for name in named if _VALUES.fullmatch(name)), None)
    if likely is not None:
        raise InputError(
            f"--values: the third column of '{path}' is '{named[2]}', and '{likely}' another one; "
            "name the columns with --rows, --cols and --values."
        )


def _position(
    name: str | None, default: list[int], k: int, header: Sequence[str], path: Path
) -> int:
    if name is None and default:
        return default[0]
    number = k + 1 if name is None else _number(name)
    if number > len(header) and name not in header:
        raise InputError(
            f"{ARGUMENTS[k]}: '{path}' has {len(header)} column{'s' * (len(header) != 1)}, and "
            f"number {number} was asked for; name another one, or the --separator of the file."
        )
    if name is not None and number == 0 and not any(header):
        raise InputError(
            f"{ARGUMENTS[k]}: '{path}' has no headings, and {shown(name)} was asked for; give the "
            "number of the column."
        )
    return position(str(number) if name is None else name, header, ARGUMENTS[k], path)


def _number(name: str) -> int:
    """The position from 1 that a name may mean; 0 for none."""
    return int(name[:9]) if name.isascii() and name.isdigit() else 0
