"""A `Model` as the header and the arrays of a model file, and back.

Both ways are checked by the same schemas and the same comparisons: the arrays of a file end in
compiled loops, and what a file says twice it must say alike.
"""

from dataclasses import replace

import numpy as np

from ...errors import InputError
from ...status import Status
from ..data.ids import Ids
from ..data.observations import Observations
from ..file_format import Arrays, Meta, named, take_group
from ..posterior.conformal import CALIBRATION, Calibration
from ..posterior.gibbs import POSTERIOR, RowPosterior
from ..schema import (
    BYTES,
    REAL,
    WHOLE,
    Field,
    Schema,
    check_agree,
    check_arrays,
    check_nothing_left,
    take,
    take_part,
)
from ..solver.balance import gram
from ..solver.fit import LowRankFit
from .predictor import ARRAYS, NUMBERS, Model, noise_of, spread_of

_OTHERS: Schema = {
    "row_ids": Field(BYTES, (None,)),
    "col_ids": Field(BYTES, (None,)),
}
#: The training entries; no weights where all are 1.
_SEEN: Schema = {
    "rows": Field(WHOLE, ("entries",), least=0),
    "cols": Field(WHOLE, ("entries",), least=0),
    "values": Field(REAL, ("entries",)),
    "weights": Field(REAL, ("entries",), above=0, may_be_empty=True),
}
#: What the fit itself has beside its draws.
_POINT: Schema = {
    "left": Field(REAL, (1, "m+1", "r+1")),
    "right": Field(REAL, (1, "n+1", "r+1")),
}
# Of two numbers that differ by rounding alone, on any machine.
_NEAR = 1e-3
_ENDINGS = (
    Status.converged,
    Status.stopped_early,
    Status.callback,
    Status.max_steps,
    Status.diverged,
)


def dump(model: Model, *, entries: bool) -> tuple[Meta, Arrays]:
    """(meta, arrays) of a model; ``entries``: with the training entries.

    **Raises** `InputError` where `restore` would: the model has numbers that are not finite.
    """
    fit_numbers, fit_arrays = model.fit.dump()
    own = {name: getattr(model, name) for name in ARRAYS}
    for side, ids in (("row_ids", model.row_ids), ("col_ids", model.col_ids)):
        own[side] = np.frombuffer(ids.to_bytes(side), np.uint8)
    sizes = check_arrays({**ARRAYS, **_OTHERS}, own, model.sizes)
    calibration = {name: getattr(model.calibration, name) for name in CALIBRATION}
    check_arrays(CALIBRATION, calibration)
    arrays = own | named(fit_arrays, "fit.") | named(calibration, "calibration.")
    if model.point is not None:
        arrays |= named({name: getattr(model.point, name) for name in _POINT}, "point.")
    if model.posterior is not None:
        posterior = {name: getattr(model.posterior, name) for name in POSTERIOR}
        check_arrays(POSTERIOR, posterior, sizes)
        arrays |= named(posterior, "posterior.")
    if entries and model.seen is not None:
        rows, cols, values = model.seen.triples()
        weights = model.seen.by_row.weights
        seen = {"rows": rows, "cols": cols, "values": values, "weights": weights}
        check_arrays(_SEEN, seen)
        arrays |= named(seen, "seen.")
    numbers = {name: getattr(model, name) for name in NUMBERS}
    check_arrays(NUMBERS, numbers)
    check_agreement(model)
    return {"fit": fit_numbers} | numbers, arrays


def restore(meta: Meta, arrays: Arrays) -> Model:
    """The model of `dump`, taken out of both; its predictions are equal bit for bit.

    **Raises** `InputError` for what `dump` would not have written.
    """
    fit = LowRankFit.restore(take_part(meta, "fit"), take_group(arrays, "fit."))
    (m, n), r = fit.shape, fit.rank
    sizes = {"m": m, "n": n, "r": r}
    own = take(ARRAYS, arrays, sizes)
    others = take(_OTHERS, arrays)
    stored = take_group(arrays, "calibration.")
    calibration = Calibration(**take(CALIBRATION, stored))
    check_nothing_left(stored)
    posterior = take_group(arrays, "posterior.")
    if posterior:
        sizes["draws"], given = len(own["means"]), posterior
        posterior = take(POSTERIOR, given, sizes)
        check_nothing_left(given)
    model = Model(
        fit=fit,
        **own,
        **take(NUMBERS, meta),
        row_ids=Ids.from_bytes(others["row_ids"].tobytes(), "row_ids"),
        col_ids=Ids.from_bytes(others["col_ids"].tobytes(), "col_ids"),
        calibration=calibration,
        seen=_entries(take_group(arrays, "seen."), fit.shape),
        posterior=RowPosterior(**posterior) if posterior else None,
    )
    point = take_group(arrays, "point.")
    if point:
        lines = take(_POINT, point, model.sizes)
        check_nothing_left(point)
        model = replace(model, point=_point(model, lines["left"], lines["right"]))
    check_agreement(model)
    return model


def _point(model: Model, left: np.ndarray, right: np.ndarray) -> Model:
    """The fit itself beside the draws of ``model``, which has these lines."""
    return replace(
        model,
        left=left,
        right=right,
        means=model.means[:1],
        share=0.0,
        posterior=None,
        limits=None,
        calibration=Calibration(),
    )


def _entries(stored: Arrays, shape: tuple[int, int]) -> Observations | None:
    if not stored:
        return None
    own = take(_SEEN, stored)
    check_nothing_left(stored)
    weights = own["weights"] if own["weights"].size else None
    seen = Observations.from_triples(**own | {"weights": weights}, shape=shape)
    rows, cols, _ = seen.triples()
    if not (np.array_equal(rows, own["rows"]) and np.array_equal(cols, own["cols"])):
        raise InputError("the entries must be in the order of their rows and columns.")
    return seen


