"""What a fitted completion is once training is over: factors, ids, what was seen."""

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import EmptyLineWarning, InputError
from ...scores import root_mean_square
from ..backends.open import Device, open_backend
from ..backends.pairs import average
from ..backends.reweighted import Reweighted
from ..data.ids import Ids, IdVector
from ..data.observations import Observations
from ..posterior.conformal import Calibration
from ..posterior.gibbs import POSTERIOR, RowPosterior, Sample
from ..posterior.laplace import LocalPosterior
from ..schema import NUMBER, REAL, TRUTH, WHOLE, Field, Schema, check_arrays
from ..solver.fit import LowRankFit, fold_in

#: The arrays of a model beside those of its fit, and its numbers.
ARRAYS: Schema = {
    "left": Field(REAL, ("draws", "m+1", "q+1")),
    "right": Field(REAL, ("draws", "n+1", "q+1")),
    "means": Field(REAL, ("draws",)),
    "row_counts": Field(WHOLE, ("m",), least=0),
    "col_counts": Field(WHOLE, ("n",), least=0),
}
NUMBERS: Schema = {
    "noise": Field(NUMBER, least=0),
    "spread": Field(NUMBER, least=0),
    "train_rmse": Field(NUMBER, least=0),
    "limits": Field(NUMBER, (2,), infinite=True, optional=True),
    "is_folded": Field(TRUTH),
    "share": Field(NUMBER, least=0, most=1),
}
MISSING_ENTRIES = (
    "the model was saved without its entries, which {what} needs: save it with entries=True, or "
    "fit it again."
)


