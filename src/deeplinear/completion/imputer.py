"""The scikit-learn transformer for tables with missing entries."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import MissingValues

from ..errors import InputError
from ._table_predictions import Table, TablePredictions, cell_weights
from ._training import CompletionEstimator, whole_or_not_at_all
from .data.ids import Ids
from .data.observations import Observations
from .data.table import ColumnScaler
from .model.predictor import Model
from .model.serialize import Arrays, Meta
from .solver.fit import LowRankFit, fold_in
from .solver.fit_state import held_out_size
from .solver.path import TABLE_STRENGTHS
from .solver.selection import HoldOut

# Tried for the ridge of new rows, and the conjugate-gradient steps that tell them apart.
_RIDGE_FACTORS = (1.0, 2.0**0.5, 2.0, 2.0**1.5, 4.0)
_FEW_STEPS = 40

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class DeepLinearImputer(OneToOneFeatureMixin, TransformerMixin, TablePredictions):
    """Fill in missing entries with a deep linear network: a low-rank matrix whose rank is found.

    The network's end-to-end matrix W (plus mean, row and column biases) is fitted to the observed
    entries of X after its columns were brought to a common scale. Explicitly: W minimizes
    E(W) + (λN/2) Σ σ_i^{2/N}, which is what weight decay λ does at depth N (2 is the nuclear norm;
    the deeper, the fewer and the less shrunk the singular values). Implicitly: W follows the
    gradient flow from a small start, without weight decay.

    Parameters
    ----------
    depth : real number ≥ 1 or ``math.inf``, a sequence of them, or "auto", default 3
        N. Of several, held-out entries choose; "auto" is (2, 3, 4, ∞). Between 1 and 2 every rank
        is used (1 is ridge: little more than the biases is learned about missing entries).
    regularization : "explicit" or "implicit", default "explicit"
        Weight decay, or a small start and an early stop.
    strength : "auto", float ≥ 0 or a sequence of them, default "auto"
        Explicit: the slope λ σ^{2/N−1} of the penalty at the noise scale σ, in units of the noise
        τ: invariant to the units of X and comparable between depths; useful values lie between 0.01
        and 1. Implicit: the part of the initial training energy at which the flow stops, in (0, 1).
        Of several, or with "auto", held-out entries choose it (and when to stop); then all entries
        are fitted again.
    max_rank : int, optional
        A cap on the rank; the rank itself is found. Default min(m, n), or with ``n_draws`` 20.
    center : bool, default True
        Centre the columns, and learn a mean, row and column biases jointly with W.
    scale : bool, default True
        Divide the columns by their fourth-moment size, so that their units do not matter, and let
        each have a noise level of its own where held-out errors are compared; else they have one
        unit and one noise.
    weighted_trace_norm : float in [0, 1], default 0
        The penalty acts on (count_i count_j)^{α/2} W_ij (counts relative to their means). Explicit
        only.
    early_stopping : bool, default True
        Let the held-out entries also choose when to stop; without it every fit goes on to ``tol``.
        Explicit only: a flow is stopped by the held-out entries in any case.
    n_draws : int, default 0
        Average this many draws from the Bayesian posterior around the fit (Gibbs sampling). 0: the
        fit itself.
    burn_in : int, default 10
        Draws that are thrown away first.
    validation_fraction : float in [0, 1), default 0.1
        Part of the observed entries that is held out for choices and for calibrated intervals. 0:
        nothing is, and ``depth`` and ``strength`` must be numbers.
    start_scale : float > 0, default 1e-3
        Implicit only: size of the singular values of the start, relative to the largest of the
        residual.
    max_iter : int, optional
        Limit of one fit: sweeps (explicit, default 100) or steps of the flow (implicit, default
        5,000).
    tol : float ≥ 0, default 1e-5
        Explicit only: the relative gain of a sweep that counts as none.
    threads : int, optional
        Default: all cores. The result does not depend on it.
    device : "cpu", "gpu" or "jax", default "cpu"
        Where the passes over the entries run: NumPy or compiled loops on the CPU, all GPUs, or all
        devices of JAX's default platform; the same result up to rounding. Draws run on the CPU.
    random_state : int, RandomState or None, default None
        Chooses the held-out entries (by the positions of the observed entries alone, so all depths
        compare on the same ones), the random signs by which the noise is measured (which changes λ
        a little), the implicit start and the draws. None draws at each call of fit.
    missing_values : float, default NaN
        What marks a missing entry.
    checkpoint : path, optional
        File with the state of the fit of all entries. A fit that was killed and is called again
        with the same data and parameters (an integer ``random_state``) makes its choices again,
        goes on there, and ends with the same result; the file is removed at the end. Explicit only.
    verbose : bool, default False
        Print a line of progress on standard error, at most one each second.
    callback : callable, optional
        Called with a `deeplinear.progress.Progress`; True ends the fit with what it has.

    Attributes
    ----------
    depth_, strength_ : float
        What was used.
    singular_values_, components_ : (r,) and (r, n) arrays
        Singular values and right singular vectors of W, in the units of the scaled columns.
    rank_, effective_rank_ : int, float
        r, and exp(entropy of σ/Σσ) (Roy–Vetterli). The implicit flow has the rank ``max_rank``,
        most of it tiny.
    validation_score_, validation_mask_ : float, bool array
        Root-mean-square error on the held-out entries, in the units of X (NaN if there were none),
        and where they are (not kept in model files).
    train_score_ : float
        Root-mean-square error on the observed entries, in the units of X.
    trials_ : tuple of Trial
        Depth, strength, held-out error (typical of the scaled columns, in their units), rank and
        sweeps of everything tried.
    n_iter_, status_, converged_ : int, Status, bool
        Sweeps or steps of the last fit, how it ended, and whether it ended where it was meant to.
    stationarity_ : float
        Relative residual of the stationarity conditions; NaN after an early stop.
    model_ : Model
        Everything that predictions need.

    Notes
    -----
    ``transform`` solves each row given V, so a row's result does not depend on the other rows of
    the call, and ``fit_transform(X)`` is ``fit(X).transform(X)``; observed entries are returned bit
    for bit (as floats). Choices are made by the held-out error in the units of the scaled columns,
    where each column has a noise level of its own (`deeplinear.completion.solver.column_noise`): so
    all columns matter alike, and one that nothing predicts, a row number, does not decide for the
    others. Rows and columns without an observed entry are filled from the marginals, with an
    `EmptyLineWarning`; columns are never dropped.

    >>> import numpy as np
    >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4]); X[1, 2] = np.nan
    >>> DeepLinearImputer(random_state=0).fit_transform(X).shape
    (5, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CompletionEstimator._parameter_constraints,
        "center": ["boolean"],
        "scale": ["boolean"],
        "missing_values": [MissingValues(numeric_only=True)],
    }

    _thorough = True

    @property
    def _column_noise(self) -> bool:
        return bool(self.scale)

    def __init__(
        self,
        depth=3.0,
        *,
        regularization="explicit",
        strength="auto",
        max_rank=None,
        center=True,
        scale=True,
        weighted_trace_norm=0.0,
        early_stopping=True,
        n_draws=0,
        burn_in=10,
        validation_fraction=0.1,
        start_scale=1e-3,
        max_iter=None,
        tol=1e-5,
        threads=None,
        device="cpu",
        random_state=None,
        missing_values=np.nan,
        checkpoint=None,
        verbose=False,
        callback=None,
    ):
        self.depth = depth
        self.regularization = regularization
        self.strength = strength
        self.max_rank = max_rank
        self.center = center
        self.scale = scale
        self.weighted_trace_norm = weighted_trace_norm
        self.early_stopping = early_stopping
        self.n_draws = n_draws
        self.burn_in = burn_in
        self.validation_fraction = validation_fraction
        self.start_scale = start_scale
        self.max_iter = max_iter
        self.tol = tol
        self.threads = threads
        self.device = device
        self.random_state = random_state
        self.missing_values = missing_values
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.callback = callback

    def fit(self, X: ArrayLike, y: None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Learn W from the observed entries of X (n_samples × n_features).

        ``sample_weight`` ≥ 0, one per row or one per cell: the precisions 1/variance of the
        entries, up to a common factor. Entries of weight 0 are not learned from.
        """
        with whole_or_not_at_all(self):
            self._check()
            table = self._read(X, reset=True)
            if not table.observed.any():
                raise InputError(
                    "X has no observed entry: give it at least one value that is not missing."
                )
            raw = table.entries(cell_weights(sample_weight, table.values.shape))
            if not raw.nnz:
                raise InputError("sample_weight must be positive for an observed entry, got zeros.")
            raw = raw.rescaled() if raw.by_row.weights.size else raw
            self._empty = raw.by_col.counts == 0
            if self._empty.any():
                self._warn_empty("column", self._empty)
            self._table = table  # for callbacks, while the fit runs
            m, n = raw.shape
            try:
                held_out = self._learn(raw, (Ids.positions(m), Ids.positions(n)))
            finally:
                del self._table
            self.validation_mask_ = np.zeros(raw.shape, bool)
            self.validation_mask_[held_out] = True
            if not np.isfinite(self.train_score_):
                raise InputError(
                    "X has values beyond what float64 can square: rescale its columns, or leave "
                    "scale=True."
                )
        return self

    # What `CompletionEstimator` asks for

    def _standardize(self, seen: Observations) -> Observations:
        self._scaler = ColumnScaler.of(seen, center=self.center, scale=self.scale)
        return self._scaler.forward(seen)

    def _forward(self, values: np.ndarray, cols: np.ndarray) -> np.ndarray:
        return (values - self._scaler.center[cols]) / self._scaler.scale[cols]

    def _units(self, cols: np.ndarray | slice) -> np.ndarray:
        return self._scaler.scale[cols]

    def _strength_path(self) -> Sequence[float]:
        return TABLE_STRENGTHS

    def _bias_options(self) -> dict[str, None]:
        return {} if self.center else {"bias_ridge": None}

    def _limits(self, seen: Observations) -> None:
        return None

    def _rank_cap(self, seen: Observations) -> int:
        return min(seen.shape)

    def _completion(self, fit: LowRankFit) -> Any:
        scaler, table = self._scaler, self._table
        return partial(self._completed, fit, scaler, table)

    def _completed(self, fit: LowRankFit, scaler: ColumnScaler, table: Table) -> np.ndarray:
        return self._merge(scaler.backward(fit.matrix()), table, scaler)

    def _row_ridge_factor(self, held: HoldOut, fit: LowRankFit) -> float:
        """The factor with the smallest held-out error of rows that are solved given the columns.

        Rows that were stopped early had not come to their minimum; solved to it with the ridge of
        the fit they may follow their entries too closely.
        """
        errors = []
        for factor in _RIDGE_FACTORS:
            ridge = factor * fit.ridge
            rows = fold_in(
                replace(fit, ridge=ridge),
                held.training,
                steps=_FEW_STEPS,
                threads=self.threads,
                device=self.device,
            )
            gaps = rows.predict(held.rows, held.cols) - held.values
            errors.append(held_out_size(gaps, held.cols, self._column_noise))
            if errors[-1] > min(errors):
                break
        return _RIDGE_FACTORS[int(np.argmin(errors))]

    def _as_predicted(self, model: Model) -> Model:
        assert model.seen is not None
        where = {"threads": self.threads, "device": self.device}
        return model.folded(model.seen, model.row_ids, **where)

    def _describe(self) -> None:
        super()._describe()
        self.components_ = self.model_.fit.V.T

    def _dump_more(self, meta: Meta, arrays: Arrays) -> None:
        scaler = self._scaler
        arrays |= {"center": scaler.center, "scale": scaler.scale, "column_means": scaler.means}
        arrays |= {"empty": self._empty}
        meta["features"] = {"count": int(self.n_features_in_)}
        if hasattr(self, "feature_names_in_"):
            meta["features"]["names"] = [str(name) for name in self.feature_names_in_]

    def _restore_more(self, meta: Meta, arrays: Arrays) -> None:
        names = ("center", "scale", "column_means")
        self._scaler = ColumnScaler(*(arrays.pop(name) for name in names))
        self._empty = arrays.pop("empty")
        self.n_features_in_ = meta["features"]["count"]
        if "names" in meta["features"]:
            self.feature_names_in_ = np.array(meta["features"]["names"], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = isinstance(self.missing_values, Real) and math.isnan(
            self.missing_values
        )
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
