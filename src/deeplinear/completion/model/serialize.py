"""A fitted `DeepMatrixCompletion` as a model file, and back."""

import dataclasses
from typing import Any

import numpy as np

from ..data.ids import Ids
from ..data.observations import Observations
from ..penalty import Certificate
from ..posterior.conformal import Calibration
from ..solver.fit import LowRankFit
from .predictor import Model

_OWN = (
    "left",
    "right",
    "means",
    "row_counts",
    "col_counts",
)  # arrays of Model that are stored as they are


def dump(model: Model, *, entries: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(meta, arrays) of a model; ``entries``: with the training entries."""
    fit: dict[str, Any] = {}
    arrays = {name: getattr(model, name) for name in _OWN}
    for field in dataclasses.fields(LowRankFit):
        value = getattr(model.fit, field.name)
        if isinstance(value, np.ndarray):
            arrays[f"fit.{field.name}"] = value
        else:
            fit[field.name] = (
                list(dataclasses.astuple(value)) if isinstance(value, Certificate) else value
            )
    arrays["calibration"] = model.calibration.scores
    for side, ids in (("row_ids", model.row_ids), ("col_ids", model.col_ids)):
        arrays[side] = np.frombuffer(ids.to_bytes(side), np.uint8)
    if entries and model.seen is not None:
        rows, cols, values = model.seen.triples()
        arrays |= {
            "seen.rows": rows,
            "seen.cols": cols,
            "seen.values": values,
            "seen.weights": model.seen.by_row.weights,
        }
    return {
        "fit": fit,
        "noise": model.noise,
        "spread": model.spread,
        "limits": model.limits,
    }, arrays


def restore(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Model:
    """The model of `dump`; its predictions are equal bit for bit."""
    fields: dict[str, Any] = {
        name.removeprefix("fit."): array
        for name, array in arrays.items()
        if name.startswith("fit.")
    }
    scalars = {**meta["fit"], "certificate": Certificate(*meta["fit"]["certificate"])}
    fit = LowRankFit(**(fields | scalars))
    seen = None
    if "seen.rows" in arrays:
        weights = arrays["seen.weights"]
        seen = Observations.from_triples(
            arrays["seen.rows"],
            arrays["seen.cols"],
            arrays["seen.values"],
            fit.shape,
            weights=weights if weights.size else None,
        )
    return Model(
        fit=fit,
        **{name: arrays[name] for name in _OWN},
        noise=meta["noise"],
        spread=meta["spread"],
        limits=meta["limits"],
        row_ids=Ids.from_bytes(arrays["row_ids"].tobytes()),
        col_ids=Ids.from_bytes(arrays["col_ids"].tobytes()),
        calibration=Calibration(arrays["calibration"]),
        seen=seen,
    )
