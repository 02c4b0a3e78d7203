"""A category as the columns of a fit: one indicator (0 or 1) per label."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .columns import Mask
from .features import Feature, FeatureKind


@dataclass(frozen=True)
class Indicators:
    """Which columns of a fit belong to which feature of a table.

    A number is one column. A category has an indicator for each label that was seen; of two labels
    the second alone is enough, and one label is a column of ones. ``labels`` holds, per feature,
    the codes of the labels that were seen; None for numbers.
    """

    labels: tuple[np.ndarray | None, ...]

    @classmethod
    def of(cls, values: np.ndarray, observed: Mask, features: Sequence[Feature]) -> "Indicators":
        """From a table of numbers and codes (rows, features)."""
        return cls(
            tuple(
                np.unique(values[observed[:, j], j]).astype(int)
                if feature.kind is FeatureKind.category
                else None
                for j, feature in enumerate(features)
            )
        )

    @cached_property
    def owner(self) -> np.ndarray:
        """The feature of each column of the fit."""
        return np.repeat(np.arange(len(self.labels)), self._widths)

    @cached_property
    def spans(self) -> list[slice]:
        """The columns of each feature."""
        ends = np.cumsum(self._widths).tolist()
        return [slice(e - w, e) for e, w in zip(ends, self._widths, strict=True)]

    @cached_property
    def numbers(self) -> np.ndarray:
        """The positions of the features that are numbers."""
        return np.flatnonzero([codes is None for codes in self.labels])

    @cached_property
    def categories(self) -> list[int]:
        """The positions of the features that are categories."""
        return [j for j, codes in enumerate(self.labels) if codes is not None]

    @cached_property
    def columns_of_numbers(self) -> np.ndarray:
        return np.array([self.spans[j].start for j in self.numbers], int)

    @cached_property
    def groups(self) -> list[slice]:
        """The columns of the categories with more than one."""
        return [s for s in self.spans if s.stop - s.start > 1]

    @property
    def _widths(self) -> list[int]:
        return [1 if codes is None or len(codes) <= 2 else len(codes) for codes in self.labels]

    def seen(self, feature: int) -> np.ndarray:
        """The codes of the labels of a category that were seen."""
        codes = self.labels[feature]
        assert codes is not None
        return codes

    def expand(self, values: np.ndarray) -> np.ndarray:
        """A table of numbers and codes as the columns of the fit; the table itself without any
        category.
        """
        if not self.categories:
            return values
        out = values[:, self.owner].astype(np.float64)
        for j in self.categories:
            out[:, self.spans[j]] = values[:, [j]] == self._marked(j)
        return out

    def collect(self, expanded: np.ndarray) -> np.ndarray:
        """What `expand` was given, from complete indicators; the inverse of it."""
        if not self.categories:
            return expanded
        out = np.empty((len(expanded), len(self.labels)))
        out[:, self.numbers] = expanded[:, self.columns_of_numbers]
        for j in self.categories:
            each = self.per_label(j, expanded[:, self.spans[j]])
            out[:, j] = self.seen(j)[each.argmax(axis=1)]
        return out

    def per_label(self, feature: int, indicators: np.ndarray) -> np.ndarray:
        """The indicators (rows, columns of the feature) with one column for each label seen."""
        if len(self.seen(feature)) == 2:
            return np.column_stack([1 - indicators, indicators])
        return indicators

    def label_counts(self, feature: int, sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """How often each label was seen, from the sums and counts of the columns of the fit."""
        span = self.spans[feature]
        each = self.per_label(feature, sums[None, span] / np.maximum(counts[span], 1))[0]
        return each * counts[span.start]

    def _marked(self, feature: int) -> np.ndarray:
        """The codes whose indicators are the columns of the feature."""
        codes = self.seen(feature)
        return codes[1:] if len(codes) == 2 else codes
