"""Which columns of a long file hold the row ids, the column ids and the values."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..completion.data.ids import IdEncoder
from ..errors import InputError

CHUNK = 1 << 16  # lines of text at a time

#: The columns of row ids, column ids and values by heading or number; None is the default place.
Wanted = tuple[str | None, ...]
#: One encoder for rows, one for columns.
Encoders = tuple[IdEncoder, IdEncoder]
#: Codes of rows, codes of columns, values.
Piece = tuple[np.ndarray, np.ndarray, np.ndarray]

_ARGUMENTS = ("--rows", "--cols", "--values")


@dataclass(frozen=True)
class Source:
    """A long file that is open for reading in pieces."""

    names: tuple[str, ...]  # of the columns
    no_header: bool  # whether the first line is an entry already
    count: int  # of the entries, where the file says it; else 0
    pieces: Iterator[Piece]


def find_columns(
    wanted: Wanted, header: Sequence[str], path: Path, *, headed: bool = True
) -> list[int]:
    """Positions of the wanted columns; `InputError` if one is absent or named twice.

    Without a heading (``headed`` False) columns have numbers only.
    """
    found = [
        _position(name, default, header if headed else [""] * len(header), argument, path)
        for default, (name, argument) in enumerate(zip(wanted, _ARGUMENTS, strict=False))
    ]
    if len(set(found)) < len(found):
        raise InputError(
            f"--rows, --cols, --values: '{path}': different columns are needed, got numbers "
            f"{', '.join(str(k + 1) for k in found)}."
        )
    return found


def _position(
    name: str | None, default: int, header: Sequence[str], argument: str, path: Path
) -> int:
    """Position of a column that is named by its heading or its number (from 1)."""
    if name is None:
        position = default
    elif name in header:
        return header.index(name)
    elif name.isdigit() and int(name) > 0:
        position = int(name) - 1
    else:
        raise InputError(
            f"{argument}: '{path}' has no column '{name}'; it has "
            f"{', '.join(map(repr, header[:8]))}."
        )
    if position >= len(header):
        raise InputError(
            f"{argument}: '{path}' has {len(header)} columns, and number {position + 1} was asked "
            "for."
        )
    return position
