"""A `Model` as the header and the arrays of a model file, and back."""

import dataclasses
from typing import Any

import numpy as np

from ...status import Status
from ..data.ids import Ids
from ..data.observations import Observations
from ..penalty import Certificate
from ..posterior.conformal import Calibration
from ..posterior.gibbs import RowPosterior
from ..solver.fit import LowRankFit
from .predictor import Model

Arrays = dict[str, np.ndarray]
Meta = dict[str, Any]  # what JSON carries

# Arrays and numbers of a `Model` that are stored as they are.
_ARRAYS = ("left", "right", "means", "row_counts", "col_counts")
_NUMBERS = ("noise", "spread", "train_rmse", "limits", "is_folded")


def dump(model: Model, *, entries: bool) -> tuple[Meta, Arrays]:
    """(meta, arrays) of a model; ``entries``: with the training entries."""
    scalars: Meta = {}
    arrays = {name: getattr(model, name) for name in _ARRAYS}
    for field in dataclasses.fields(LowRankFit):
        value = getattr(model.fit, field.name)
        if isinstance(value, np.ndarray):
            arrays[f"fit.{field.name}"] = value
        elif isinstance(value, Certificate):
            scalars[field.name] = list(dataclasses.astuple(value))
        else:
            scalars[field.name] = int(value) if isinstance(value, Status) else value
    arrays["calibration"] = model.calibration.scores
    for side, ids in (("row_ids", model.row_ids), ("col_ids", model.col_ids)):
        arrays[side] = np.frombuffer(ids.to_bytes(side), np.uint8)
    if model.posterior is not None:
        for field in dataclasses.fields(RowPosterior):
            arrays[f"posterior.{field.name}"] = getattr(model.posterior, field.name)
    if entries and model.seen is not None:
        rows, cols, values = model.seen.triples()
        weights = model.seen.by_row.weights
        seen = {"rows": rows, "cols": cols, "values": values, "weights": weights}
        arrays |= {f"seen.{name}": array for name, array in seen.items()}
    return {"fit": scalars} | {name: getattr(model, name) for name in _NUMBERS}, arrays


def restore(meta: Meta, arrays: Arrays) -> Model:
    """The model of `dump`; its predictions are equal bit for bit."""
    scalars = dict(meta["fit"])
    scalars["certificate"] = Certificate(*scalars["certificate"])
    scalars["status"] = Status(scalars["status"])
    fit = LowRankFit(**_group(arrays, "fit"), **scalars)
    posterior, own = _group(arrays, "posterior"), {name: arrays[name] for name in _ARRAYS}
    numbers: Meta = own | {name: meta[name] for name in _NUMBERS}
    return Model(
        fit=fit,
        **numbers,
        row_ids=Ids.from_bytes(arrays["row_ids"].tobytes()),
        col_ids=Ids.from_bytes(arrays["col_ids"].tobytes()),
        calibration=Calibration(arrays["calibration"]),
        seen=_entries(_group(arrays, "seen"), fit.shape),
        posterior=RowPosterior(**posterior) if posterior else None,
    )


def _group(arrays: Arrays, name: str) -> Any:
    """The arrays whose names begin with ``name`` and a dot, without these."""
    prefix = f"{name}."
    return {key[len(prefix) :]: a for key, a in arrays.items() if key.startswith(prefix)}


def _entries(stored: Arrays, shape: tuple[int, int]) -> Observations | None:
    if not stored:
        return None
    weights = stored["weights"] if stored["weights"].size else None
    return Observations.from_triples(
        stored["rows"], stored["cols"], stored["values"], shape, weights=weights
    )
