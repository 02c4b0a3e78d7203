"""``--min-value`` and ``--max-value``: bounds of imputed cells, for all columns or for one; and
``--clip``: those of ratings.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError

if TYPE_CHECKING:
    from ..completion.data.features import Feature

_HELP = "of imputed cells: a number or none; COLUMN=NUMBER for one column; repeatable."
Minimum = Annotated[list[str] | None, typer.Option("--min-value", help=f"Lower bound {_HELP}")]
Maximum = Annotated[list[str] | None, typer.Option("--max-value", help=f"Upper bound {_HELP}")]


Clip = Annotated[
    str | None,
    typer.Option(help="Cut predictions: range (of the values), or LOW,HIGH such as 1,5."),
]


def parse_clip(text: str | None) -> "str | tuple[float, float] | None":
    """``clip`` of the estimator of ratings.

    >>> parse_clip("1,5")
    (1.0, 5.0)
    """
    if text in (None, "range"):
        return text
    parts = str(text).split(",")
    ends = [_bound(part, "--clip") for part in parts] if len(parts) == 2 else [None]
    low, high = (*ends, None)[:2]
    if low is None or high is None or not low < high:
        raise InputError(f"--clip: '{text}' is no range; give range, or LOW,HIGH such as 1,5.")
    return low, high


def parse_bounds(
    low: Sequence[str] | None, high: Sequence[str] | None, features: Sequence["Feature"]
) -> dict[str, list[float | str | None] | str]:
    """``min_value`` and ``max_value`` of the estimator; "auto" where nothing is said.

    COLUMN is a heading, or a number where there are none; columns that no word names keep "auto".

    >>> from deeplinear.completion.data.features import Feature
    >>> parse_bounds(["0", "x=none"], None, [Feature("x"), Feature("y")])
    {'min_value': [None, 0.0], 'max_value': 'auto'}
    """
    both = (("min_value", "--min-value", low), ("max_value", "--max-value", high))
    names = [feature.name if not feature.categories else None for feature in features]
    return {
        name: _bounds(words, option, names) if words else "auto" for name, option, words in both
    }


def _bounds(
    words: Sequence[str], option: str, names: Sequence[str | None]
) -> list[float | str | None]:
    bounds: list[float | str | None] = ["auto"] * len(names)
    said = [word.rpartition("=")[0] for word in words]
    for column in said:
        if said.count(column) > 1:
            where = f"for '{column}'" if column else "for all columns"
            raise InputError(f"{option}: it is given twice {where}; give it once.")
    for word in sorted(words, key=lambda word: "=" in word):  # what holds for all comes first
        column, _, number = word.rpartition("=")
        if not column:
            bounds = [_bound(number, option)] * len(names)
        elif column in names:
            bounds[names.index(column)] = _bound(number, option)
        else:
            from ..files.refusals import listed

            raise InputError(
                f"{option}: '{column}' is no column of numbers that is fitted; these are "
                f"{listed(name for name in names if name is not None)}."
            )
    return bounds


def _bound(text: str, option: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{option}: '{text}' is no number; give a number, or none for no bound.")
    return number
