"""What the columns of a mixed table hold, and such a table as numbers."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class FeatureKind(StrEnum):
    """What the entries of a column are, and so what its missing entries may become."""

    number = "number"
    integer = "integer"  # whole numbers: imputed values are rounded
    category = "category"  # one of some labels, booleans included: imputed by a decision


@dataclass(frozen=True)
class Feature:
    """A column that takes part in a fit.

    ``categories`` are the labels of the codes 0, 1, …; empty unless the kind is category.
    """

    name: str
    kind: FeatureKind = FeatureKind.number
    categories: tuple[Hashable, ...] = ()


@dataclass(frozen=True)
class CodedTable:
    """A table of numbers and categories: what files of mixed columns become.

    ``values`` is float64, rows × features, NaN where an entry is missing; a category's entry is its
    code, the position of its label in ``Feature.categories``.
    """

    values: np.ndarray
    features: tuple[Feature, ...]
