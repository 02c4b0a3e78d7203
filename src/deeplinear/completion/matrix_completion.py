"""Matrix completion for ratings, assays and other long data."""

import os
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from ..errors import InputError
from ..progress import ProgressCallback
from ._losses import limits_of
from ._pair_predictions import PairPredictions
from ._parameters import Choice, RandomState
from ._training import CompletionEstimator, whole_or_not_at_all
from .backends.open import Device
from .data.entries import (
    Data,
    Entries,
    check_not_a_list,
    check_size,
    joined,
    numbers,
    read_entries,
)
from .data.id_columns import warn_if_constant
from .data.observations import Observations
from .data.side_features import Features
from .data.weights import entry_weights
from .solver.fit import update
from .solver.flow import fold_in_new_lines
from .solver.options import check_rank, for_depth
from .solver.path import STRENGTHS
from .solver.pilot import check_entries

# A fit that ended after fewer sweeps, on few entries, still takes this many to make use of many new
# ones.
_SWEEPS = 10
# The implicit flow starts over when this part of the entries has come since.
_RENEWED = 0.1


class DeepMatrixCompletion(PairPredictions, CompletionEstimator):
    """Complete a large, sparsely observed matrix (ratings, assays, sensors) by its low rank.

    x_ij ≈ mean + a_i + b_j + W_ij, where W minimizes ½ Σ (residual)² + (λN/2) Σ σ_k(W̃)^{2/N} over
    the observed entries: weight decay λ at depth N. 2 is the nuclear norm; the deeper, the fewer
    and the less shrunk the singular values.

    Parameters
    ----------
    depth : real number ≥ 1 or ``math.inf``, a sequence of them, or "auto", default 3
        N. Of several, held-out entries choose: all see the same ones; "auto" is (2, 3, 4, ∞). Below
        2 the penalty is convex, and the dense matrix is formed.
    regularization : "explicit" or "implicit", default "explicit"
        Weight decay, or none: the gradient flow of the network from a small start, stopped early
        (see `deeplinear.completion.solver.flow`): slower, and rarely better. The deeper, the longer
        it stands still before each singular value, at depth ∞ perhaps until it is given up: a
        larger ``start_scale`` helps.
    strength : "auto", float ≥ 0 or a sequence of them, default "auto"
        Explicit: λ in units of the noise: invariant to the units of the data and comparable between
        depths; useful values lie between 0.1 and 1, and near 0 for data without noise. Implicit:
        the part of the initial training energy, in (0, 1), at which the flow stops at the latest.
        Of several, or with "auto", held-out entries choose it (and when to stop); then all entries
        are fitted again.
    max_rank : int, optional
        A cap on the rank, at most min(m, n). Below it the penalty and the early stop choose the
        rank. By default it begins at min(m, n, 50), and doubles where it binds and the held-out
        error falls.
    loss : "squared", "huber", "logistic", "ordinal" or "poisson", default "squared"
        What an entry costs in the fit and among the held-out ones: the squared error; Huber's, for
        heavy tails; or minus the log likelihood of one of two values, of one of a few ordered
        levels (proportional odds), or of a count, whose mean is then what is predicted. See
        `deeplinear.completion.loss`. Depth ≥ 2, explicit, on the CPU, without draws.
    biases : bool, default True
        Learn the mean and row and column biases jointly with W.
    weighted_trace_norm : float in [0, 1], default 0.5
        The penalty acts on W̃_ij = (count_i count_j)^{α/2} W_ij (counts relative to their
        means), so that lines with many entries are not shrunk less only because they have many. 0
        is off. Explicit only.
    start_scale : float > 0, default 1e-3
        Implicit only: size of the singular values of the start, relative to the largest of the
        residual.
    early_stopping : bool, default True
        Let the held-out entries also choose when to stop; without it every fit goes on to ``tol``.
        Explicit only: a flow is stopped by the held-out entries in any case.
    n_draws : int, default 0
        Average this many draws from the Bayesian posterior around the fit (Gibbs sampling, see
        `deeplinear.completion.posterior.gibbs`), with the q ≤ 56 components that held-out entries
        feel. They choose the weight of the average beside the fit itself; without any both count
        one half. At n_draws · (m + n)(q + 1) numbers of memory. 0: the fit itself.
    burn_in : int or "auto", default "auto"
        Draws that are thrown away first; "auto": until the noise of the draws no longer drifts, at
        most 100 (`deeplinear.completion.posterior.burn_in`).
    implicit_feedback : bool, default False
        Learn also from *which* entries were observed
        (`deeplinear.completion.posterior.implicit_feedback`). Needs ``n_draws``.
    clip : None, "range" or (low, high), default None
        Cut predictions to the range of the observed values, or to an interval. The fit itself is
        not changed.
    unseen : "marginals" or "nan", default "marginals"
        What is predicted for ids without any entry: the average line (with one `EmptyLineWarning`
        that counts them), or NaN.
    columns : three names, default ("user", "item", "rating")
        Row id, column id and value in a long data frame.
    duplicates : "error", "mean" or "last", default "error"
        What to do with an entry that comes more than once.
    validation_fraction : float in [0, 1), default 0.1
        Part of the entries that is held out for ``strength="auto"``, for the error estimate and for
        calibrated intervals. 0: none, and ``strength`` must be a number.
    holdout : "entries" or "rows", default "entries"
        What is held out: entries at random, or four fifths of some rows, where most of some rows is
        missing.
    max_iter : int, optional
        Limit of one fit: sweeps (explicit, default 100) or steps of the flow (implicit, default
        5,000).
    tol : float ≥ 0, default 1e-5
        Explicit only: relative gain of a sweep that counts as none.
    threads : int, optional
        Default: all cores. The result does not depend on it.
    device : "cpu", "gpu" or "jax", default "cpu"
        Where the passes over the entries run: compiled loops on the CPU, all GPUs, or all devices
        of JAX's default platform; the same result up to rounding. Draws run on the CPU.
    random_state : int, RandomState or None
        Chooses the held-out entries, the random signs by which the noise is measured (which changes
        λ a little), the start and the draws. None draws at each call of fit.
    checkpoint : path, optional
        File with the state of the choice of depth and strength, and then of the fit of all entries;
        writing it takes at most a twentieth of the time. A fit that was killed and is called again
        with the same data and parameters (an integer ``random_state``) goes on there and ends with
        the same result, bit for bit; the file is removed at the end. Explicit only.
    verbose : bool, default False
        Print a line of progress on standard error, at most one each second.
    callback : callable, optional
        Called with a `deeplinear.progress.Progress`; True ends the fit with what it has.

    Attributes
    ----------
    depth_, strength_, n_iter_ : float, float, int
        What was used; of the implicit flow the part of the energy at which it was to stop.
    rank_, singular_values_, effective_rank_ : int, (rank,) array, float
        Of W; the last is exp(entropy of σ/Σσ) (Roy–Vetterli). The implicit flow has the rank
        ``max_rank``, most of it tiny.
    used_, average_share_ : str, float
        What predictions are made of: "biases" (rank 0, where W does not clearly better them),
        "fit", "average" (of draws) or "fit and average", and the weight of that average.
    row_ids_, col_ids_ : arrays
        Ids in the order of the lines of `complete` (all positions, where a matrix was fitted).
    validation_score_ : float
        Root-mean-square error on the held-out entries of the model (with draws: their average)
        without them; NaN if there were none.
    train_score_ : float
        Root-mean-square error on all entries.
    trials_ : tuple of Trial
        Depth, strength, held-out error (of other losses the root of the mean deviance; with the
        standard error of its difference from the best before), rank and sweeps of everything tried;
        last the biases (rank 0) if they are used.
    status_, converged_ : Status, bool
        How the last fit ended; whether it ended where it was meant to, and not because
        ``max_iter`` was reached.
    features_ : SideInformation or None
        What ``row_features`` and ``col_features`` of `fit` gave, and how much they count.
    model_ : Model
        Everything that predictions need.

    Notes
    -----
    Data come as: a scipy sparse matrix (what is stored is observed, **also a stored zero**; what is
    not stored is missing); a tuple (rows, cols, values) with any hashable ids; a long data frame
    (pandas, polars) with three ``columns``; a series of pandas with an index of two levels; a dense
    array with NaN; or X = pairs of ids and y = values, which is the form for ``GridSearchCV``.
    Matrices know their lines by position; those without any entry cost a fit nothing. A dense list
    of entries (user, item, rating) is refused, and entries of one value only are warned of.

    The dtype of the values is kept (float32 halves the memory).

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
        **CompletionEstimator._parameter_constraints,
        "biases": ["boolean"],
        "holdout": [StrOptions({"entries", "rows"})],
        "implicit_feedback": ["boolean"],
        "clip": [StrOptions({"range"}), tuple, list, None],
        "unseen": [StrOptions({"marginals", "nan"})],
        "columns": [tuple, list],
        "duplicates": [StrOptions({"error", "mean", "last"})],
    }

    def __init__(
        self,
        depth: Choice = 3.0,
        *,
        loss: Any = "squared",
        regularization: str = "explicit",
        strength: Choice = "auto",
        max_rank: int | None = None,
        biases: bool = True,
        weighted_trace_norm: float = 0.5,
        early_stopping: bool = True,
        start_scale: float = 1e-3,
        n_draws: int = 0,
        burn_in: int | str = "auto",
        implicit_feedback: bool = False,
        clip: Any = None,
        unseen: str = "marginals",
        columns: Any = ("user", "item", "rating"),
        duplicates: Literal["error", "mean", "last"] = "error",
        validation_fraction: float = 0.1,
        holdout: str = "entries",
        max_iter: int | None = None,
        tol: float = 1e-5,
        threads: int | None = None,
        device: Device = "cpu",
        random_state: RandomState = None,
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        callback: ProgressCallback | None = None,
    ) -> None:
        self.depth = depth
        self.loss = loss
        self.regularization = regularization
        self.strength = strength
        self.max_rank = max_rank
        self.biases = biases
        self.weighted_trace_norm = weighted_trace_norm
        self.early_stopping = early_stopping
        self.start_scale = start_scale
        self.n_draws = n_draws
        self.burn_in = burn_in
        self.implicit_feedback = implicit_feedback
        self.clip = clip
        self.unseen = unseen
        self.columns = columns
        self.duplicates = duplicates
        self.validation_fraction = validation_fraction
        self.holdout = holdout
        self.max_iter = max_iter
        self.tol = tol
        self.threads = threads
        self.device = device
        self.random_state = random_state
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.callback = callback

    def fit(
        self,
        X: Data,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        row_features: Features = None,
        col_features: Features = None,
    ) -> Self:
        """Learn from the observed entries, in any of the forms of the class's notes.

        ``sample_weight`` ≥ 0: the precisions 1/variance of the entries, up to a common factor (they
        are divided by their mean); one per entry in the order of the entries, or for a dense array
        one per row or one per cell. Entries of weight 0 are left out. ``row_features``,
        ``col_features``: tables of what is known of the rows and columns, also of those without
        entries (`deeplinear.completion.data.side_features`).
        """
        with whole_or_not_at_all(self):
            self._check()
            entries = read_entries(X, y, self.columns)
            check_not_a_list(X, y, entries)
            if len(entries):
                check_rank(self.max_rank, entries.shape)
            self._give(row_features, col_features)
            entries, weights = entries.learned_from(entry_weights(sample_weight, entries))
            check_entries(self._loss_names()[0], entries.values, "the values")
            seen = self._observe(entries, weights)
            warn_if_constant(seen.by_row.values)
            self._line_ids = entries.row_ids, entries.col_ids
            self._learn(seen, self._line_ids)
        return self

    def partial_fit(self, X: Data, y: ArrayLike | None = None) -> Self:
        """Add entries, also of new ids, and go on from where the last fit ended.

        Depth and strength stay. Rows and columns with a new entry move, given the others; new ones
        as often as in a fit. Sweeps over all entries come in proportion to the new part of the
        entries (also over several calls), so that a few entries change little. With the implicit
        flow new rows and columns are folded in and the others wait until a tenth of the entries is
        new: then everything is learned again. An entry that is there already is treated as
        ``duplicates`` says: ``"last"`` lets the new value replace the old one. The calibration of
        intervals is kept.
        """
        if not hasattr(self, "model_"):
            return self.fit(X, y)
        self._refuse_features("partial_fit")
        with whole_or_not_at_all(self):
            self._check()
            if self._is_implicit != self.model_.fit.flowed:
                raise InputError(
                    "regularization must be that of the fit for partial_fit: set it back, or fit "
                    "again."
                )
            if self.model_.columns is not None:
                raise InputError(
                    "partial_fit needs the estimator that was fitted, got one of folded rows: call "
                    "it on the fitted one, whose columns move too, or fold all entries of the rows "
                    "in."
                )
            old = self._entries("partial_fit")
            new = read_entries(X, y, self.columns, (self.model_.row_ids, self.model_.col_ids))
            self._check_levels(new.values)
            seen = self._observe(*joined(old, new))
            ids = (new.row_ids, new.col_ids)
            where: dict[str, Any] = {"threads": self.threads, "device": self.device}
            if self._is_implicit:
                self._owed += len(new) / seen.nnz
                if self._owed > _RENEWED:
                    self._learn(seen, ids)
                    return self
                fit = fold_in_new_lines(seen, self.model_.fit, new.rows, new.cols, **where)
            else:
                rounds = max(self.n_iter_, _SWEEPS)
                self._owed += rounds * len(new) / seen.nnz
                sweeps = int(self._owed)
                self._owed -= sweeps
                how = {
                    "rounds": rounds,
                    "sweeps": sweeps,
                    "max_rank": self._options(seen)["max_rank"],
                }
                how = for_depth(how, self.model_.fit.depth)
                fit = update(seen, self.model_.fit, new.rows, new.cols, **how, **where)
            seed = int(check_random_state(self.random_state).randint(2**31))
            self._publish(fit, seen, ids, self.model_.calibration, seed)
        return self

    # What `CompletionEstimator` asks for

    def _check(self) -> None:
        super()._check()
        if len(self.columns) != 3 or not all(isinstance(c, Hashable) for c in self.columns):
            raise InputError(
                f"columns must be three names (row, column, value), got {self.columns!r}."
            )
        if self.implicit_feedback and not self.n_draws:
            raise InputError(
                "implicit_feedback needs n_draws ≥ 1, where the factors are drawn: set n_draws to "
                "20, say."
            )
        if isinstance(self.clip, tuple | list):
            low, high = numbers(self.clip, "clip") if len(self.clip) == 2 else (1.0, 0.0)
            if not low < high:
                raise InputError(
                    f'clip must be None, "range" or (low, high) with low < high, got {self.clip!r}.'
                )

    def _observe(self, entries: Entries, weights: ArrayLike | None) -> Observations:
        if not len(entries):
            raise InputError("X has no observed entry: give it at least one.")
        check_size(entries.values)
        seen = entries.observations(weights=weights, duplicates=self.duplicates)
        return seen.rescaled() if seen.by_row.weights.size else seen

    def _options(self, seen: Observations) -> dict[str, Any]:
        options = super()._options(seen)
        if options["max_rank"] is not None:  # the lines that are left may be fewer
            options["max_rank"] = min(options["max_rank"], *seen.shape)
        return options

    def _standardize(self, seen: Observations) -> Observations:
        return seen

    def _units(self, cols: np.ndarray | slice) -> float:
        return 1.0

    def _strength_path(self) -> Sequence[float]:
        return STRENGTHS

    def _bias_options(self) -> dict[str, None]:
        return {} if self.biases else {"bias_ridge": None}

    def _limits(self, seen: Observations) -> tuple[float, float] | None:
        if self.clip == "range":
            values = seen.by_row.values
            return float(values.min()), float(values.max())
        if self.clip is None:
            return limits_of(self.loss, seen.by_row.values)
        return (float(self.clip[0]), float(self.clip[1]))
