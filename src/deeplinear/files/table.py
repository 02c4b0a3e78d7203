"""What every input file becomes: a matrix with NaN for missing, which knows how to write itself
back.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..completion.data.features import CodedTable, Feature
from ..errors import InputError
from ..places import check_file
from .formulas import meaningless
from .opening import file_type


class Table(ABC):
    """A matrix read from a file.

    ``values`` is float64, rows × fitted columns, NaN where an entry is missing; a category's entry
    is its code, as in `CodedTable`.
    """

    kind: ClassVar[str] = "table"  # "table" or "image": how a report shows it
    values: np.ndarray
    suffixes: tuple[str, ...]  # the types it can be written to, all of the kind it was read from
    carried: tuple[str, ...] = ()  # "'name' (text)" for each column that is carried through
    unfitted: Sequence[int] = ()  # their positions among all columns but row labels
    left_out: Sequence[int] = ()  # empty records: where they are among all rows
    notes: tuple[str, ...] = ()  # what was recognized or guessed, beside what `describe` says

    @abstractmethod
    def encode(self, filled: np.ndarray, suffix: str) -> bytes:
        """The bytes of a file of this kind with the missing entries taken from ``filled``, all
        others untouched.

        ``filled`` is in the space of ``values``: categories decided, integers rounded.
        """

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """What the columns of ``values`` hold; of a plain matrix numbers called "1", "2", …"""
        return tuple(Feature(str(j + 1)) for j in range(self.values.shape[1]))

    @property
    def coded(self) -> CodedTable:
        """What the estimators take."""
        return CodedTable(self.values, self.features)

    def escape_formulas(self, path: Path) -> None:
        """From now on `encode` puts an apostrophe before cells that a spreadsheet would run.

        `InputError` where cells have types, so that a text is never run.
        """
        raise meaningless(path)

    def pack(self, data: bytes, path: Path) -> bytes:
        """The encoded bytes as a file of this name holds them."""
        return data

    def hide(self, mask: np.ndarray) -> None:
        """Make the entries where ``mask`` is true missing too; ``mask`` has the shape
        :attr:`mask_shape`.
        """
        self.values = np.where(mask, np.nan, self.values)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        return self.values.shape

    def picture(self, matrix: np.ndarray) -> np.ndarray:
        """``matrix`` arranged for the eye; an image becomes height × width, or height × width ×
        3.
        """
        return matrix

    def place(self, row: int, column: int) -> str:
        """Where an entry lies, in the words of the file's reader (both indices from 0)."""
        return f"row {row + 1}, column {column + 1}"

    def understood(self) -> list[str]:
        """What was made of the file, a line for each thing that a reader should know."""
        lines = [self.describe()]
        labels = [f"{f.name!r} ({len(f.categories)})" for f in self.features if f.categories]
        for what, names in (("carried through", self.carried), ("categories", labels)):
            if names:
                more = f" and {len(names) - 8} more" if len(names) > 8 else ""
                lines.append(f"  {what}: {', '.join(names[:8])}{more}")
        return lines + [f"  {note}" for note in self.notes]

    def describe(self) -> str:
        """One line for the console: size and how much is missing."""
        m, n = self.values.shape
        missing = np.isnan(self.values).sum()
        return (
            f"{m:,} × {n:,} matrix, {missing:,} of {m * n:,} entries missing "
            f"({missing / (m * n):.1%})"
        )


def check_output(path: Path, table: Table, *, force: bool, argument: str) -> None:
    """Raise before any computing if ``path`` cannot be written, exists, or is of another kind than
    the input.
    """
    suffix = file_type(path)
    if suffix in (".jpg", ".jpeg") and table.kind == "image":
        raise InputError(
            f"{argument}: '{path}' would be a JPEG, whose lossy compression changes observed "
            "pixels; "
            f"give a name that ends in {_either(table.suffixes)}."
        )
    if suffix not in table.suffixes:
        raise InputError(
            f"{argument}: '{path}' ends in '{suffix}', but the output is of the same kind as the "
            "input; "
            f"give a name that ends in {_either(table.suffixes)}."
        )
    check_file(path, force=force, argument=argument)


def _either(suffixes: tuple[str, ...]) -> str:
    return " or ".join(suffixes)
