"""Which columns of a table are fitted, and as what; which are carried through."""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Any

import numpy as np

from ...errors import InputError
from .columns import NUMBERS, Column, Holds, Mask
from .features import CodedTable, Feature, FeatureKind, few_labels

# A category with more labels is none.
MAX_LABELS = 1000
_NUMBER = (Real, np.bool_)


@dataclass(frozen=True)
class Layout:
    """The columns of a table: its ``width``, which are ``fitted`` (positions), and as what.

    All others are carried through, but for the ``dropped`` ones. ``coded``: categories came as
    codes, and go out as codes.
    """

    width: int
    fitted: tuple[int, ...]
    features: tuple[Feature, ...]
    dropped: tuple[int, ...] = ()
    coded: bool = False

    @property
    def plain(self) -> bool:
        """Whether all columns are fitted, as numbers."""
        return len(self.fitted) == self.width and not self.has_categories

    @cached_property
    def has_categories(self) -> bool:
        return any(f.kind is FeatureKind.category for f in self.features)

    @cached_property
    def kept(self) -> list[int]:
        """The columns that come out."""
        gone = set(self.dropped)
        return [j for j in range(self.width) if j not in gone]

    @cached_property
    def carried(self) -> list[int]:
        inside = {*self.fitted, *self.dropped}
        return [j for j in range(self.width) if j not in inside]

    @cached_property
    def has_words(self) -> bool:
        """Whether there are labels that no number stands for."""
        return not all(isinstance(x, _NUMBER) for f in self.features for x in f.categories)

    def levels(self, feature: int) -> np.ndarray:
        """The number that stands for each label: itself if all are numbers, else its code."""
        labels = self.features[feature].categories
        if not self.coded and all(isinstance(label, _NUMBER) for label in labels):
            return np.array(labels, np.float64)
        return np.arange(len(labels), dtype=np.float64)

    def codes(self, values: np.ndarray) -> np.ndarray:
        """A table of numbers and levels (rows, fitted) as one of numbers and codes."""
        out = values
        for j, feature in enumerate(self.features):
            levels = self.levels(j)
            if feature.kind is FeatureKind.category and (levels != np.arange(len(levels))).any():
                out = out.copy() if out is values else out
                order = np.argsort(levels)
                place = np.searchsorted(levels[order], values[:, j])
                out[:, j] = order[np.minimum(place, len(levels) - 1)]
        return out

    def read(self, columns: Sequence[Column]) -> tuple[np.ndarray, Mask]:
        """The fitted columns as numbers and levels (NaN where missing), and what is observed.

        **Raises** `InputError` if a column does not hold what it held in the fit.
        """
        values = np.full((len(columns[0].missing), len(columns)), np.nan)
        for j, (column, feature) in enumerate(zip(columns, self.features, strict=True)):
            if feature.kind is FeatureKind.category:
                codes = _codes(column, feature)
                known = codes >= 0
                values[known, j] = self.levels(j)[codes[known]]
            elif column.holds in NUMBERS or column.missing.all():
                values[:, j] = np.where(column.missing, np.nan, _numeric(column))
            elif column.holds is Holds.boolean:
                values[~column.missing, j] = [float(x) for x in column.present]
            else:
                raise InputError(
                    f"column '{feature.name}' must hold numbers, as in the fit, got "
                    f"{column.holds}: convert it."
                )
        return values, ~np.column_stack([column.missing for column in columns])


def _numeric(column: Column) -> np.ndarray:
    return column.values if column.holds in NUMBERS else np.full(len(column.missing), np.nan)


def _codes(column: Column, feature: Feature) -> np.ndarray:
    index = {label: code for code, label in enumerate(feature.categories)}
    codes = np.full(len(column.missing), -1)
    codes[~column.missing] = [index.get(x, -1) for x in column.present]
    strange = np.flatnonzero((codes < 0) & ~column.missing)
    if len(strange):
        raise InputError(
            f"column '{feature.name}' has {len(strange)} label(s) that the fit never saw, the "
            f"first {_shown(column.values[strange[0]])} in row {strange[0]} "
            "(counted from 0): make it missing, or fit again with such rows."
        )
    return codes


def feature_of(column: Column, name: str, *, declared: bool, named: bool) -> Feature | None:
    """What a column is fitted as; None: it is carried through.

    ``declared``: the user calls it a category; ``named``: the user wants it fitted. **Raises**
    `InputError` where the user cannot be obeyed, and for numbers written as text.
    """
    if declared or column.holds in (Holds.boolean, Holds.category):
        return _category(column, name)
    if column.holds in NUMBERS:
        kind = FeatureKind.integer if column.holds is Holds.integer else FeatureKind.number
        return Feature(name, kind)
    if column.holds is Holds.mixture:
        word = next(x for x in column.present if isinstance(x, str))
        raise InputError(
            f"column '{name}' mixes numbers and text, as {_shown(word)}: replace the text by NaN "
            f"(missing_values={_shown(word)} takes one such word), or name the column in "
            "categorical."
        )
    if column.holds is Holds.text and few_labels(len(set(column.present)), len(column.present)):
        return _category(column, name)
    if column.holds is Holds.text and _are_numbers(column.present):
        raise InputError(
            f"column '{name}' holds numbers written as text, as {_shown(column.present[0])}: "
            "convert it, or name it in categorical, or leave it out with columns."
        )
    if named and not column.missing.all():
        raise InputError(
            f"columns: '{name}' holds {column.holds}, which cannot be fitted: leave it out, or "
            "name it in categorical if its values are labels."
        )
    return None


