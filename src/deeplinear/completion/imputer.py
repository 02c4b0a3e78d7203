"""The scikit-learn transformer for tables with missing entries."""

import os
import warnings
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import MissingValues, StrOptions

from ..progress import ProgressCallback
from ._parameters import Choice, RandomState
from ._table_io import TableLike
from ._table_training import TableTraining
from ._training import CompletionEstimator
from .backends.open import Device
from .data.columns import is_frame, read_column
from .data.ids import is_missing


class DeepLinearImputer(TableTraining):
    """Fill in missing entries with a deep linear network: a matrix of low rank plus biases.

    The network's end-to-end matrix W (plus mean, row and column biases) is fitted to the observed
    entries of X after its columns were brought to a common scale. X is an array, a data frame of
    pandas or polars, or a `CodedTable`; categories and booleans are fitted through an indicator per
    label, and a missing one becomes its most probable label. Explicitly: W minimizes
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
    loss : str, or mapping of columns to str, default "squared"
        What an entry costs in the fit and among the held-out ones, of all columns of numbers, or by
        the name (without names, the position) of the column; others are "squared". "huber", for
        heavy tails: one outlier decides neither the scale of its column nor anything else;
        "logistic" for two values, "ordinal" for a few ordered levels, "poisson" for counts: minus
        their log likelihood, and their mean is imputed (rounded as ``integers`` says). See
        `deeplinear.completion.loss`. Depth ≥ 2, explicit, on the CPU, without draws.
    max_rank : int, optional
        A cap on the rank. Below it the penalty and the early stop choose the rank. Default
        min(m, n).
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
        Average this many draws from the Bayesian posterior around the fit (Gibbs sampling), with
        the components that held-out entries feel (at most 56). They choose the weight of the
        average beside the fit itself; without any both count one half. 0: the fit itself.
    burn_in : int or "auto", default "auto"
        Draws that are thrown away first; "auto": until the noise of the draws no longer drifts, at
        most 100 (`deeplinear.completion.posterior.burn_in`).
    sample_posterior : bool, default False
        Fill in draws from the posterior, noise included, instead of its mean: a new one at each
        call of ``transform`` (``random_state`` fixes their sequence), as in scikit-learn's
        ``IterativeImputer``. Several at once: ``draws``.
    validation_fraction : float in [0, 1), default 0.1
        Part of the observed entries that is held out for choices and for calibrated intervals. 0:
        nothing is, and ``depth`` and ``strength`` must be numbers.
    holdout : "auto", "entries", "rows" or "blocks", default "entries"
        What is held out: cells at random; four fifths of the cells of some rows, for tables in
        which most of some rows is missing; or runs of successive rows of a column, as long as those
        that are missing, for rows in order. "auto": what most missing cells are like;
        right for them, at a loss for others (see `docs/refinement.md`).
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
    missing_values : number, str, NaN, None or ``pandas.NA``, default NaN
        What marks a missing entry. None and NA always do, and so does NaN where it is the marker.
    columns : sequence of names or positions, optional
        The columns that are fitted; all others are carried through untouched. Default: all that
        hold numbers, booleans or labels. Dates, text of which most entries are distinct, and other
        objects are carried through.
    categorical : sequence of names or positions, optional
        Columns whose values are labels, besides those of a categorical type and of text with few
        distinct values.
    integers : "auto", "round" or "keep", default "auto"
        Imputed values are rounded in columns of an integer type ("auto"), also in those whose
        observed values are all whole ("round"), or nowhere ("keep").
    min_value, max_value : "auto", None, a number, or a sequence of these per column
        What imputed numbers stay within; None is no bound. With "auto", the default, columns whose
        observed values are all ≥ 0 have the bounds max(0, lo − r/2) and hi + r/2, where lo and hi
        are their extremes and r = hi − lo, so that nothing positive becomes negative; other columns
        have none. Transforms, intervals and draws keep to them; observed entries stay as they are.
    refine : "auto" or "off", default "auto"
        Refine the network by a Gaussian field, and rows in order by lines (see the notes), where
        held-out cells gain by it.
    row_order : True, times (m,), a graph (m, m), the name of a column of X, or None, default None
        Rows that are near each other are alike: True where they are in order (time series,
        photographs), numbers or dates where they lie in time, or symmetric weights ≥ 0 (sparse or
        dense) between rows. One more graph for the field, and where it puts rows one after the
        other, lines between their cells. None: rows in any order.
    add_indicator : bool, default False
        Append to what ``transform`` gives a column for each fitted one that was incomplete in the
        fit: whether its entries were missing.
    keep_empty_features : bool, default True
        Fill columns of numbers without an observed entry from the marginals (empty columns of
        labels stay empty). False: drop them.
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
    depth_, strength_ : float
        What was used.
    singular_values_, components_ : (r,) and (r, n) arrays
        Singular values and right singular vectors of W, in the units of the scaled columns; a
        category with more than two labels has a column for each.
    rank_, effective_rank_ : int, float
        r, and exp(entropy of σ/Σσ) (Roy–Vetterli). The implicit flow has the rank ``max_rank``,
        most of it tiny.
    used_, average_share_ : str, float
        What predictions are made of: "biases" (rank 0: held-out entries preferred W by less than
        a standard error), "fit", "average" (of draws) or "fit and average", and the weight of that
        average.
    column_scores_ : dict of ColumnScore
        By name (without names, by position) of the fitted column, what imputation makes of its
        held-out cells: ``count``, ``rmse`` (in its units) and ``r2`` of numbers, ``accuracy`` and
        ``log_loss`` of categories.
    standardized_score_ : float
        The typical error on the held-out entries in the units of the scaled columns (see the
        notes), which is what choices are made by (with another ``loss`` by its root deviance); NaN
        if there were none.
    validation_score_, validation_mask_, validation_predictions_ : float, bool array, array
        Root-mean-square error on the held-out entries in the units of X, with categories as
        indicators (0 or 1); where the held-out cells are, and what is imputed there without them
        (labels by their codes; both not kept in model files).
    train_score_ : float
        Root-mean-square error on the observed entries, in the units of X.
    features_ : tuple of Feature
        Name, kind and labels of each fitted column.
    refinement_ : Refinement
        What refines the network: the average ``share`` of the columns, ``graph``, ``correlation``,
        ``noise``, the share of ``lines`` and their ``reach`` in steps, and the held-out errors
        ``before`` and ``after``. A share of 0 is the network alone.
    trials_ : tuple of Trial
        Depth, strength, held-out error (typical of the scaled columns, in their units; of another
        ``loss`` the root of the deviance), rank and
        sweeps of everything tried, with the standard error of its difference from the best before.
        Where the biases alone are used they come last, with rank 0.
    n_iter_, status_, converged_ : int, Status, bool
        Sweeps or steps of the last fit, how it ended, and whether it ended where it was meant to.
    stationarity_ : float
        Relative residual of the stationarity conditions; NaN after an early stop.
    model_ : Model
        Everything that predictions need.

    Notes
    -----
    ``transform`` solves each row given V, so a row's result does not depend on the other rows of
    the call (draws of ``sample_posterior`` do), and ``fit_transform(X)`` is
    ``fit(X).transform(X)``; observed entries are returned bit
    for bit (as floats). Choices are made by the held-out error in the units of the scaled columns,
    where each column has a noise level of its own (`deeplinear.completion.solver.column_noise`): so
    all columns matter alike, and one that nothing predicts, a row number, does not decide for the
    others. A category counts as one column, and all its indicators in a cell are held out together.
    **The field.** Given the columns' covariance Σ in the table that the network has completed, rows
    are a Gaussian Markov random field, cov = P(ρ)⁻¹ ⊗ Σ (`deeplinear.completion.field`), whose mean
    given the observed cells is what one linear solve says; P comes from nothing (each row by
    itself: a regression on its own cells), nearest neighbours, ``row_order``, or both. Held-out
    cells choose among these, ρ, the noise, and for each column what share of the way from the
    network to the field it goes, and then to straight lines and to curves between the observed
    cells before and behind, along ``row_order``. A held-out cell is judged with shares that it had
    no part in; where they do not gain, the network stays as it is. Rows of the table of the fit are
    known again by their observed cells. New rows stand beside their nearest neighbours among them;
    where order was chosen, by themselves, or, with ``row_order=True``, in a sequence of their own.

    Rows and columns without an observed entry are filled from the marginals, with an
    `EmptyLineWarning`. Columns that look like ids or time stamps bring an `IdColumnWarning`.

    >>> import numpy as np
    >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4]); X[1, 2] = np.nan
    >>> DeepLinearImputer(random_state=0).fit_transform(X).shape
    (5, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CompletionEstimator._parameter_constraints,
        "sample_posterior": ["boolean"],
        "center": ["boolean"],
        "scale": ["boolean"],
        "missing_values": [MissingValues()],
        "columns": ["array-like", set, None],
        "categorical": ["array-like", set, None],
        "integers": [StrOptions({"auto", "round", "keep"})],
        "min_value": [None, Real, "array-like", StrOptions({"auto"})],
        "max_value": [None, Real, "array-like", StrOptions({"auto"})],
        "refine": [StrOptions({"auto", "off"})],
        "row_order": [None, "boolean", str, "array-like", "sparse matrix"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
    }

    _thorough = True

    @property
    def _column_noise(self) -> bool:
        return bool(self.scale)

    def __init__(
        self,
        depth: Choice = 3.0,
        *,
        loss: Any = "squared",
        regularization: str = "explicit",
        strength: Choice = "auto",
        max_rank: int | None = None,
        center: bool = True,
        scale: bool = True,
        weighted_trace_norm: float = 0.0,
        early_stopping: bool = True,
        n_draws: int = 0,
        burn_in: int | str = "auto",
        sample_posterior: bool = False,
        validation_fraction: float = 0.1,
        holdout: str = "entries",
        start_scale: float = 1e-3,
        max_iter: int | None = None,
        tol: float = 1e-5,
        threads: int | None = None,
        device: Device = "cpu",
        random_state: RandomState = None,
        missing_values: Any = np.nan,
        columns: Any = None,
        categorical: Any = None,
        integers: str = "auto",
        min_value: Any = "auto",
        max_value: Any = "auto",
        refine: str = "auto",
        row_order: Any = None,
        add_indicator: bool = False,
        keep_empty_features: bool = True,
        checkpoint: str | os.PathLike[str] | None = None,
        verbose: bool = False,
        callback: ProgressCallback | None = None,
    ) -> None:
        self.depth = depth
        self.loss = loss
        self.regularization = regularization
        self.strength = strength
        self.max_rank = max_rank
        self.center = center
        self.scale = scale
        self.weighted_trace_norm = weighted_trace_norm
        self.early_stopping = early_stopping
        self.n_draws = n_draws
        self.burn_in = burn_in
        self.sample_posterior = sample_posterior
        self.validation_fraction = validation_fraction
        self.holdout = holdout
        self.start_scale = start_scale
        self.max_iter = max_iter
        self.tol = tol
        self.threads = threads
        self.device = device
        self.random_state = random_state
        self.missing_values = missing_values
        self.columns = columns
        self.categorical = categorical
        self.integers = integers
        self.min_value = min_value
        self.max_value = max_value
        self.refine = refine
        self.row_order = row_order
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.checkpoint = checkpoint
        self.verbose = verbose
        self.callback = callback

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = is_missing(self.missing_values)
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def complete(X: TableLike, depth: Any = 3.0, **options: Any) -> Any:
    """X with its missing entries filled in by a `DeepLinearImputer`: the same kind of object.

    A data frame becomes one of the same library with the same types of columns, an array one of the
    same type, a `CodedTable` a `CodedTable`. Columns of a frame that are neither numbers nor
    categories (distinct texts, dates) are carried through as they are: if their cells are missing a
    warning counts them. ``depth`` and ``options`` are those of the estimator.

    >>> import numpy as np
    >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4]); X[1, 2] = np.nan
    >>> complete(X, depth=2, random_state=0).shape
    (5, 4)
    """
    imputer = DeepLinearImputer(depth, **options).fit(X)
    if imputer.columns is None:  # else what is left out is meant
        _tell_what_stays(imputer, X)
    return imputer.completed_like(X)


def _tell_what_stays(imputer: DeepLinearImputer, X: Any) -> None:
    """A warning where columns that are not fitted have missing cells, which stay so."""
    if not is_frame(X):
        return
    counts = {}
    for j in imputer._layout.carried:
        missing = read_column(X, j, imputer.missing_values).missing
        if missing.any() and not missing.all():  # an empty one was told of
            counts[X.columns[j]] = int(missing.sum())
    if not counts:
        return
    warnings.warn(
        f"{len(counts)} column(s) of X that are neither numbers nor categories (the first is "
        f"{next(iter(counts))!r}) keep their {sum(counts.values())} missing cell(s): name it in "
        "categorical if its labels come again, or name in columns what is to be completed.",
        stacklevel=3,
    )
