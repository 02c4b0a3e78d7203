"""A `Layout` in a model file, and back."""

from collections.abc import Hashable

import numpy as np

from ..file_format import Arrays, Meta
from ..schema import BYTES, TRUTH, WHOLE, Field, Schema, check_arrays
from .features import Feature, FeatureKind
from .ids import Ids
from .layout import Layout

_LAYOUT: Schema = {
    "width": Field(WHOLE, least=1),
    "fitted": Field(WHOLE, ("features",), least=0),
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
    for j, feature in enumerate(features):
        if feature.categories:
            labels = np.fromiter(feature.categories, object, len(feature.categories))
            text = Ids(labels, len(labels)).to_bytes(f"the column '{feature.name}'")
            arrays[f"categories.{j}"] = np.frombuffer(text, np.uint8)


def restore_layout(meta: Meta, arrays: Arrays) -> Layout:
    """The layout of `dump_layout`. **Raises** `InputError` or ValueError for anything else."""
    kept = meta["layout"]
    check_arrays(_LAYOUT, kept)
    width, fitted, dropped = kept["width"], tuple(kept["fitted"]), tuple(kept["dropped"])
    if len({*fitted, *dropped}) < len(fitted + dropped) or max(fitted + dropped) >= width:
        raise ValueError("the layout has columns twice, or outside of the table")
    features = []
    names = named(kept["names"], len(fitted))
    for j, (name, kind) in enumerate(zip(names, kept["kinds"], strict=True)):
        place = f"categories.{j}"
        labels: tuple[Hashable, ...] = ()
        if place in arrays:
            check_arrays({place: Field(BYTES, (None,))}, arrays)
            labels = tuple(Ids.from_bytes(arrays[place].tobytes()).labels.tolist())
        features.append(Feature(name, FeatureKind(kind), labels))
    return Layout(width, fitted, tuple(features), dropped, kept["coded"])


def named(names: object, count: int) -> list[str]:
    """``names``, if these are so many texts; ValueError otherwise."""
    if not (isinstance(names, list) and len(names) == count):
        raise ValueError(f"there are not {count} names of columns")
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a name of a column is no text")
    return names