def _are_numbers(texts: list[str]) -> bool:
    """Whether at least half of them are; the rest may be words for missing."""

    def is_number(text: str) -> bool:
        try:
            float(text.replace(",", "."))
        except ValueError:
            return False
        return True

    return 2 * sum(map(is_number, texts)) >= len(texts) > 0


def _category(column: Column, name: str) -> Feature | None:
    """A category of the labels that are declared, or else seen; None without any entry."""
    present = column.present
    if not present:
        return None
    labels = column.labels
    try:
        if column.holds is Holds.boolean:
            labels = (False, True)
        elif not labels:
            if column.holds is Holds.integer:
                present = [int(x) for x in present]
            labels = tuple(_ordered(set(present)))
    except TypeError:
        raise InputError(
            f"categorical: '{name}' holds {column.holds}, which are no labels: leave it out."
        ) from None
    if len(labels) > MAX_LABELS:
        raise InputError(
            f"column '{name}' has {len(labels):,} labels, more than the {MAX_LABELS:,} that are "
            "fitted: merge rare ones, or leave it out with columns."
        )
    return Feature(name, FeatureKind.category, labels)


def _ordered(labels: set[Any]) -> list[Hashable]:
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=lambda label: (type(label).__name__, str(label)))


def _shown(label: object) -> str:
    text = repr(label)
    return text if len(text) <= 40 else text[:37] + "…'"


def check_chosen(chosen: object, name: str) -> None:
    """`InputError` unless the parameter ``name`` is None, or lists names or positions."""
    if chosen is None:
        return
    text = isinstance(chosen, str | bytes)
    listed = isinstance(chosen, Iterable) and not text and getattr(chosen, "ndim", 1) == 1
    columns = list(chosen) if listed else [None]  # type: ignore[call-overload]
    if not all(
        isinstance(x, str) or (isinstance(x, Integral) and not isinstance(x, bool)) for x in columns
    ):
        raise InputError(f"{name} must be a list of names or positions, got {chosen!r}.")


def positions(
    chosen: Collection[Hashable] | None, name: str, names: Sequence[str] | None, width: int
) -> list[int] | None:
    """The columns that the parameter ``name`` lists, by name or position (counted from 0), in
    increasing order; None for None.

    **Raises** `InputError` for what is not there, or twice.
    """
    check_chosen(chosen, name)
    if chosen is None:
        return None
    found = [_position(column, name, names, width) for column in chosen]
    twice = [c for c, j in zip(chosen, found, strict=True) if found.count(j) > 1]
    if twice:
        raise InputError(f"{name} must list every column once, got {twice[0]!r} more than once.")
    return sorted(found)


def _position(column: Hashable, name: str, names: Sequence[str] | None, width: int) -> int:
    if isinstance(column, str):
        if names is None:
            raise InputError(
                f"{name}: '{column}' is a name, but the columns of X have none: give positions "
                "(counted from 0)."
            )
        count = list(names).count(column)
        if count != 1:
            fault = "has no column" if not count else f"has {count} columns"
            fix = "give one of its columns" if not count else "give positions (counted from 0)"
            raise InputError(f"{name}: X {fault} '{column}': {fix}.")
        return list(names).index(column)
    assert isinstance(column, Integral), "check_chosen lets nothing else pass"
    if not -width <= column < width:
        raise InputError(f"{name}: X has {width} columns, got position {column}.")
    return int(column) % width


def check_coded(table: CodedTable, values: np.ndarray, layout: Layout) -> None:
    """`InputError` unless the fitted features have the names and labels of the fit, and codes of
    these.
    """
    if layout.has_categories and not layout.coded:
        raise InputError(
            "X must not be a CodedTable, since the labels of the fit came from a frame or an array."
        )
    for j, feature in zip(layout.fitted, layout.features, strict=True):
        given, x = table.features[j], values[:, j]
        if given.categories != feature.categories or given.name != feature.name:
            raise InputError(
                f"column {j} (counted from 0) must be '{feature.name}' with the labels of the fit, "
                f"got '{given.name}' with {len(given.categories)} labels: code it as in the fit."
            )
        codes = x[~np.isnan(x)]
        count = len(feature.categories)
        if feature.kind is FeatureKind.category and not np.isin(codes, np.arange(count)).all():
            raise InputError(
                f"column '{feature.name}' must hold codes from 0 to {count - 1}, the positions of "
                f"its labels, got {codes[~np.isin(codes, np.arange(count))][0]:g}."
            )
