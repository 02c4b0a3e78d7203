"""A `Layout` in a model file, and back."""

from collections.abc import Hashable
from itertools import pairwise

import numpy as np

from ...errors import InputError
from ..file_format import Arrays, Meta
from ..schema import (
    BYTES,
    TEXT,
    TRUTH,
    WHOLE,
    Field,
    Schema,
    check_arrays,
    check_nothing_left,
    take,
    take_part,
)
from .features import Feature, FeatureKind
from .ids import Ids
from .layout import Layout

_CARRIED = 1 << 20  # columns of a table, at most, of which a model keeps no name: they cost no byte
_LAYOUT: Schema = {
    "width": Field(WHOLE, least=1),
    "fitted": Field(WHOLE, ("features",), least=0),
    "names": Field(TEXT, ("features",)),
    "kinds": Field(TEXT, ("features",)),
    "dropped": Field(WHOLE, (None,), least=0),
    "coded": Field(TRUTH),
}


def dump_layout(layout: Layout, meta: Meta, arrays: Arrays) -> None:
    """Add a layout to the header and the arrays of a model file."""
    features = layout.features
    meta["layout"] = {
        "width": layout.width,
        "fitted": list(layout.fitted),
        "dropped": list(layout.dropped),
        "coded": layout.coded,
        "names": [feature.name for feature in features],
        "kinds": [feature.kind.value for feature in features],
    }
    check_arrays(_LAYOUT, meta["layout"])
    _check_width(layout.width, len(features))
    for j, feature in enumerate(features):
        if feature.categories:
            labels = np.fromiter(feature.categories, object, len(feature.categories))
            text = Ids(labels, len(labels)).to_bytes(f"the column '{feature.name}'")
            arrays[f"categories.{j}"] = np.frombuffer(text, np.uint8)


def restore_layout(meta: Meta, arrays: Arrays) -> Layout:
    """The layout of `dump_layout`, taken out of both. **Raises** `InputError` for anything else."""
    given = take_part(meta, "layout")
    kept = take(_LAYOUT, given)
    check_nothing_left(given)
    width, fitted, dropped = kept["width"], tuple(kept["fitted"]), tuple(kept["dropped"])
    if not (_rises(fitted, width) and _rises(dropped, width)) or {*fitted} & {*dropped}:
        raise InputError("its columns come twice, or are outside of the table.")
    _check_width(width, len(fitted))
    named = zip(kept["names"], kept["kinds"], strict=True)
    features = tuple(_feature(j, *about, arrays) for j, about in enumerate(named))
    return Layout(width, fitted, features, dropped, kept["coded"])


def _check_width(width: int, features: int) -> None:
    if width - features > _CARRIED:
        raise InputError(
            f"its table has {width - features:,} columns that are not fitted, of {_CARRIED:,} at "
            "most: give it without them."
        )


def _rises(columns: tuple[int, ...], width: int) -> bool:
    return all(j < k for j, k in pairwise((-1, *columns, width)))


def _feature(j: int, name: str, kind: str, arrays: Arrays) -> Feature:
    """Feature number ``j``; only a category has labels, and it has one at least."""
    if kind not in set(FeatureKind):
        raise InputError(f"the kind {kind!r} of the column '{name}' is none.")
    labels: tuple[Hashable, ...] = ()
    if kind == FeatureKind.category:
        place = f"categories.{j}"
        text = take({place: Field(BYTES, (None,))}, arrays)[place]
        ids = Ids.from_bytes(text.tobytes(), place)
        if ids.positional or not ids.size:
            raise InputError(f"the column '{name}' has no labels.")
        labels = tuple(ids.labels.tolist())
    return Feature(name, FeatureKind(kind), labels)
