"""Matrix completion for ratings, assays and other long data: the estimator around the thin
engine.
"""

import math
import os
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from ._training import Training
from .data.entries import Entries, is_long_frame, read_entries
from .model import file_format
from .model.recommend import recommend
from .model.serialize import dump, restore
from .solver.fit import fold_in, update
from .solver.flow import fold_in_new_lines

_LARGEST = 200_000_000  # entries of a dense result
# A fit that ended after fewer sweeps, on few entries, still takes so many to make use of many new
# ones.
_SWEEPS = 10
# The implicit flow starts anew when this part of the entries has come since.
_RENEWED = 0.1


class DeepMatrixCompletion(Training):
    """Complete a large, sparsely observed matrix (ratings, assays, sensors) with a deep linear
    network.

    x_ij ≈ mean + a_i + b_j + W_ij, where W minimizes ½ Σ (residual)² + (λN/2) Σ σ_k(W̃)^{2/N} over
    the observed entries: weight decay λ at depth N. 2 is the nuclear norm; the deeper, the fewer
    and the less shrunk the singular values. The rank is found.

    Parameters
    ----------
    depth : real number ≥ 2 or ``math.inf``, default 3
        N. To let held-out entries choose it, use `DeepMatrixCompletionCV`.
    regularization : "explicit" or "implicit", default "explicit"
        Weight decay, or none: the gradient flow of the network from a small start, stopped early
        (see `deeplinear.completion.solver.flow`). The flow is the dynamics of the literature; it
        takes longer and is seldom better. The deeper, the longer it stands still before each
        singular value, at depth ∞ perhaps until it is given up: a larger ``start_scale`` helps.
    strength : "auto" or float ≥ 0, default "auto"
        Explicit: λ in units of the noise: invariant to the units of the data and comparable between
        depths; useful values lie between 0.1 and 1, and near 0 for data without noise. Implicit:
        the part of the initial training energy, in (0, 1), at which the flow stops at the latest.
        "auto" chooses it (and when to stop) on held-out entries, then fits all entries again.
    max_rank : int, optional
        A cap on the rank, at most min(m, n); default min(m, n, 50), or with ``ensemble`` > 1
        min(m, n, 20): few draws of many weak components are noisy.
    biases : bool, default True
        Learn the mean and row and column biases jointly with W.
    scaling : float in [0, 1], default 0.5
        The penalty acts on W̃_ij = (count_i count_j)^{scaling/2} W_ij (counts relative to their
        means), so that lines with many entries are not shrunk less only because they have many. 0
        is off. Explicit only.
    start_scale : float > 0, default 1e-3
        Implicit only: size of the singular values of the start, relative to the largest of the
        residual.
    ensemble : int, default 1
        Average so many draws from the Bayesian posterior around the fit (Gibbs sampling, see
        `deeplinear.completion.posterior.gibbs`): more accurate, at so many times (m + n)(r + 1)
        numbers of memory.
    burn_in : int, default 10
        Draws that are thrown away first. With ``ensemble`` > 1 only.
    features : bool, default False
        Learn also from *which* entries were observed, as side information (implicit feedback; see
        `deeplinear.completion.posterior.implicit_feedback`). Needs ``ensemble`` > 1.
    clip : None, "range" or (low, high), default None
        Cut predictions to the range of the observed values, or to an interval. The fit itself is
        not changed.
    unseen : "marginals" or "nan", default "marginals"
        What is predicted for ids without any entry: the average line (with one warning that counts
        them), or NaN.
    columns : three names, default ("user", "item", "rating")
        Row id, column id and value in a long data frame.
    duplicates : "error", "mean" or "last", default "error"
        What to do with an entry that comes more than once.
    validation_fraction : float in [0, 1), default 0.1
        Part of the entries that is held out for ``strength="auto"``, for the error estimate and for
        calibrated intervals. 0: none, and ``strength`` must be a number.
    max_sweeps : int, optional
        Limit of one fit: sweeps (explicit, default 100) or steps of the flow (implicit, default
        5,000).
    tol : float ≥ 0, default 1e-5
        Explicit only: relative gain of a sweep that counts as none.
    threads : int, optional
        Default: all cores. The result does not depend on it.
    device : "cpu", "gpu" or "jax", default "cpu"
        Where the passes over the entries run: compiled loops on the CPU, all GPUs, or all devices
        of JAX's default platform; the same result up to rounding. Draws (``ensemble``) and
        `fold_in` run on the CPU.
    random_state : int, RandomState or None
        Chooses the held-out entries, the start and the draws.
    checkpoint : path, optional
        File with the state of the fit of all entries. A fit that was killed and is called again
        with the same data and parameters (an integer ``random_state``) makes its choices again,
        goes on there, and ends with the same result; the file is removed at the end. Explicit only.
    callback : callable, optional
        Called with a `FitProgress`.

    Attributes
    ----------
    depth_, strength_, n_sweeps_ : float, float, int
        What was used; of the implicit flow the part of the energy at which it was to stop.
    rank_, singular_values_, effective_rank_ : int, (rank,) array, float
        Of W; the last is exp(entropy of σ/Σσ) (Roy–Vetterli). The implicit flow has the rank
        ``max_rank``, most of it tiny.
    row_ids_, col_ids_ : arrays
        Ids in the order of the factors (positions, where a matrix was fitted).
    validation_score_ : float
        Root-mean-square error on the held-out entries of the fit (before averaging) without them;
        NaN if there were none.
    train_score_ : float
        Root-mean-square error on all entries.
    trials_ : tuple
        Depth, strength, held-out error, rank and sweeps of everything tried.
    converged_ : bool
        Whether the fit ended where it was meant to, and not because ``max_sweeps`` were used up.
    model_ : Model
        Everything that predictions need.

    Notes
    -----
    Data come as: a scipy sparse matrix (what is stored is observed, **also a stored zero**; what is
    not stored is missing); a tuple (rows, cols, values) with any hashable ids; a long data frame
    (pandas, polars) with three ``columns``; a dense array with NaN; or X = pairs of ids and y =
    values, which is the form for ``GridSearchCV``. Matrices know their lines by position.

    The dtype of the values is kept (float32 halves the memory); averages are made in float64 from
    draws kept in float32.

    **Raises** `InputError` for what the data or parameters make impossible.

    Source: theory of the penalty: Arora, Cohen, Hazan 2018 and Dai et al. 2021 (Schatten quasi-norm
    of weight decay).

    >>> import deeplinear as dl
    >>> ratings = dl.datasets.make_ratings(60, 40, 800)
    >>> model = dl.DeepMatrixCompletion(depth=3, max_rank=5, random_state=0).fit(ratings.triples)
    >>> bool(model.predict([1, 2], [1, 3]).shape == (2,)), len(model.recommend([7], 3)[0][0])
    (True, 3)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth": [Interval(Real, 2, None, closed="both")],
        "regularization": [StrOptions({"explicit", "implicit"})],
        "strength": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_rank": [Interval(Integral, 1, None, closed="left"), None],
        "biases": ["boolean"],
        "scaling": [Interval(Real, 0, 1, closed="both")],
        "start_scale": [Interval(Real, 0, None, closed="neither")],
        "ensemble": [Interval(Integral, 1, None, closed="left")],
        "burn_in": [Interval(Integral, 0, None, closed="left")],
        "features": ["boolean"],
        "clip": [StrOptions({"range"}), tuple, list, None],
        "unseen": [StrOptions({"marginals", "nan"})],
        "columns": [tuple, list],
        "duplicates": [StrOptions({"error", "mean", "last"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "max_sweeps": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "threads": [Interval(Integral, 1, None, closed="left"), None],
        "device": [StrOptions({"cpu", "gpu", "jax"})],
        "random_state": ["random_state"],
        "checkpoint": [str, os.PathLike, None],
        "callback": [callable, None],
    }
    _kind: ClassVar[str] = "DeepMatrixCompletion"
    # The sweeps (of the flow: the part of the entries) that calls of partial_fit have not made up
    # for yet.
    _owed: float = 0.0

    def __init__(
        self,
        depth=3.0,
        *,
        regularization="explicit",
        strength="auto",
        max_rank=None,
        biases=True,
        scaling=0.5,
        start_scale=1e-3,
        ensemble=1,
        burn_in=10,
        features=False,
        clip=None,
        unseen="marginals",
        columns=("user", "item", "rating"),
        duplicates="error",
        validation_fraction=0.1,
        max_sweeps=None,
        tol=1e-5,
        threads=None,
        device="cpu",
        random_state=None,
        checkpoint=None,
        callback=None,
    ):
        self.depth = depth
        self.regularization = regularization
        self.strength = strength
        self.max_rank = max_rank
        self.biases = biases
        self.scaling = scaling
        self.start_scale = start_scale
        self.ensemble = ensemble
        self.burn_in = burn_in
        self.features = features
        self.clip = clip
        self.unseen = unseen
        self.columns = columns
        self.duplicates = duplicates
        self.validation_fraction = validation_fraction
        self.max_sweeps = max_sweeps
        self.tol = tol
        self.threads = threads
        self.device = device
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.callback = callback

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn from the observed entries, in any of the forms of the class's notes.

        ``sample_weight``: one weight ≥ 0 per entry, in the order of the entries, for long forms:
        the precisions 1/variance of the entries, up to a common factor (they are divided by their
        mean).
        """
        self._check()
        entries = read_entries(X, y, self.columns)
        self._learn(self._observe(entries, sample_weight), (entries.row_ids, entries.col_ids))
        return self

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Add entries, also of new ids, and go on from where the last fit ended, at its depth and
        strength.

        Rows and columns with a new entry move, given the others; new ones as often as in a fit.
        Sweeps over all entries come in proportion to the new part of the entries (also over several
        calls), so that a few entries change little. With the implicit flow new rows and columns are
        folded in and the others wait until a tenth of the entries is new: then everything is
        learned again. An entry that is there already is treated as ``duplicates`` says: ``"last"``
        lets the new value replace the old one. The calibration of intervals is kept.
        """
        if not hasattr(self, "model_"):
            return self.fit(X, y)
        self._check()
        if self._implicit != self.model_.fit.flowed:
            raise InputError(
                "regularization must be that of the fit for partial_fit: set it back, or fit again."
            )
        old = self._entries("partial_fit")
        new = read_entries(X, y, self.columns, (self.model_.row_ids, self.model_.col_ids))
        rows, cols, values = (
            np.concatenate(pair)
            for pair in zip(old.triples(), (new.rows, new.cols, new.values), strict=True)
        )
        weights = old.by_row.weights
        weight = (
            np.concatenate([weights, np.ones(len(new), weights.dtype)]) if weights.size else None
        )
        seen = self._observe(Entries(rows, cols, values, new.row_ids, new.col_ids), weight)
        if self._implicit:
            self._owed += len(new) / seen.nnz
            if self._owed > _RENEWED:
                self._learn(seen, (new.row_ids, new.col_ids))
                return self
            found = fold_in_new_lines(
                seen, self.model_.fit, new.rows, new.cols, threads=self.threads, device=self.device
            )
        else:
            rounds = max(self.n_sweeps_, _SWEEPS)
            self._owed += rounds * len(new) / seen.nnz
            sweeps = int(self._owed)
            self._owed -= sweeps
            passed = ("max_rank", "threads", "device", "callback")
            options = {
                name: value for name, value in self._options(seen.shape).items() if name in passed
            }
            found = update(
                seen, self.model_.fit, new.rows, new.cols, rounds=rounds, sweeps=sweeps, **options
            )
        self._publish(found, seen, (new.row_ids, new.col_ids), self.model_.calibration)
        return self

    def predict(self, rows: Any, cols: Any = None, *, return_std: bool = False) -> Any:
        """Predictions at (rows[t], cols[t]) for ids, or at ``rows`` = pairs of ids; with
        ``return_std`` also their deviations.

        The deviation is that of a new entry: noise, and the uncertainty of the factors (not
        calibrated: see `interval`).
        """
        check_is_fitted(self)
        rows, cols = self._pair(rows, cols)
        found = self.model_.predict(rows, cols)
        hidden = self.unseen == "nan"
        bad = (rows < 0) | (cols < 0)
        found = np.where(bad, np.nan, found) if hidden else found
        if not return_std:
            return found
        deviation = self.model_.deviation(rows, cols, self.threads)
        return found, np.where(bad, np.nan, deviation) if hidden else deviation

    def interval(
        self, rows: Any, cols: Any = None, *, coverage: float = 0.9
    ) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) with x̂ ± q · deviation, q such that a fraction ``coverage`` of the held-out
        entries is covered.

        The deviations tell sure predictions from unsure ones, split-conformal calibration makes the
        coverage right on average for new entries that are like the held-out ones. Without held-out
        entries q is that of a normal law; where the fit leaves no residual to tell the noise by (a
        single entry, say), the interval is then NaN, with a warning.
        """
        predictions, deviation = self.predict(rows, cols, return_std=True)
        if self.model_.noiseless and not len(self.model_.calibration.scores):
            warnings.warn(
                "The fit goes through every entry and none was held out: nothing tells how far off "
                "it is, and intervals are NaN.",
                UserWarning,
                stacklevel=2,
            )
            deviation = np.full_like(deviation, np.nan)
        reach = self.model_.calibration.factor(coverage) * deviation
        return self.model_.clip(predictions - reach), self.model_.clip(predictions + reach)

    def complete(self) -> np.ndarray:
        """The whole matrix (m, n): observed entries as they were given, predictions elsewhere, in
        the order of the ids.
        """
        check_is_fitted(self)
        seen = self._entries("complete()")
        m, n = seen.shape
        if m * n > _LARGEST:
            raise InputError(
                f"complete() would make {m} × {n} numbers: use predict or recommend for those you "
                "need."
            )
        whole = self.model_.block(np.where(self.model_.row_counts > 0, np.arange(m), -1))
        rows, cols, values = seen.triples()
        whole[rows, cols] = values
        return whole

    def fold_in(self, X: Any, y: Any = None) -> "DeepMatrixCompletion":
        """An estimator for new rows, each fitted to its own entries given the columns; nothing is
        refitted.

        Its rows are those of ``X`` (matrices: with the columns of the fit), its columns those of
        this one; columns that the fit does not know are an error. With ``ensemble`` > 1 the new
        rows are fitted to the network before averaging.
        """
        check_is_fitted(self)
        entries = read_entries(X, y, self.columns)
        codes = entries.cols
        if not self.model_.col_ids.positional or not entries.col_ids.positional:
            codes = self.model_.col_ids.codes(entries.col_ids.labels, "columns")[entries.cols]
        elif entries.col_ids.size != self.model_.col_ids.size:
            raise InputError(
                f"X must have the {self.model_.col_ids.size} columns of the fit, got "
                f"{entries.col_ids.size}."
            )
        if (codes < 0).any():
            first = entries.col_ids.labels.tolist()[entries.cols[codes < 0][0]]
            raise InputError(
                f"X has columns that the fit does not know, the first is {first!r}: leave them "
                "out, or use partial_fit."
            )
        seen = self._observe(
            Entries(entries.rows, codes, entries.values, entries.row_ids, self.model_.col_ids), None
        )
        other = type(self)(**self.get_params())
        other.model_ = self.model_.folded(
            fold_in(self.model_.fit, seen, threads=self.threads), seen, entries.row_ids
        )
        for name in ("trials_", "validation_score_", "converged_", "n_sweeps_"):
            setattr(other, name, getattr(self, name))
        other._describe()
        return other

    def transform(self, X: Any, y: Any = None) -> np.ndarray:
        """New rows completed (number of rows, n): the entries of ``X`` as given, predictions from
        `fold_in` elsewhere.
        """
        return self.fold_in(X, y).complete()

    def recommend(
        self, ids: Any, k: int = 10, *, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` column ids with the highest predictions for each row id, and the predictions,
        both (len(ids), k).

        ``exclude_seen`` leaves out columns that the row has an entry for; where fewer than ``k``
        are left, the rest is None and NaN. Rows without entries get the columns that are best for
        the average row.
        """
        check_is_fitted(self)
        return recommend(self.model_, ids, k, exclude_seen=exclude_seen)

    def score(self, X: Any, y: Any = None) -> float:
        """−(root-mean-square error) on entries that carry ids: pairs and values, a tuple of three,
        or a long frame.
        """
        check_is_fitted(self)
        if y is None and not (isinstance(X, tuple) or is_long_frame(X, self.columns)):
            raise InputError(
                "X must carry ids for score: give pairs and y, or (rows, cols, values), not a "
                "matrix."
            )
        entries = read_entries(X, y, self.columns)
        found = self.predict(
            entries.row_ids.labels[entries.rows], entries.col_ids.labels[entries.cols]
        )
        known = ~np.isnan(found)
        return (
            -float(np.sqrt(np.mean((found[known] - entries.values[known]) ** 2)))
            if known.any()
            else math.nan
        )

    def save(self, path: str | os.PathLike[str], *, entries: bool = True) -> None:
        """Write the model to a file that cannot execute anything
        (`deeplinear.completion.model.file_format` has the layout).

        ``entries=False`` leaves the training entries out: smaller, and no rating leaves the house;
        then there is no ``partial_fit``, no ``exclude_seen`` and no deviations. Parameters that are
        functions or generators are not saved.
        """
        check_is_fitted(self)
        meta, arrays = dump(self.model_, entries=entries)
        plain = (type(None), bool, int, float, str, tuple, list, np.generic)
        params = {
            k: _as_list(v) for k, v in self.get_params(deep=False).items() if k != "checkpoint"
        }
        meta["params"] = {k: v for k, v in params.items() if isinstance(v, plain)}
        meta["state"] = {
            name: getattr(self, name) for name in ("validation_score_", "converged_", "n_sweeps_")
        }
        meta["state"]["train_score_"] = getattr(self, "train_score_", math.nan)
        file_format.write(path, self._kind, meta, arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """A saved model; it predicts what the saved one did, bit for bit. `InputError` if the file
        is damaged or newer.
        """
        meta, arrays = file_format.unpack(path, cls._kind)
        model = cls(**meta["params"])
        model.model_ = restore(meta, arrays)
        model._describe()
        for name, value in meta["state"].items():
            setattr(model, name, value)
        model.trials_ = ()
        return model


def _as_list(parameter: Any) -> Any:
    """Arrays, series and ranges as lists, which a model file can carry."""
    if hasattr(parameter, "tolist"):
        return parameter.tolist()
    return list(parameter) if isinstance(parameter, range) else parameter