@dataclass(frozen=True)
class Model:
    """x̂_ij = average over draws of mean + p_i·q_j + a_i + b_j, and how far off it may be.

    The average has the weight ``share``, and the fit itself, which is then the model ``point``, the
    rest.

    **Shapes**: ``left`` (draws, m + 1, q + 1) holds (p_i, a_i), ``right`` (draws, n + 1, q + 1)
    holds (q_j, b_j), with q the rank of the draws; a fit without averaging is one draw. The last
    line of either, which the code −1 finds, and the lines without entries are the average line: the
    marginals. ``posterior`` has what new rows need of the draws. ``noise`` is the variance of an
    entry around the model, ``spread`` the standard deviation of all entries, ``train_rmse`` the
    error on them.
    """

    fit: LowRankFit
    left: np.ndarray
    right: np.ndarray
    means: np.ndarray
    noise: float
    spread: float
    train_rmse: float
    row_ids: Ids
    col_ids: Ids
    row_counts: np.ndarray
    col_counts: np.ndarray
    calibration: Calibration
    limits: tuple[float, float] | None = None
    seen: Observations | None = None
    posterior: RowPosterior | None = None
    is_folded: bool = False  # whether the rows were folded in, given the columns
    share: float = 0.0
    point: "Model | None" = None
    columns: LocalPosterior | None = None  # of folded rows: what the columns were learned from

    def __post_init__(self) -> None:
        sizes = check_arrays(ARRAYS, vars(self), self.sizes, entries=False)
        if self.posterior is not None:
            check_arrays(POSTERIOR, vars(self.posterior), sizes, entries=False)
        ids, shape = (self.row_ids.size, self.col_ids.size), self.fit.shape
        seen = shape if self.seen is None else self.seen.shape
        if not (ids == seen == shape and self.draws):
            raise InputError(
                f"a model of {shape} must have as many ids and lines of entries, got {ids} and "
                f"{seen}, and a draw or more, got {self.draws}."
            )

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that the arrays share, by the names that the schemas have for them."""
        (m, n), r = self.fit.shape, self.fit.rank
        return {"m": m, "n": n, "r": r}

    @classmethod
    def of(
        cls,
        fit: LowRankFit,
        samples: list[Sample],
        seen: Observations,
        ids: tuple[Ids, Ids],
        calibration: Calibration,
        limits: tuple[float, float] | None,
        *,
        units: np.ndarray | float = 1.0,
        gaps: np.ndarray | None = None,
        share: float = 1.0,
    ) -> "Model":
        """From a fit and draws around it (none: the fit itself), whose average has the ``share``.

        ``units`` are those of the columns (n,), in which ``train_rmse`` is measured; ``gaps`` are
        the residuals of the fit, if they are known already.
        """
        counts = seen.by_row.counts, seen.by_col.counts
        rows, cols, values = seen.triples()
        gaps = fit.residuals(seen) if gaps is None else gaps
        if samples:
            left = np.stack([_with_average(s.centres, counts[0]) for s in samples])
            right = np.stack([_with_average(s.cols, counts[1]) for s in samples])
            kept = _precision(left, right)
            left, right = left.astype(kept), right.astype(kept)
        else:
            left = _with_average(np.column_stack([fit.left, fit.row_bias]), counts[0])[None]
            right = _with_average(np.column_stack([fit.right, fit.col_bias]), counts[1])[None]
        model = cls(
            fit,
            left,
            right,
            np.full(len(left), fit.mean),
            noise=noise_of(fit, seen, gaps),
            spread=spread_of(fit, seen),
            train_rmse=0.0,
            row_ids=ids[0],
            col_ids=ids[1],
            row_counts=counts[0],
            col_counts=counts[1],
            calibration=calibration,
            limits=limits,
            seen=seen,
            posterior=RowPosterior.of(samples) if samples else None,
        )
        if samples:
            point = cls.of(fit, [], seen, ids, Calibration(), None, units=units, gaps=gaps)
            model = model.shared(share, point)
        if samples or limits is not None:  # else the predictions are those of the fit
            gaps = values - model.predict(rows, cols)
        if not isinstance(units, float):
            gaps = gaps * units[cols]
        return replace(model, train_rmse=root_mean_square(gaps))

    def shared(self, share: float, point: "Model | None") -> "Model":
        """This model with another ``share`` of the draws, and of the ``point`` beside them."""
        return replace(self, share=share, point=point if share < 1 else None)

    @property
    def draws(self) -> int:
        return len(self.means)

    @property
    def noiseless(self) -> bool:
        """Whether the fit goes through every entry, up to rounding: it cannot tell the noise."""
        size = max(abs(self.fit.mean), self.spread)
        return bool(self.noise <= (64 * np.finfo(self.fit.left.dtype).eps * size) ** 2)

    @cached_property
    def local(self) -> LocalPosterior:
        """The Gaussian posterior around the fit."""
        if self.seen is None or (self.is_folded and self.columns is None):
            raise InputError(MISSING_ENTRIES.format(what="the uncertainty of predictions"))
        seen, losses = self.seen, self.fit.losses
        if losses is not None:  # with the curvature that they have at the fit
            state = self.fit.state()
            with open_backend(seen, 1) as backend:
                backend = Reweighted(backend, losses, seen)
                seen = backend.touched(state.Z, state.Y, state.mean)
        return LocalPosterior(self.fit, seen, self.noise, self.columns)

    def codes(self, rows: IdVector, cols: IdVector, unseen: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions of ids, −1 for ids and lines without any entry.

        With ``unseen="marginals"`` one warning counts them.
        """
        row_codes, col_codes = self.row_ids.codes(rows, "rows"), self.col_ids.codes(cols, "cols")
        if len(row_codes) != len(col_codes):
            raise InputError(
                f"rows and cols must have one length, got {len(row_codes)} and {len(col_codes)}."
            )
        row_codes, col_codes = self.known_rows(row_codes), _known(col_codes, self.col_counts)
        bad = (row_codes < 0) | (col_codes < 0)
        if bad.any() and unseen == "marginals":
            warn_of_empty_lines(
                f"{int(bad.sum())} of {len(bad)} entries have ids without any entry in the fit "
                f"({int((row_codes < 0).sum())} rows, {int((col_codes < 0).sum())} columns): these "
                "are predicted from the marginals"
                + (f"; the first is {_first(rows)}, {_first(cols)}." if bad.all() else ".")
            )
        return row_codes, col_codes

    def line_codes(self, unseen: str) -> tuple[np.ndarray, np.ndarray]:
        """Codes of all rows and of all columns, −1 for those without any entry.

        With ``unseen="marginals"`` one warning counts them.
        """
        rows = self.known_rows(self.row_ids.codes(self.row_ids.lines, "rows"))
        cols = _known(self.col_ids.codes(self.col_ids.lines, "cols"), self.col_counts)
        empty = int((rows < 0).sum()), int((cols < 0).sum())
        if any(empty) and unseen == "marginals":
            warn_of_empty_lines(
                f"{empty[0]} of {len(rows)} rows and {empty[1]} of {len(cols)} columns have no "
                "entry in the fit: these are predicted from the marginals."
            )
        return rows, cols

    def known_rows(self, codes: np.ndarray) -> np.ndarray:
        """``codes``, with −1 for rows without any entry."""
        return _known(codes, self.row_counts)

    def predict(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """The mean over the draws, with the fit's share, at codes (float64), cut to `limits`."""
        values = self._means(average(rows, cols, self.left, self.right, self.means), cols)
        if self.point is not None:
            values = self.share * values + (1 - self.share) * self.point.predict(rows, cols)
        return self.clip(values)

    def _means(self, eta: np.ndarray, cols: np.ndarray | slice) -> np.ndarray:
        return eta if self.fit.losses is None else self.fit.losses.mean(eta, cols)

    def probabilities(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Of the levels of the ordinal loss of all columns, at codes (len(rows), levels)."""
        assert self.fit.losses is not None
        return self.fit.losses.probabilities(average(rows, cols, self.left, self.right, self.means))

    def clip(self, values: np.ndarray) -> np.ndarray:
        return values if self.limits is None else np.clip(values, *self.limits)

    def deviation(
        self, rows: np.ndarray, cols: np.ndarray, threads: int | None = None
    ) -> np.ndarray:
        """Standard deviation of a new entry at codes, from `local`; at −1 that of all entries.

        With losses √(V + (∂ mean/∂η)² v), V the variance of their law and v that of η.
        """
        out = np.full(len(rows), self.spread)
        known = (rows >= 0) & (cols >= 0)
        if known.any():
            out[known] = self._deviation(rows[known], cols[known], threads)
        return out

    def _deviation(self, rows: np.ndarray, cols: np.ndarray, threads: int | None) -> np.ndarray:
        found, losses = self.local.deviation(rows, cols, threads), self.fit.losses
        if losses is None:
            return found
        eta = average(rows, cols, self.left, self.right, self.means)
        leverage = np.maximum(found**2 / max(self.noise, 1e-300) - 1, 0.0)
        of_eta = losses.dispersion(cols, self.noise) * leverage
        own = losses.variance(eta, cols, self.noise)
        return np.sqrt(own + losses.mean_slope(eta, cols) ** 2 * of_eta)

    def reach(self, deviation: np.ndarray, coverage: float) -> np.ndarray:
        """Half the width of intervals for deviations (…, columns), or (…) of one law.

        NaN, with a warning, where nothing measures the noise.
        """
        if self.noiseless and not len(self.calibration.scores):
            warnings.warn(
                "The fit goes through every entry and none was held out: nothing tells how far off "
                "it is, and intervals are NaN.",
                UserWarning,
                stacklevel=3,
            )
            deviation = np.full_like(deviation, np.nan)
        factors = self.calibration.factors(coverage)
        with np.errstate(invalid="ignore"):  # ∞ · 0, next to exact fits: nothing bounds the error
            return np.where(np.isinf(factors), np.inf, factors * deviation)

    def block(self, rows: np.ndarray, cols: np.ndarray | slice = slice(-1)) -> np.ndarray:
        """Rows × columns at codes, by default all columns: matrix products, cut to `limits`."""
        return self.clip(self.uncut(rows, cols))

    def uncut(self, rows: np.ndarray, cols: np.ndarray | slice = slice(-1)) -> np.ndarray:
        """`block` before it is cut: what lies beyond the limits keeps its order."""
        total = np.zeros((len(rows), len(self.right[0, cols])))
        for left, right, mean in zip(self.left, self.right, self.means, strict=True):
            p, q = left[rows].astype(float), right[cols].astype(float)
            total += p[:, :-1] @ q[:, :-1].T + (mean + p[:, -1:]) + q[:, -1]
        values = self._means(total / self.draws, np.arange(len(self.right[0]))[cols])
        if self.point is not None:
            values = self.share * values + (1 - self.share) * self.point.block(rows, cols)
        return values

    def folded(
        self,
        seen: Observations,
        row_ids: Ids,
        threads: int | None = None,
        device: Device = "cpu",
    ) -> "Model":
        """This model for the new rows of ``seen``, each solved given the columns.

        With draws the rows are solved for each draw of the columns, and averaged as the others are.
        """
        fit = fold_in(self.fit, seen, threads=threads, device=device)
        new: dict[str, Any] = {
            "fit": fit,
            "row_ids": row_ids,
            "row_counts": seen.by_row.counts,
            "seen": seen,
            "is_folded": True,
        }
        if self.point is not None:
            new["point"] = self.point.folded(seen, row_ids, threads, device)
        if not self.is_folded:
            new["columns"] = None if self.seen is None else self.local
        known = seen.by_row.counts[:, None] > 0
        if self.posterior is not None:
            cols = self.right[:, :-1]
            centres = self.posterior.centres(seen, cols, float(self.means[0]), threads)
            left = np.stack(
                [
                    np.vstack([np.where(known, lines, middle[-1]), middle[-1]])
                    for lines, middle in zip(centres, self.left, strict=True)
                ]
            ).astype(self.left.dtype)
            return replace(self, left=left, **new)
        middle = np.append(self.fit.left.mean(axis=0), self.fit.row_bias.mean())
        lines = np.column_stack([fit.left, fit.row_bias])
        left = np.vstack([np.where(known, lines, middle), middle])[None]
        right = _with_average(np.column_stack([fit.right, fit.col_bias]), self.col_counts)[None]
        return replace(self, left=left, right=right, means=np.array([fit.mean]), **new)


def noise_of(fit: LowRankFit, seen: Observations, gaps: np.ndarray) -> float:
    """The variance of entries around the ``fit``: Σ w e² / Σ w, of its residuals ``gaps``.

    Or what `Losses.noise` says.
    """
    if fit.losses is None:
        return seen.mean_square(gaps)
    return fit.losses.noise(gaps, seen.by_row.indices, seen.by_row.weights)


def spread_of(fit: LowRankFit, seen: Observations) -> float:
    """The standard deviation of all entries; robustly, where the loss is."""
    values = seen.by_row.values
    if fit.losses is None:
        return float(np.std(values, dtype=float))
    return fit.losses.spread(values)


def warn_of_empty_lines(sentence: str) -> None:
    """The one warning of a call about ids without any entry, which ``sentence`` counts."""
    warnings.warn(sentence, EmptyLineWarning, stacklevel=4)


def _first(ids: IdVector) -> str:
    return repr(str(np.ravel(np.asarray(ids, object))[0])[:40])


def _known(codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.where((codes >= 0) & (counts[codes] > 0), codes, -1)


def _precision(*lines: np.ndarray) -> type[np.floating]:
    """In which draws are kept: float32, unless it cannot hold lines of their size."""
    sizes = [float(np.abs(side).max(initial=0.0)) for side in lines]
    held = all(size == 0 or 1e-20 < size < 1e30 for size in sizes)
    return np.float32 if held else np.float64


def _with_average(lines: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``lines`` with the average line behind, which also replaces lines without entries."""
    some = counts > 0
    centre = lines[some].mean(axis=0, dtype=float).astype(lines.dtype)
    return np.vstack([np.where(some[:, None], lines, centre), centre])
