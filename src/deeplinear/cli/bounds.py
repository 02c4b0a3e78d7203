"""``--min-value`` and ``--max-value``: bounds of imputed cells, for all columns or for one."""

import math
from collections.abc import Sequence
from typing import Annotated

import typer

from ..errors import InputError

_HELP = "of imputed cells: a number or none; COLUMN=NUMBER for one column; repeatable."
Minimum = Annotated[list[str] | None, typer.Option("--min-value", help=f"Lower bound {_HELP}")]
Maximum = Annotated[list[str] | None, typer.Option("--max-value", help=f"Upper bound {_HELP}")]


def parse_bounds(
    low: Sequence[str] | None, high: Sequence[str] | None, names: Sequence[str]
) -> dict[str, list[float | str | None] | str]:
    """``min_value`` and ``max_value`` of the estimator; "auto" where nothing is said.

    COLUMN is a heading, or a number where there are none; columns that no word names keep "auto".

    >>> parse_bounds(["0", "x=none"], None, ["x", "y"])
    {'min_value': [None, 0.0], 'max_value': 'auto'}
    """
    both = (("min_value", "--min-value", low), ("max_value", "--max-value", high))
    return {
        name: _bounds(words, option, names) if words else "auto" for name, option, words in both
    }


def _bounds(words: Sequence[str], option: str, names: Sequence[str]) -> list[float | str | None]:
    bounds: list[float | str | None] = ["auto"] * len(names)
    for word in sorted(words, key=lambda word: "=" in word):  # what holds for all comes first
        column, _, number = word.rpartition("=")
        if not column:
            bounds = [_bound(number, option)] * len(names)
        elif column in names:
            bounds[names.index(column)] = _bound(number, option)
        else:
            from ..files.selection import listed

            raise InputError(
                f"{option}: '{column}' is no column that is fitted; these are {listed(names)}."
            )
    return bounds


def _bound(text: str, option: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise InputError(f"{option}: '{text}' is no number; give a number, or none for no bound.")
    return number