def check_agreement(model: Model) -> None:
    """`InputError` unless all parts of a model say the same about what more than one of them says:
    the counts of entries, the averages, the draws, how it ended.
    """
    fit, seen = model.fit, model.seen
    counts = model.row_counts, model.col_counts
    pairs = {
        "the ending of its fit": fit.status in _ENDINGS,
        "the order of calibration": _is_sorted(model.calibration.scores),
        "the columns of calibration": _names_columns(model.calibration, fit.shape[1]),
        "the order of limits": model.limits is None or model.limits[0] <= model.limits[1],
        "means and the mean of the fit": (model.means == fit.mean).all(),
        "row_scale and row_counts": _scaled(fit.row_scale, counts[0], fit, 0),
        "col_scale and col_counts": _scaled(fit.col_scale, counts[1], fit, 1),
        "left and row_counts": _averaged(model.left, counts[0], own=not model.is_folded),
        "right and spectrum": _balanced(fit.right, fit.col_scale, fit.spectrum),
        "right and col_counts": _averaged(model.right, counts[1], own=True),
    }
    pairs["draws, share and the fit beside them"] = (model.share > 0) == (
        model.posterior is not None
    ) and (0 < model.share < 1) == (model.point is not None)
    if model.point is not None:
        check_agreement(model.point)
    if model.posterior is None:
        pairs |= {
            "left and the fit": _is_of(model.left, fit.left, fit.row_bias, counts[0]),
            "right and the fit": _is_of(model.right, fit.right, fit.col_bias, counts[1]),
        }
    else:
        pairs["posterior and its shape"] = _positive(model.posterior.priors)
        noises = model.posterior.precision.shape[1]
        pairs["the precisions and the columns"] = noises in (1, fit.shape[1])
    if model.is_folded:
        pairs["folded rows and the course of a fit"] = not fit.objective
    else:
        pairs["row_counts and col_counts"] = counts[0].sum() == counts[1].sum()
        pairs["left and spectrum"] = _balanced(fit.left, fit.row_scale, fit.spectrum)
    if seen is not None:
        pairs["row_counts and the entries"] = np.array_equal(counts[0], seen.by_row.counts)
        pairs["the precision of entries and fit"] = seen.dtype == fit.left.dtype
    if seen is not None and not model.is_folded:
        pairs["col_counts and the entries"] = np.array_equal(counts[1], seen.by_col.counts)
        pairs["spread, noise and the entries"] = _explains(model, seen)
    check_agree(pairs)


def _explains(model: Model, seen: Observations) -> bool:
    """Whether the entries have the spread, and the residuals of the fit the noise, that it says."""
    spread = spread_of(model.fit, seen)
    noise = noise_of(model.fit, seen, model.fit.residuals(seen))
    size = max(abs(model.fit.mean), spread)
    least = (64 * np.finfo(seen.dtype).eps * size) ** 2  # what is below is rounding
    return bool(
        np.isclose(model.spread, spread, rtol=_NEAR, atol=64 * np.finfo(seen.dtype).eps * size)
        and np.isclose(model.noise, noise, rtol=_NEAR, atol=least)
    )


def _balanced(factors: np.ndarray, scale: np.ndarray, spectrum: np.ndarray) -> bool:
    """Whether P̃ᵀP̃ = diag(spectrum), P̃ the scaled ``factors``."""
    gap = gram(factors, scale, len(spectrum)) - np.diag(spectrum)
    return bool(np.abs(gap).max(initial=0.0) <= _NEAR * spectrum.max(initial=0.0))


def _names_columns(calibration: Calibration, count: int) -> bool:
    """Whether laws of columns are those of ``count`` columns, and there is one law otherwise."""
    laws = len(calibration.sizes)
    if not len(calibration.columns):
        return laws == 1 or (laws == count and not len(calibration.scores))
    return laws == count and int(calibration.columns.max()) < count


def _is_sorted(scores: np.ndarray) -> bool:
    return bool(np.array_equal(scores, np.sort(scores), equal_nan=True))


def _scaled(scale: np.ndarray, counts: np.ndarray, fit: LowRankFit, side: int) -> bool:
    """Whether ρ = (count / mean count)^{α/2}."""
    expected = (np.maximum(counts, 1) / fit.mean_counts[side]) ** (fit.weighted_trace_norm / 2)
    return bool(np.allclose(scale, expected, rtol=1e-5, atol=0))


def _averaged(lines: np.ndarray, counts: np.ndarray, *, own: bool) -> bool:
    """Whether lines without entries are the average line, which is the last; ``own``: of these."""
    some, size = lines[:, :-1][:, counts > 0], float(np.abs(lines).max(initial=0.0))
    average = some.mean(axis=1, dtype=float) if own else lines[:, -1]
    close = np.allclose(lines[:, -1], average, rtol=0, atol=1e-4 * size)
    return close and bool((lines[:, :-1][:, counts == 0] == lines[:, -1:]).all())


def _is_of(lines: np.ndarray, factors: np.ndarray, bias: np.ndarray, counts: np.ndarray) -> bool:
    """Whether a model without draws has the lines of its fit."""
    known, lines = counts > 0, lines[:, :-1]
    own = np.column_stack([factors, bias])[known]
    return len(lines) == 1 and np.array_equal(lines[0, known], own)


def _positive(priors: np.ndarray) -> bool:
    """Whether the precisions Λ (draws, r+1, r+1) are symmetric and positive definite."""
    if not np.allclose(priors, priors.swapaxes(1, 2), rtol=1e-8):
        return False
    try:
        np.linalg.cholesky(priors)
    except np.linalg.LinAlgError:
        return False
    return True
