"""Which columns of a table are fitted, carried through or left out, by heading or number."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from .refusals import listed, shown


@dataclass(frozen=True)
class Selection:
    """Columns by heading or number (from 1): a number is a position where there is one.

    ``columns``: the only ones to fit, the others are carried through; ``keep``: to be carried
    through untouched; ``drop``: left out of the output too; ``categorical``: whose entries are
    labels, numbers included.
    """

    columns: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()

    def positions(self, headings: Sequence[str], path: object) -> "Positions":
        """The columns of a table with these headings; `InputError` for one that is not there."""
        found = {
            name: frozenset(
                position(word, headings, f"--{name}", path) for word in getattr(self, name)
            )
            for name in ("columns", "keep", "drop", "categorical")
        }
        for name in found:
            for word in getattr(self, name):
                _tell(word, headings, f"--{name}", path)
        for one, other in (("columns", "keep"), ("columns", "drop"), ("keep", "drop")):
            both = found[one] & found[other]
            if both:
                raise InputError(
                    f"--{one}, --{other}: column {min(both) + 1} of '{path}' is named in both; "
                    "name it in one."
                )
        return Positions(**found)


@dataclass(frozen=True)
class Positions:
    """A `Selection` as positions from 0."""

    columns: frozenset[int]
    keep: frozenset[int]
    drop: frozenset[int]
    categorical: frozenset[int]

    def carries(self, j: int) -> bool:
        """Whether column j is to be carried through by the user's word."""
        chosen = self.columns | self.categorical
        return j in self.keep or (bool(self.columns) and j not in chosen)


def position(word: str, headings: Sequence[str], argument: str, path: object) -> int:
    """Position from 0 of the column that ``word`` means: its number from 1, or its heading.

    >>> position("2", ["a", "1", "2"], "--keep", "t.csv")
    1
    """
    if word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= len(headings):
        return int(word) - 1
    count = headings.count(word)
    if count == 1:
        return headings.index(word)
    if count > 1:
        raise InputError(
            f"{argument}: '{path}' has {count} columns {shown(word)}; give the number of one, such "
            f"as {headings.index(word) + 1}."
        )
    raise InputError(
        f"{argument}: '{path}' has no column {shown(word)}; it has {listed(headings)}."
    )


def _tell(word: str, headings: Sequence[str], argument: str, path: object) -> None:
    """A warning where a number is the position of one column and the heading of another."""
    j = position(word, headings, argument, path)
    if word in headings and headings.index(word) != j and word == str(j + 1):
        warnings.warn(
            f"{argument} {word} is column number {word} of '{path}', which is called "
            f"'{headings[j]}', not the one that is called '{word}'.",
            UserWarning,
            stacklevel=3,
        )
