"""Mixed tables as matrices for methods that know numbers only: labels become indicators."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..completion.data.features import CodedTable, Feature, FeatureKind


@dataclass(frozen=True)
class Expansion:
    """Where the features went: first column and number of columns, centre and scale of each."""

    spans: list[tuple[int, int]]
    center: np.ndarray
    scale: np.ndarray


def expand(table: CodedTable, *, scaled: bool) -> tuple[np.ndarray, Expansion]:
    """A matrix with a column for each number and each label of a category, and the way back.

    ``scaled``: numbers in standard deviations about their mean.
    """
    blocks: list[np.ndarray] = []
    spans, center, scale = [], [], []
    for feature, x in zip(table.features, table.values.T, strict=True):
        start = sum(block.shape[1] for block in blocks)
        if feature.kind is FeatureKind.category:
            codes = np.arange(len(feature.categories))
            block = np.where(np.isnan(x)[:, None], np.nan, x[:, None] == codes)
        else:
            block = x[:, None].copy()
        seen = x[~np.isnan(x)]
        number = scaled and feature.kind is not FeatureKind.category and len(seen)
        center.append(float(seen.mean()) if number else 0.0)
        scale.append(float(seen.std()) or 1.0 if number else 1.0)
        blocks.append((block - center[-1]) / scale[-1])
        spans.append((start, block.shape[1]))
    return np.hstack(blocks), Expansion(spans, np.array(center), np.array(scale))


def collapse(matrix: np.ndarray, back: Expansion, features: Sequence[Feature]) -> np.ndarray:
    """The table of a completed matrix: numbers in their units, codes of the largest indicators."""
    columns = []
    for j, (feature, (start, width)) in enumerate(zip(features, back.spans, strict=True)):
        block = matrix[:, start : start + width]
        if feature.kind is FeatureKind.category:
            columns.append(block.argmax(axis=1).astype(float))
        else:
            columns.append(block[:, 0] * back.scale[j] + back.center[j])
    return np.stack(columns, axis=1)
