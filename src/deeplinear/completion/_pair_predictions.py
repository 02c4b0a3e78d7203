"""What `DeepMatrixCompletion` answers about pairs of ids once it is fitted."""

import math
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ..errors import InputError
from ..scores import root_mean_square
from ._side_information import LearnsFromFeatures
from .data.entries import Data, Entries, compact, read_entries
from .data.frames import is_long_frame, pairs, two_levels
from .data.ids import IdVector
from .data.side_features import Features
from .loss import ORDINAL
from .model.predictor import Model
from .model.recommend import recommend
from .posterior.draws import RandomState, draw_entries
from .solver.pilot import check_entries

Pairs = Any  # a vector of row ids, or with it the column ids: pairs in any form of `Data`
_LARGEST = 200_000_000  # entries of a dense result


class PairPredictions(LearnsFromFeatures):
    """Predictions, intervals, draws, recommendations and new rows, by ids."""

    @property
    def row_ids_(self) -> np.ndarray:
        """Ids of the rows; of a matrix all positions, without entries or not."""
        check_is_fitted(self)
        return self.model_.row_ids.lines

    @property
    def col_ids_(self) -> np.ndarray:
        """Ids of the columns; of a matrix all positions, without entries or not."""
        check_is_fitted(self)
        return self.model_.col_ids.lines

    def _pair(
        self, rows: Pairs, cols: IdVector | None, model: Model | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Codes of (rows, cols), or of the two columns of ``rows``."""
        model = self.model_ if model is None else model
        sides = pairs(rows, self.columns, "X") if cols is None else (rows, cols)
        row_ids, col_ids = ([side] if np.isscalar(side) else side for side in sides)
        return model.codes(row_ids, col_ids, self.unseen)

    @overload
    def predict(
        self,
        rows: Pairs,
        cols: IdVector | None = None,
        *,
        return_std: Literal[False] = False,
        row_features: Features = None,
        col_features: Features = None,
    ) -> np.ndarray: ...

    @overload
    def predict(
        self,
        rows: Pairs,
        cols: IdVector | None = None,
        *,
        return_std: Literal[True],
        row_features: Features = None,
        col_features: Features = None,
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(
        self,
        rows: Pairs,
        cols: IdVector | None = None,
        *,
        return_std: bool = False,
        row_features: Features = None,
        col_features: Features = None,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Predictions at (rows[t], cols[t]) for ids, or at ``rows`` = pairs of ids.

        With ``return_std`` also their deviations: those of a new entry, from the noise and from the
        uncertainty of the factors, times the number that makes their mean square that of the
        held-out errors; of ids without entries, predicted from features, the root mean square error
        on lines that were held out whole.

        ``row_features``, ``col_features``: features of ids that had none in the fit, with the
        columns of the fit; for ids with entries they change nothing.
        """
        given = row_features, col_features
        values, deviation, kinds = self._predicted(rows, cols, return_std, given)
        return (values, self._reach(deviation, kinds, None)) if return_std else values

    def _predicted(
        self,
        rows: Pairs,
        cols: IdVector | None,
        with_deviation: bool,
        given: tuple[Features, Features],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predictions, their deviations (else nothing) before any calibration, their kinds."""
        check_is_fitted(self)
        model = self._widened(*given)
        codes = self._pair(rows, cols, model)
        values, kinds = self._shown(model.predict(*codes), *codes), self._kinds(*codes)
        if not with_deviation:
            return values, np.zeros(0), kinds
        own = (np.where(kinds < 0, side, -1) for side in codes)
        deviation = self.model_.deviation(next(own), next(own), self.threads)
        return values, self._shown(deviation, *codes), kinds

    def predict_std(self, rows: Pairs, cols: IdVector | None = None) -> np.ndarray:
        """The deviations of `predict` alone."""
        return self.predict(rows, cols, return_std=True)[1]

    def _shown(self, values: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """``values``, with NaN for unknown ids where ``unseen="nan"``."""
        if self.unseen != "nan":
            return values
        return np.where((rows < 0) | (cols < 0), np.nan, values)

    def interval(
        self,
        rows: Pairs,
        cols: IdVector | None = None,
        *,
        coverage: float = 0.9,
        row_features: Features = None,
        col_features: Features = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(low, high) = x̂ ∓ q · deviation, q such that ``coverage`` of held-out entries are in.

        The deviations separate sure predictions from unsure ones, split-conformal calibration makes
        the coverage right on average for new entries that are like the held-out ones. Without
        held-out entries q is that of a normal law; where the fit leaves no residual to measure the
        noise by (a single entry, say), the interval is then NaN, with a warning. Intervals of ids
        without entries, predicted from features, are calibrated on lines that were held out whole;
        ``row_features`` and ``col_features`` are those of `predict`.
        """
        given = row_features, col_features
        predictions, deviation, kinds = self._predicted(rows, cols, True, given)
        reach = self._reach(deviation, kinds, coverage)
        return self.model_.clip(predictions - reach), self.model_.clip(predictions + reach)

    def draws(
        self,
        n: int,
        rows: Pairs,
        cols: IdVector | None = None,
        *,
        random_state: RandomState = None,
    ) -> np.ndarray:
        """``n`` posterior draws of new entries at the pairs, noise included, (n, len(rows)).

        One chain that starts at the fit, ten sweeps apart: successive draws are nearly independent.
        ``random_state``: default that of the estimator. Needs the training entries.
        """
        check_is_fitted(self)
        self._refuse_features("draws")
        row_codes, col_codes = self._pair(rows, cols)
        chain = self._chain(n, random_state)
        drawn = [draw_entries(sample, row_codes, col_codes, rng) for sample, rng in chain]
        return self._shown(np.stack(drawn), row_codes, col_codes)

    def _loss_names(self) -> list[str]:
        if not isinstance(self.loss, str):
            raise InputError(f"loss must be one name for all entries, got {self.loss!r}.")
        return [self.loss]

    def _is_ordinal(self) -> bool:
        losses = self.model_.fit.losses if hasattr(self, "model_") else None
        return losses is not None and losses.kinds[0] == ORDINAL

    @available_if(_is_ordinal)
    def predict_proba(self, rows: Pairs, cols: IdVector | None = None) -> np.ndarray:
        """The probabilities of the levels ``levels_`` of new entries at the pairs (pairs, levels).

        Only there after a fit with the loss "logistic" or "ordinal".
        """
        codes = self._pair(rows, cols)
        found = self.model_.probabilities(*codes)
        return np.stack([self._shown(p, *codes) for p in found.T], axis=1)

    @property
    def levels_(self) -> np.ndarray:
        """The different values of the entries, in order, of the losses "logistic" and "ordinal"."""
        if not self._is_ordinal():
            raise AttributeError('only models of the loss "logistic" or "ordinal" have levels_')
        assert self.model_.fit.losses is not None
        return self.model_.fit.losses.levels[0]

    def _check_levels(self, values: np.ndarray) -> None:
        """`InputError` for entries that the fitted loss is not for."""
        if self._is_ordinal():
            new = np.setdiff1d(values, self.levels_)
            if len(new):
                raise InputError(
                    f"X must have the values of the fit, {len(self.levels_)} levels, got "
                    f"{new[0]:g}: fit again with all of them."
                )
        elif self.model_.fit.losses is not None:
            check_entries(str(self.loss), values, "the values")

    def complete(self) -> np.ndarray:
        """The whole matrix (m, n): observed entries as given, predictions elsewhere.

        Lines without any entry come from the marginals, with one warning that counts them, or are
        NaN, as ``unseen`` says.
        """
        check_is_fitted(self)
        seen, model = self._entries("complete()"), self.model_
        sides = model.row_ids, model.col_ids
        m, n = (side.size if side.extent is None else side.extent for side in sides)
        if m * n > _LARGEST:
            raise InputError(
                f"complete() would make {m} × {n} numbers: use predict or recommend for those you "
                "need."
            )
        wide = self._widened()
        row_codes, col_codes = (
            codes[:size] for codes, size in zip(wide.line_codes(self.unseen), (m, n), strict=True)
        )
        whole = wide.block(row_codes, col_codes)
        if self.unseen == "nan":
            whole[row_codes < 0], whole[:, col_codes < 0] = np.nan, np.nan
        rows, cols, values = seen.triples()
        at_rows, at_cols = (
            side.labels if side.positional else np.arange(side.size) for side in sides
        )
        whole[at_rows[rows], at_cols[cols]] = values
        return whole

    def fold_in(self, X: Data, y: ArrayLike | None = None) -> Self:
        """An estimator for new rows, each fitted to its own entries given the columns.

        Nothing is fitted again. Its rows are those of ``X`` (matrices: with the columns of the
        fit), its columns those of this one; columns that the fit does not know are an error.
        """
        check_is_fitted(self)
        entries = read_entries(X, y, self.columns)
        known, given = self.model_.col_ids, entries.col_ids
        if given.positional and not known.are_positions(given.extent):
            raise InputError(
                f"X must have the {known.extent} columns of the fit, got {given.extent}."
                if known.positional
                else "X must carry ids, as the entries of the fit did, got a matrix: give (rows, "
                "cols, values)."
            )
        places, cols = np.unique(entries.cols, return_inverse=True)
        codes = known.codes(given.kept(places).labels, "columns")[cols]
        if (codes < 0).any():
            first = given.label(int(entries.cols[codes < 0][0]))
            raise InputError(
                f"X has columns that the fit does not know, the first is {first!r}: leave them "
                "out, or use partial_fit."
            )
        self._check_levels(entries.values)
        rows, row_ids = compact(entries.rows, entries.row_ids)
        seen = self._observe(Entries(rows, codes, entries.values, row_ids, known), None)
        other = type(self)(**self.get_params())
        where = {"threads": self.threads, "device": self.device}
        other.model_ = self.model_.folded(seen, row_ids, **where)
        for name in ("trials_", "validation_score_", "converged_"):
            setattr(other, name, getattr(self, name))
        other._describe()
        return other

    def transform(self, X: Data, y: ArrayLike | None = None) -> np.ndarray:
        """New rows completed (rows, n): ``X`` where observed, `fold_in`'s predictions elsewhere."""
        return self.fold_in(X, y).complete()

    def recommend(
        self, ids: IdVector, k: int = 10, *, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` column ids with the highest predictions for each row id, and the predictions.

        Both are (len(ids), k). ``exclude_seen`` leaves out columns that the row has an entry for;
        where fewer than ``k`` are left, the rest is None and NaN. Rows without entries get the
        columns that their features point to; without features those that are best for the average
        row, with one warning that counts them, or nothing but None and NaN, as ``unseen`` says.
        """
        check_is_fitted(self)
        model = self._widened()
        return recommend(model, ids, k, exclude_seen=exclude_seen, unseen=self.unseen)

    def score(self, X: Data, y: ArrayLike | None = None) -> float:
        """−(root-mean-square error) on entries with ids: pairs and values, triples, long frames."""
        check_is_fitted(self)
        long = two_levels(X) is not None or is_long_frame(X, self.columns)
        carries = isinstance(X, tuple | Entries) or long
        if y is None and not carries:
            raise InputError(
                "X must carry ids for score: give pairs and y, or (rows, cols, values), not a "
                "matrix."
            )
        entries = read_entries(X, y, self.columns)
        rows, cols = (
            ids.labels[codes]
            for ids, codes in ((entries.row_ids, entries.rows), (entries.col_ids, entries.cols))
        )
        gaps = self.predict(rows, cols) - entries.values
        known = ~np.isnan(gaps)
        return -root_mean_square(gaps[known]) if known.any() else math.nan
