"""A `Layout` in a model file, and back."""

from typing import Any

import numpy as np

from .features import Feature, FeatureKind
from .ids import Ids
from .layout import Layout

Arrays = dict[str, np.ndarray]


def dump_layout(layout: Layout, meta: dict[str, Any], arrays: Arrays) -> None:
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


def restore_layout(meta: dict[str, Any], arrays: Arrays) -> Layout:
    """The layout of `dump_layout`, taken out of ``arrays``."""
    kept = meta["layout"]
    features = []
    for j, (name, kind) in enumerate(zip(kept["names"], kept["kinds"], strict=True)):
        text = arrays.pop(f"categories.{j}", None)
        labels = () if text is None else tuple(Ids.from_bytes(text.tobytes()).labels.tolist())
        features.append(Feature(name, FeatureKind(kind), labels))
    return Layout(
        kept["width"], tuple(kept["fitted"]), tuple(features), tuple(kept["dropped"]), kept["coded"]
    )
