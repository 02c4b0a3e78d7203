"""What the columns of a mixed table hold, and such a table as numbers."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# Text is categories if its labels come again: at most this part of its entries are distinct, and at
# most so many, or so small a part of them.
_DISTINCT, _FEW, _RARE, _MANY = 2 / 3, 20, 1 / 20, 200


class FeatureKind(StrEnum):
    """What the entries of a column are, and so what its missing entries may become.

    >>> [str(kind) for kind in FeatureKind]
    ['number', 'integer', 'category']
    """

    number = "number"
    integer = "integer"  # whole numbers: imputed values are rounded
    category = "category"  # one of some labels, booleans included: imputed by a decision


@dataclass(frozen=True)
class Feature:
    """A column that takes part in a fit.

    ``categories`` are the labels of the codes 0, 1, …; empty unless the kind is category.

    >>> Feature("colour", FeatureKind.category, ("blue", "red")).categories[1]
    'red'
    """

    name: str
    kind: FeatureKind = FeatureKind.number
    categories: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class CodedTable:
    """A table of numbers and categories: what files of mixed columns become.

    ``values`` is float64, rows × features, NaN where an entry is missing; a category's entry is its
    code, the position of its label in ``Feature.categories``.

    >>> colour = Feature("colour", FeatureKind.category, ("blue", "red"))
    >>> values = np.array([[1.0, 0], [2, 1], [np.nan, 0], [2, 1], [1, np.nan]])
    >>> table = CodedTable(values, (Feature("size"), colour))
    >>> import deeplinear as dl
    >>> filled = dl.complete(table, depth=2, random_state=0)
    >>> sorted(set(filled.values[:, 1].tolist()))  # codes, never .4 of a colour
    [0.0, 1.0]
    """

    values: np.ndarray
    features: tuple[Feature, ...]


def few_labels(distinct: int, count: int) -> bool:
    """Whether a column of text with so many distinct among its ``count`` entries is a category.

    At most 20 labels (in large tables 5 % of the entries, at most 200), most of which come again;
    and two at least: a cross in a list of crosses says that the empty cells mean no.

    >>> few_labels(2, 3), few_labels(1, 50), few_labels(21, 100), few_labels(21, 1000)
    (True, False, False, True)
    """
    return 2 <= distinct <= min(_DISTINCT * count, max(_FEW, min(_RARE * count, _MANY)))
