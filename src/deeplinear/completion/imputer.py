"""The scikit-learn transformer around the completion engine."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, MissingValues, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from ..checks import check_depth
from ..errors import EmptyLineWarning, InputError
from .data.table import ColumnScaler, check_columns, check_finite, hold_out, root_mean_square
from .linalg import effective_rank
from .penalty import Array
from .solver.convex import Fit, Problem, fold_in, implied_ridge, prior_ridge
from .solver.search import Budget, Trial, choose, refit

_STRENGTH_WITHOUT_HOLDOUT = (
    0.125  # near the best one on every table tried; for inputs with too few entries to choose
)
_ONE_THREAD = 1_000_000  # entries
_NO_ENERGY = 1e-12  # of the initial training energy: what the implicit flow goes down to at most
_PATIENCE = 8  # levels of the implicit flow without a better held-out error


@dataclass(frozen=True)
class Progress:
    """What ``callback`` is told: the stage, the fraction of it that is done, and how to get the
    best matrix so far.
    """

    stage: str
    done: float
    validation_rmse: float | None
    complete: Callable[[], Array]


def _blas_threads(size: int) -> Any:
    """One BLAS thread for matrices that gain little from more: threads that wait for a busy core
    cost up to 40 × there.
    """
    return threadpool_limits(1 if size <= _ONE_THREAD else None, user_api="blas")


class DeepLinearImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill in missing entries with a deep linear network: a low-rank matrix whose rank is found,
    with depth as the knob.

    The network's end-to-end matrix W (plus row and column biases) is fitted to the observed entries
    of X after its columns were brought to a common scale. Explicitly: W minimizes E(W) + (λN/2) Σ
    σ_i^{2/N}, which is what weight decay λ does at depth N (2 is the nuclear norm; the deeper, the
    fewer and the less shrunk the singular values). Implicitly: W follows the gradient flow from a
    small start, without weight decay.

    Parameters
    ----------
    depth : real number ≥ 1 or ``math.inf``, default 3
        N. Between 1 and 2 every rank is used (1 is ridge: little more than the biases is learned
        about missing entries).
    regularization : "explicit" or "implicit", default "explicit"
        Weight decay, or a small start and an early stop.
    strength : "auto" or float ≥ 0, default "auto"
        Explicit: the slope λ σ^{2/N−1} of the penalty at the noise scale σ, in units of the noise
        τ: invariant to the units of X and comparable between depths; useful values lie between 0.01
        and 1. Implicit: the part of the initial training energy at which the flow stops, in (0, 1).
        "auto" chooses it on held-out entries, then fits all entries again.
    max_rank : int, optional
        A cap on the rank; the rank itself is found.
    center : bool, default True
        Centre the columns, and learn row and column biases jointly with W.
    scale : bool, default True
        Divide the columns by their fourth-moment size, so that their units do not matter.
    early_stopping : bool, default True
        Let the held-out entries also choose when to stop (with ``strength="auto"``, or the implicit
        flow).
    validation_fraction : float in [0, 1), default 0.1
        Part of the observed entries that is held out. 0: nothing is, and ``strength`` must be a
        number.
    start_scale : float > 0, default 1e-3
        Implicit only: size of the start.
    max_iter : int, optional
        At most so many sweeps (explicit, default 500) or steps from level to level (implicit,
        default 100,000).
    tol : float ≥ 0, default 1e-5
        Explicit: the relative gain of a sweep that counts as converged. Implicit: the part of the
        initial training energy that counts as none.
    random_state : int, RandomState or None, default None
        Chooses the held-out entries (by the positions of the observed entries alone, so all depths
        compare on the same ones) and the implicit start. None draws afresh at each call of fit.
    missing_values : float, default NaN
        What marks a missing entry.
    callback : callable, optional
        Called with a `Progress` after every strength and sweep, for progress bars and checkpoints.

    Attributes
    ----------
    singular_values_, components_ : (r,) and (r, n) arrays
        Singular values and right singular vectors of W, in the units of the scaled columns.
    rank_, effective_rank_ : int, float
        r, and exp(entropy of σ/Σσ) (Roy–Vetterli).
    strength_ : float or None
        The strength used.
    validation_score_, validation_mask_ : float, bool array
        Root-mean-square error on the held-out entries, in the units of X (NaN if there were none),
        and where they are.
    train_score_ : float
        Root-mean-square error on the observed entries, in the units of X.
    path_ : list of Trial
        Strength, held-out error (in the units of the scaled columns), rank and sweeps (None: to
        convergence) of everything tried.
    n_iter_, converged_ : int, bool
        Sweeps or steps of the last fit, and whether it ended where it was meant to.
    stationarity_ : float
        Relative residual of the stationarity conditions; well above 0 after an early stop.

    Notes
    -----
    ``transform`` solves each row given V, so a row's result does not depend on the other rows of
    the call, and ``fit_transform(X)`` is ``fit(X).transform(X)``; observed entries are returned bit
    for bit (as floats). Choices are made by the held-out error in the units of the scaled columns,
    so that all columns matter alike. The implicit flow has full rank, most of it tiny: see
    ``effective_rank_``. It takes seconds where the explicit fit takes a fraction of one, and is
    stiff at depth ∞. Rows and columns without an observed entry are filled from the marginals, with
    an `EmptyLineWarning`; columns are never dropped.

    >>> import numpy as np
    >>> X = np.outer([1.0, 2, 3, 4, 5], [1.0, 2, 3, 4]); X[1, 2] = np.nan
    >>> DeepLinearImputer(random_state=0).fit_transform(X).shape
    (5, 4)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "depth": [Interval(Real, 1, None, closed="both")],
        "regularization": [StrOptions({"explicit", "implicit"})],
        "strength": [StrOptions({"auto"}), Interval(Real, 0, None, closed="left")],
        "max_rank": [Interval(Integral, 1, None, closed="left"), None],
        "center": ["boolean"],
        "scale": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "start_scale": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "missing_values": [MissingValues(numeric_only=True)],
        "callback": [callable, None],
    }

    def __init__(
        self,
        depth=3.0,
        *,
        regularization="explicit",
        strength="auto",
        max_rank=None,
        center=True,
        scale=True,
        early_stopping=True,
        validation_fraction=0.1,
        start_scale=1e-3,
        max_iter=None,
        tol=1e-5,
        random_state=None,
        missing_values=np.nan,
        callback=None,
    ):
        self.depth = depth
        self.regularization = regularization
        self.strength = strength
        self.max_rank = max_rank
        self.center = center
        self.scale = scale
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.start_scale = start_scale
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.missing_values = missing_values
        self.callback = callback

    def fit(self, X, y=None):
        """Learn W from the observed entries of X (n_samples × n_features)."""
        check_depth(self.depth)
        try:
            self._validate_params()
        except ValueError as error:
            raise InputError(str(error)) from None
        X, observed, _ = self._read(X, reset=True)
        if not observed.any():
            raise InputError(
                "X has no observed entry: give it at least one value that is not missing."
            )
        if self.max_rank is not None and self.max_rank > min(X.shape):
            raise InputError(
                f"max_rank must be at most min(shape of X) = {min(X.shape)}, got {self.max_rank}."
            )
        if self.max_rank is not None and self.depth < 2:
            raise InputError(
                f"max_rank must be None below depth 2 (got depth {self.depth:g}), where every rank "
                "is used."
            )
        self._empty = ~observed.any(axis=0)
        if self._empty.any():
            self._warn_empty("column", self._empty)
        self._means = ColumnScaler.of(X, observed, center=True, scale=False).center

        holdout = np.zeros_like(observed)
        if self.validation_fraction > 0 and observed.sum() > 1:
            holdout = hold_out(observed, self.validation_fraction, self.random_state)
        elif self.strength == "auto" and self.validation_fraction == 0:
            raise InputError(
                'validation_fraction must be positive for strength="auto", got 0: give a strength, or hold out entries.'
            )
        self.validation_mask_ = holdout
        run = self._fit_explicit if self.regularization == "explicit" else self._fit_implicit
        with _blas_threads(X.size):
            self._fit, problem = run(X, observed, holdout)
            ridge = implied_ridge if self.regularization == "explicit" else prior_ridge
            self._ridge = ridge(problem, self._fit)
            self._publish(X, observed, problem)
        return self

    def transform(self, X):
        """X with its missing entries filled in; X may be new rows with the same columns."""
        check_is_fitted(self)
        X, observed, given = self._read(X, reset=False)
        empty = ~observed.any(axis=1)
        if empty.any():
            self._warn_empty("row", empty)
        problem = self._problem(X, observed)
        with _blas_threads(X.size):
            rows = fold_in(problem, self._fit, self._ridge)
        return self._merge(self._standard.backward(rows), X, observed, given)

    def _fit_explicit(self, X: Array, observed: Any, holdout: Any) -> tuple[Fit, Problem]:
        budget = Budget(self.max_rank or min(X.shape), self.max_iter or 500, self.tol)
        self.path_: list[Trial] = []
        strength, sweeps, score = self.strength, None, None
        if holdout.any():
            training, rate = self._standardize(X, observed & ~holdout), self._scorer(X, holdout)
            if self.strength == "auto":

                def report(done: float, _: float, fit: Fit) -> None:
                    nonlocal score
                    score = rate(fit)  # of the best fit so far
                    self._report("choosing the strength", done, score, fit, X, observed)

                self.path_, best = choose(
                    training,
                    self.depth,
                    self._scorer(X, holdout, scaled=True),
                    replace(budget, max_sweeps=min(budget.max_sweeps, 50)),
                    patience=2 if self.early_stopping else math.inf,
                    report=report,
                )
                strength, sweeps = best.strength, best.sweeps
            else:
                trial = refit(
                    training,
                    self.depth,
                    self.strength,
                    budget,
                    report=lambda done, fit: self._report(
                        "held-out fit", done, rate(fit), fit, X, observed
                    ),
                )
                score = rate(trial)
                self.path_ = [
                    Trial(
                        self.strength,
                        self._scorer(X, holdout, scaled=True)(trial),
                        trial.rank,
                        None,
                    )
                ]
        elif strength == "auto":
            strength = _STRENGTH_WITHOUT_HOLDOUT
        problem = self._standardize(X, observed)
        fit = refit(
            problem,
            self.depth,
            strength,
            budget,
            sweeps=sweeps,
            report=lambda done, fit: self._report(
                "fitting all entries", done, None, fit, X, observed
            ),
        )
        self.strength_: float | None = float(strength)
        self.validation_score_ = math.nan if score is None else float(score)
        return fit, problem

    def _fit_implicit(self, X: Array, observed: Any, holdout: Any) -> tuple[Fit, Problem]:
        from .solver.implicit import flow, levels

        settings = {
            "start_scale": self.start_scale,
            "max_rank": self.max_rank,
            "max_steps": self.max_iter or 100_000,
            "seed": check_random_state(self.random_state).randint(2**31),
        }
        last = (
            max(self.tol, _NO_ENERGY)
            if self.strength == "auto"
            else max(self.strength, self.tol, _NO_ENERGY)
        )
        if last >= 1:
            raise InputError(
                f"strength and tol must be below 1 for the implicit flow, got {last:g}: at 1 it "
                "does not move."
            )
        stops = levels(last)
        best: Any = None
        score: float | None = None
        self.path_ = []
        if holdout.any():
            training, rate = self._standardize(X, observed & ~holdout), self._scorer(X, holdout)
            scaled_rate = self._scorer(X, holdout, scaled=True)
            for level, fit in zip(
                stops, flow(training, self.depth, stops, **settings), strict=False
            ):
                trial = Trial(level, scaled_rate(fit), fit.rank, fit.n_sweeps)
                self.path_.append(trial)
                better = best is None or trial.validation_rmse < best.validation_rmse * (1 - 1e-4)
                if self.strength != "auto" or (better and (fit.converged or best is None)):
                    best, best_fit, score = trial, fit, rate(fit)
                elif self.early_stopping and len(self.path_) - self.path_.index(best) > _PATIENCE:
                    break
                done = math.log(level) / math.log(stops[-1])
                self._report("gradient flow", done, score, best_fit, X, observed)
            if self.strength == "auto":
                stops = [level for level in stops if level >= best.strength]
        problem = self._standardize(X, observed)
        for level, fit in zip(stops, flow(problem, self.depth, stops, **settings), strict=False):
            self._report(
                "fitting all entries", math.log(level) / math.log(stops[-1]), None, fit, X, observed
            )
        self.strength_ = float(stops[-1])
        self.validation_score_ = math.nan if score is None else score
        return fit, problem

    def _publish(self, X: Array, observed: Any, problem: Problem) -> None:
        fit = self._fit
        self.singular_values_, self.components_, self.rank_ = fit.s, fit.Vt, fit.rank
        self.effective_rank_ = effective_rank(fit.s)
        self.n_iter_, self.converged_, self.stationarity_ = (
            fit.n_sweeps,
            fit.converged,
            fit.stationarity,
        )
        rows = self._standard.backward(fold_in(problem, fit, self._ridge))
        if not np.isfinite(rows).all():
            raise InputError(
                "X has values beyond what float64 can square: rescale its columns, or leave "
                "scale=True."
            )
        self.train_score_ = root_mean_square((rows - X)[observed])
        if not fit.converged:
            explicit = self.regularization == "explicit"
            reached = (
                f"tol = {self.tol}"
                if explicit
                else f"the level {self.strength_:.3g} of the training energy"
            )
            remedy = "max_iter or tol" if explicit else "max_iter, max_rank or strength"
            warnings.warn(
                f"DeepLinearImputer stopped after {fit.n_sweeps} iterations without reaching "
                f"{reached}: increase {remedy}.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _standardize(self, X: Array, observed: Any) -> Problem:
        """Make the columns' centre and scale from the entries ``observed`` (never from held-out
        ones); the problem.
        """
        self._standard = ColumnScaler.of(X, observed, center=self.center, scale=self.scale)
        return self._problem(X, observed)

    def _problem(self, X: Array, observed: Any) -> Problem:
        return Problem(
            self._standard.forward(X, observed),
            observed.astype(float),
            1.0 if self.center else None,
        )

    def _scorer(self, X: Array, where: Any, *, scaled: bool = False) -> Callable[[Fit], float]:
        """Root-mean-square error of a fit on the entries ``where``, in the units of X or of the
        scaled columns.

        Choices are made on the latter, so that the columns of large numbers do not decide alone.
        """
        rows, cols = np.nonzero(where)
        truth, scale, center = (
            X[rows, cols],
            self._standard.scale[cols],
            self._standard.center[cols],
        )
        unit = scale if scaled else 1.0
        return lambda fit: root_mean_square((fit.at(rows, cols) * scale + center - truth) / unit)

    def _report(
        self, stage: str, done: float, rmse: float | None, fit: Fit, X: Array, observed: Any
    ) -> None:
        if self.callback is not None:
            backward = (
                self._standard.backward
            )  # of now: `complete` may be called when all entries are being fitted
            complete = lambda: self._merge(backward(fit.matrix()), X, observed, X)  # noqa: E731
            self.callback(Progress(stage, min(done, 1.0), rmse, complete))

    def _read(self, X: Any, *, reset: bool) -> tuple[Array, Any, Any]:
        """X in float64 with 0 where missing, the mask of what is observed, and X as it was given,
        as floats.
        """
        nan = isinstance(self.missing_values, Real) and math.isnan(self.missing_values)
        check_columns(X)
        try:
            given = validate_data(
                self,
                X,
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite=False,
                copy=False,
            )
        except ValueError as error:
            raise InputError(str(error)) from None
        observed = ~np.isnan(given) if nan else given != given.dtype.type(self.missing_values)
        values = np.where(observed, given, 0.0).astype(np.float64)
        check_finite(values)
        if np.isnan(values).any():
            raise InputError(
                f"X contains NaN, which missing_values={self.missing_values} does not mark as "
                "missing."
            )
        return values, observed, given

    def _merge(self, filled: Array, X: Array, observed: Any, given: Any) -> Any:
        """``filled`` in the precision of X as it was given, with the observed entries as given."""
        if not self.center:
            # without biases W knows nothing about lines that it never saw
            count = observed.sum(axis=1)
            rows = np.where(
                count > 0, X.sum(axis=1, where=observed) / np.maximum(count, 1), self._means.mean()
            )
            filled[:, self._empty] = rows[:, None]
            filled[count == 0] = self._means
        return np.where(observed, given, filled.astype(given.dtype))

    def _warn_empty(self, line: str, empty: Any) -> None:
        warnings.warn(
            f"{empty.sum()} {line}(s) of X without any observed entry (the first is number "
            f"{np.argmax(empty)}, counted "
            "from 0) are filled from the marginals.",
            EmptyLineWarning,
            stacklevel=3,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = isinstance(self.missing_values, Real) and math.isnan(
            self.missing_values
        )
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
