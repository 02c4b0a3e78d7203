"""A `Model` as the header and the arrays of a model file, and back.

Both ways are checked by the same schemas, since the arrays of a file end in compiled loops.
"""

import numpy as np

from ..data.ids import Ids
from ..data.observations import Observations
from ..file_format import Arrays, Meta, grouped, named
from ..posterior.conformal import Calibration
from ..posterior.gibbs import POSTERIOR, RowPosterior
from ..schema import BYTES, REAL, WHOLE, Field, Schema, check_arrays, check_optional
from ..solver.fit import LowRankFit
from .predictor import ARRAYS, NUMBERS, Model

_OTHERS: Schema = {
    "calibration": Field(REAL, (None,), least=0, finite=False),
    "row_ids": Field(BYTES, (None,)),
    "col_ids": Field(BYTES, (None,)),
}
#: The training entries; no weights where all are 1.
_SEEN: Schema = {
    "rows": Field(WHOLE, ("entries",), least=0),
    "cols": Field(WHOLE, ("entries",), least=0),
    "values": Field(REAL, ("entries",)),
    "weights": Field(REAL, ("entries",), least=0, may_be_empty=True),
}


def dump(model: Model, *, entries: bool) -> tuple[Meta, Arrays]:
    """(meta, arrays) of a model; ``entries``: with the training entries.

    **Raises** `InputError` where `restore` would: the model has numbers that are not finite.
    """
    fit_numbers, fit_arrays = model.fit.dump()
    arrays = {name: getattr(model, name) for name in ARRAYS} | named(fit_arrays, "fit.")
    arrays["calibration"] = model.calibration.scores
    for side, ids in (("row_ids", model.row_ids), ("col_ids", model.col_ids)):
        arrays[side] = np.frombuffer(ids.to_bytes(side), np.uint8)
    if model.posterior is not None:
        posterior = {name: getattr(model.posterior, name) for name in POSTERIOR}
        arrays |= named(posterior, "posterior.")
    if entries and model.seen is not None:
        rows, cols, values = model.seen.triples()
        weights = model.seen.by_row.weights
        seen = {"rows": rows, "cols": cols, "values": values, "weights": weights}
        arrays |= named(seen, "seen.")
    meta = {"fit": fit_numbers} | {name: getattr(model, name) for name in NUMBERS}
    _check(meta, arrays, model.sizes)
    return meta, arrays


def restore(meta: Meta, arrays: Arrays) -> Model:
    """The model of `dump`; its predictions are equal bit for bit.

    **Raises** `InputError` for what `dump` would not have written.
    """
    fit = LowRankFit.restore(meta["fit"], grouped(arrays, "fit."))
    (m, n), r = fit.shape, fit.rank
    _check(meta, arrays, {"m": m, "n": n, "r": r})
    posterior = grouped(arrays, "posterior.")
    own: Meta = {name: arrays[name] for name in ARRAYS} | {name: meta[name] for name in NUMBERS}
    return Model(
        fit=fit,
        **own,
        row_ids=Ids.from_bytes(arrays["row_ids"].tobytes()),
        col_ids=Ids.from_bytes(arrays["col_ids"].tobytes()),
        calibration=Calibration(arrays["calibration"]),
        seen=_entries(grouped(arrays, "seen."), fit.shape),
        posterior=RowPosterior(**posterior) if posterior else None,
    )


def _check(meta: Meta, arrays: Arrays, sizes: dict[str, int]) -> None:
    sizes = check_arrays({**ARRAYS, **_OTHERS}, arrays, sizes)
    check_optional(NUMBERS, meta)
    for name, schema in (("posterior", POSTERIOR), ("seen", _SEEN)):
        group = grouped(arrays, f"{name}.")
        if group:
            check_arrays(schema, group, sizes)


def _entries(stored: Arrays, shape: tuple[int, int]) -> Observations | None:
    if not stored:
        return None
    weights = stored["weights"] if stored["weights"].size else None
    return Observations.from_triples(
        stored["rows"], stored["cols"], stored["values"], shape, weights=weights
    )
