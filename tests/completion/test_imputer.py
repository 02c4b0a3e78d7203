"""The scikit-learn imputer: its contract, its invariances, its errors, and that it completes real
structure.
"""

import math
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from strategies import depths, entries, rng_of, seeds

import deeplinear as dl
from deeplinear.completion.data.holdout import held_out_mask
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.data.table import ColumnScaler
from deeplinear.completion.solver.fit import fit as low_rank_fit
from deeplinear.completion.solver.selection import hold_out
from deeplinear.errors import DepthError, EmptyLineWarning, InputError

DEPTHS = (2, 3, 4.5, math.inf)
UNBOUNDED = {"min_value": None, "max_value": None}


def low_rank(m=40, n=25, rank=3, seen=0.6, noise=0.1, seed=0):
    """A noisy low-rank table of unit-size entries with an offset, with NaN holes; and its truth."""
    rng = np.random.default_rng(seed)
    truth = (
        rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n)) / np.sqrt(rank)
        + 2
        + rng.normal(size=n)
    )
    noisy = truth + noise * rng.normal(size=truth.shape)
    return np.where(rng.random(truth.shape) < seen, noisy, np.nan), truth


def column_means(X):
    return np.where(np.isnan(X), np.nanmean(X, axis=0), X)


def error(filled, truth, X):
    return np.sqrt(np.mean((np.asarray(filled) - truth)[np.isnan(X)] ** 2))


# The checks feed a few dozen entries without structure.
@parametrize_with_checks(
    [
        dl.DeepLinearImputer(max_iter=5000, random_state=0),
        dl.DeepLinearImputer(math.inf, strength=0.2, max_iter=5000, random_state=0),
    ],
    expected_failed_checks=lambda _: {
        "check_sample_weights_shape": "its weights of the wrong shape are one weight per cell here"
    },
)
def test_scikit_learn_contract(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        check(estimator)


class TestCompletion:
    @pytest.mark.parametrize("depth", DEPTHS)
    def test_beats_the_column_means_by_far(self, depth):
        X, truth = low_rank()
        filled = dl.DeepLinearImputer(depth, random_state=0).fit_transform(X)
        assert error(filled, truth, X) < 0.4 * error(column_means(X), truth, X)

    def test_depth_recovers_where_the_nuclear_norm_does_not(self):
        X, truth = low_rank(100, 100, 4, seen=0.25, noise=0.0, seed=2)
        two, three = (
            error(
                dl.DeepLinearImputer(
                    depth, random_state=0, center=False, scale=False, refine="off", **UNBOUNDED
                ).fit_transform(X),
                truth,
                X,
            )
            for depth in (2, 3)
        )
        assert three < 0.05 < two

    def test_the_rank_of_noisy_data_is_found(self):
        X, _ = low_rank(100, 80, 3, seed=3)
        imputer = dl.DeepLinearImputer(4, random_state=0, center=False, scale=False).fit(X)
        assert imputer.rank_ == 4  # three factors and the offset
        assert 1 <= imputer.effective_rank_ <= 4
        assert imputer.components_.shape == (4, 80)
        np.testing.assert_allclose(
            imputer.components_ @ imputer.components_.T, np.eye(4), atol=1e-10
        )

    def test_depth_one_is_only_the_biases(self):
        X, _ = low_rank(noise=0.0)
        imputer = dl.DeepLinearImputer(1, strength=0.1, random_state=0).fit(X)
        filled = imputer.transform(X)
        assert np.abs(filled - column_means(X))[np.isnan(X)].max() < 3 * np.nanstd(X)

    @pytest.mark.parametrize("depth", DEPTHS)
    def test_strength_one_is_where_noise_vanishes(self, depth):
        rng = np.random.default_rng(0)
        X = np.where(rng.random((60, 50)) < 0.5, rng.normal(size=(60, 50)), np.nan)
        assert dl.DeepLinearImputer(depth, strength=1.1, random_state=0).fit(X).rank_ == 0


class TestContract:
    @pytest.mark.parametrize("depth", DEPTHS)
    def test_fit_transform_is_fit_then_transform(self, depth):
        X, _ = low_rank()
        imputer = dl.DeepLinearImputer(depth, random_state=0)
        together = imputer.fit_transform(X)
        np.testing.assert_allclose(imputer.transform(X), together, rtol=1e-9)
        np.testing.assert_allclose(imputer.transform(X[5:9]), together[5:9], rtol=1e-8)

    def test_the_row_solve_gives_back_the_rows_of_the_minimizer(self):
        X, _ = low_rank()
        imputer = dl.DeepLinearImputer(
            3, strength=0.1, validation_fraction=0, tol=1e-13, max_iter=5000, **UNBOUNDED
        )
        filled = imputer.fit_transform(X)
        minimizer = imputer._scaler.backward(imputer.model_.fit.matrix())
        np.testing.assert_allclose(filled[np.isnan(X)], minimizer[np.isnan(X)], rtol=1e-4)

    def test_observed_entries_are_untouched_bit_for_bit(self):
        X, _ = low_rank()
        X[0, 0], X[1, 1] = 1e-310, -0.0
        for table in (X, X.astype(np.float32)):
            filled = dl.DeepLinearImputer(random_state=0).fit_transform(table)
            seen = ~np.isnan(table)
            assert filled.dtype == table.dtype
            assert filled[seen].tobytes() == table[seen].tobytes()
            assert np.isfinite(filled).all()

    def test_new_rows_are_completed(self):
        X, truth = low_rank(80, seed=4)
        imputer = dl.DeepLinearImputer(3, random_state=0).fit(X[:60])
        filled = imputer.transform(X[60:])
        assert error(filled, truth[60:], X[60:]) < 0.5 * error(
            column_means(X)[60:], truth[60:], X[60:]
        )

    def test_the_same_entries_are_held_out_at_every_depth(self):
        X, _ = low_rank()
        masks = [
            dl.DeepLinearImputer(d, random_state=1).fit(X).validation_mask_ for d in (2, math.inf)
        ]
        np.testing.assert_array_equal(*masks)
        assert masks[0].sum() == round(0.1 * np.isfinite(X).sum())
        assert np.isfinite(X[masks[0]]).all()

    def test_the_validation_score_is_an_honest_held_out_error(self):
        X, _ = low_rank()
        options = {"strength": 0.1, "tol": 1e-12, "max_iter": 3000, "early_stopping": False}
        options["refine"] = "off"
        imputer = dl.DeepLinearImputer(3, **options, random_state=1).fit(X)
        hidden = np.where(imputer.validation_mask_, np.nan, X)
        again = dl.DeepLinearImputer(3, **options, validation_fraction=0, random_state=1)
        again.fit(hidden)
        # rows are solved with the ridge of the fit times a factor
        fit, found = imputer.model_.fit, again.model_.fit
        factor = float(np.median(fit.ridge / fit.penalty.slope(fit.spectrum)))
        again.model_ = replace(again.model_, fit=replace(found, ridge=factor * found.ridge))
        filled = again.transform(hidden)
        assert error(filled, X, np.where(imputer.validation_mask_, np.nan, 0)) == pytest.approx(
            imputer.validation_score_, rel=1e-3
        )

    def test_scores_and_path_are_reported(self):
        X, _ = low_rank()
        imputer = dl.DeepLinearImputer(3, random_state=0).fit(X)
        assert imputer.train_score_ < imputer.validation_score_ < np.nanstd(X)
        best = min(imputer.trials_, key=lambda trial: trial.validation_rmse)
        assert imputer.strength_ == best.strength
        # the score, in the units of X, by hiding the same entries from a second imputer
        hidden = np.where(imputer.validation_mask_, np.nan, X)
        again = dl.DeepLinearImputer(
            3, strength=imputer.strength_, validation_fraction=0
        ).fit_transform(hidden)
        error = np.sqrt(np.mean((again - X)[imputer.validation_mask_] ** 2))
        assert imputer.validation_score_ == pytest.approx(error, rel=0.15)
        assert imputer.converged_
        assert imputer.n_iter_ >= 1

    def test_a_given_strength_is_used_and_converges(self):
        X, _ = low_rank()
        imputer = dl.DeepLinearImputer(
            3, strength=0.1, random_state=0, tol=1e-11, max_iter=3000, early_stopping=False
        ).fit(X)
        assert imputer.strength_ == 0.1
        assert len(imputer.trials_) == 1
        assert imputer.stationarity_ < 1e-4

    def test_stronger_is_of_lower_rank_and_fits_worse(self):
        X, _ = low_rank()
        fits = [
            dl.DeepLinearImputer(3, strength=c, random_state=0).fit(X) for c in (0.05, 0.2, 0.8)
        ]
        assert [f.rank_ for f in fits] == sorted((f.rank_ for f in fits), reverse=True)
        assert fits[0].train_score_ < fits[1].train_score_ < fits[2].train_score_

    def test_max_rank_is_a_cap(self):
        X, _ = low_rank()
        assert dl.DeepLinearImputer(2, max_rank=2, random_state=0).fit(X).rank_ == 2

    def test_random_state_none_draws_afresh(self):
        X, _ = low_rank()
        one, two = (dl.DeepLinearImputer(3).fit(X).validation_mask_ for _ in range(2))
        assert (one != two).any()

    def test_other_missing_marks(self):
        X, _ = low_rank()
        marked = np.where(np.isnan(X), -1.0, X)
        filled = dl.DeepLinearImputer(random_state=0, missing_values=-1).fit_transform(marked)
        np.testing.assert_array_equal(filled, dl.DeepLinearImputer(random_state=0).fit_transform(X))
        with pytest.raises(InputError, match="missing_values=-1"):
            dl.DeepLinearImputer(missing_values=-1).fit(X)

    def test_frames_and_set_output(self):
        X, _ = low_rank(20, 4, seen=0.8)
        expected = dl.DeepLinearImputer(random_state=0).fit_transform(X)
        names = ["a", "b", "c", "d"]
        frame = pd.DataFrame(X, columns=names, index=[f"r{i}" for i in range(20)])
        imputer = dl.DeepLinearImputer(random_state=0).set_output(transform="pandas")
        filled = imputer.fit_transform(frame)
        assert (
            list(filled.columns)
            == names
            == list(imputer.get_feature_names_out())
            == list(imputer.feature_names_in_)
        )
        assert list(filled.index) == list(frame.index)
        np.testing.assert_allclose(filled, expected, rtol=1e-10)
        polar = pl.DataFrame(
            {name: [None if np.isnan(v) else v for v in X[:, j]] for j, name in enumerate(names)}
        )
        np.testing.assert_allclose(
            dl.DeepLinearImputer(random_state=0).fit_transform(polar), expected, rtol=1e-10
        )
        nullable = frame.astype("Float64")
        np.testing.assert_allclose(
            dl.DeepLinearImputer(random_state=0).fit_transform(nullable), expected, rtol=1e-10
        )

    def test_in_a_pipeline(self):
        X, _ = low_rank()
        out = make_pipeline(dl.DeepLinearImputer(random_state=0), StandardScaler()).fit_transform(X)
        np.testing.assert_allclose(out.std(axis=0), 1)


EXACT = {
    "strength": 0.1,
    "validation_fraction": 0,
    "tol": 1e-12,
    "max_iter": 3000,
    "random_state": 0,
}


class TestInvariance:
    @settings(max_examples=10)
    @given(rng_of(), depths)
    @pytest.mark.slow
    def test_permuting_rows_and_columns_permutes_the_result(self, rng, depth):
        X, _ = low_rank(20, 12, 2)
        rows, cols = rng.permutation(20), rng.permutation(12)
        filled = dl.DeepLinearImputer(depth, **EXACT).fit_transform(X)
        permuted = dl.DeepLinearImputer(depth, **EXACT).fit_transform(X[np.ix_(rows, cols)])
        # τ is measured under random signs, which belong to positions: on so small a table λ differs
        # by up to a quarter, and missing entries by less than the noise of 0.1 (0.06 at the most in
        # a dozen such tables, at depth 7)
        gap = (permuted - filled[np.ix_(rows, cols)])[np.isnan(X[np.ix_(rows, cols)])]
        assert np.sqrt(np.mean(gap**2)) < 0.1
        # with λ given, the minimizer is the same
        given = {"depth": depth, "decay": 0.5, "smoothing": 0.0, "tol": 1e-13, "max_sweeps": 3000}
        X = X - np.nanmean(X)
        matrices = []
        for table in (X, X[np.ix_(rows, cols)]):
            where = np.nonzero(~np.isnan(table))
            seen = Observations.from_triples(*where, table[where], table.shape)
            matrices.append(low_rank_fit(seen, **given).matrix())
        np.testing.assert_allclose(matrices[1], matrices[0][np.ix_(rows, cols)], atol=1e-5)

    @settings(max_examples=20)
    @given(st.floats(-30, 30), st.floats(-3, 3), depths, st.booleans())
    @pytest.mark.slow
    def test_units_do_not_matter(self, exponent, shift, depth, scale):
        X, _ = low_rank(20, 12, 2)
        c = 10.0**exponent
        options = {"scale": scale, **EXACT, **UNBOUNDED}  # a shift changes which are positive
        filled = dl.DeepLinearImputer(depth, **options).fit_transform(X)
        other = dl.DeepLinearImputer(depth, **options).fit_transform(c * (X + shift))
        np.testing.assert_allclose(other / c - shift, filled, rtol=1e-5, atol=1e-5)

    def test_the_units_of_single_columns_do_not_matter(self):
        X, _ = low_rank(20, 12, 2)
        units = np.logspace(-5, 6, 12)
        for depth in DEPTHS:
            filled = dl.DeepLinearImputer(depth, **EXACT).fit_transform(X)
            other = dl.DeepLinearImputer(depth, **EXACT).fit_transform(X * units)
            np.testing.assert_allclose(other / units, filled, rtol=1e-5)

    @settings(max_examples=30)
    @given(entries(20, 10), st.floats(0.01, 0.99), seeds)
    def test_held_out_entries_are_observed_ones(self, observed, fraction, seed):
        rows, cols, values = observed
        count, X = len(values), np.full((20, 10), np.nan)
        X[rows, cols] = values
        seen = Observations.from_triples(*observed, X.shape)
        out = held_out_mask(count, fraction, np.random.RandomState(seed))
        assert out.sum() == min(max(1, round(fraction * count)), count - 1)
        held = hold_out(seen, out)
        np.testing.assert_array_equal(X[held.rows, held.cols], held.values)
        kept = held.training.triples()
        np.testing.assert_array_equal(X[kept[:2]], kept[2])
        assert len(set(zip(*held.triples[:2], strict=True)) | set(zip(*kept[:2], strict=True))) == (
            count
        )


class TestEmptyLines:
    @pytest.mark.parametrize("center", [True, False])
    def test_are_filled_from_the_marginals_and_counted(self, center):
        X, _ = low_rank()
        X += 3 * np.random.default_rng(1).normal(size=(40, 1))
        X[[3, 7]] = np.nan
        X[:, 5] = np.nan
        imputer = dl.DeepLinearImputer(3, random_state=0, center=center)
        with pytest.warns(EmptyLineWarning) as caught:
            filled = imputer.fit_transform(X)
        said = " ".join(str(w.message) for w in caught)
        assert "1 column(s)" in said
        assert "number 5" in said
        assert "2 row(s)" in said
        assert np.isfinite(filled).all()
        others = np.delete(np.arange(25), 5)
        np.testing.assert_allclose(filled[3, others], np.nanmean(X[:, others], axis=0), atol=1.5)
        rows = np.delete(np.arange(40), [3, 7])
        assert np.corrcoef(filled[rows, 5], np.nanmean(X[rows], axis=1))[0, 1] > 0.9

    def test_constant_columns_are_kept(self):
        X, _ = low_rank()
        X[:, 2] = np.where(np.isnan(X[:, 2]), np.nan, 7.0)
        filled = dl.DeepLinearImputer(3, random_state=0).fit_transform(X)
        np.testing.assert_allclose(filled[:, 2], 7.0, atol=0.5)
        X = np.where(np.isnan(X), np.nan, 7.0)
        np.testing.assert_allclose(dl.DeepLinearImputer(3, random_state=0).fit_transform(X), 7.0)

    def test_a_single_entry(self):
        with pytest.warns(EmptyLineWarning):
            filled = dl.DeepLinearImputer().fit_transform([[np.nan, 2.0], [np.nan, np.nan]])
        np.testing.assert_allclose(filled, 2.0)


class TestBadInput:
    @pytest.mark.parametrize("depth", [0.5, 0, -1, math.nan, "deep"])
    def test_depth(self, depth):
        with pytest.raises(DepthError, match="depth"):
            dl.DeepLinearImputer(depth).fit(low_rank()[0])

    @pytest.mark.parametrize(
        ("X", "message"),
        [
            (np.full((3, 3), np.nan), "no observed entry"),
            (np.zeros((0, 3)), "0 sample"),
            (np.zeros((3, 0)), "0 feature"),
            (np.zeros(3), "1D array"),
            ([[1.0, np.inf], [-np.inf, np.nan]], "2 infinite value.*row 0, column 1"),
            (pd.DataFrame({"town": ["x", "y"]}), "no column of numbers or labels"),
            (pl.DataFrame({"town": ["x", "y"]}), "no column of numbers or labels"),
        ],
    )
    def test_matrices(self, X, message):
        with pytest.raises(InputError, match=message):
            dl.DeepLinearImputer().fit(X)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"strength": -1}, "strength"),
            ({"strength": "much"}, "strength"),
            ({"regularization": "none"}, "regularization"),
            ({"validation_fraction": 1.0}, "validation_fraction"),
            ({"validation_fraction": 0}, "validation_fraction"),
            ({"max_rank": 0}, "max_rank"),
            ({"max_rank": 26}, "max_rank must be at most .* 25, got 26"),
            ({"max_iter": 0}, "max_iter"),
        ],
    )
    def test_parameters(self, options, message):
        with pytest.raises(ValueError, match=message):
            dl.DeepLinearImputer(**options).fit(low_rank()[0])

    def test_sparse(self):
        with pytest.raises(InputError, match="X must be dense, got a sparse matrix"):
            dl.DeepLinearImputer().fit(sp.csr_array(np.eye(3)))

    def test_transform_before_fit_and_with_other_columns(self):
        X, _ = low_rank()
        with pytest.raises(NotFittedError):
            dl.DeepLinearImputer().transform(X)
        with pytest.raises(InputError, match="25 features"):
            dl.DeepLinearImputer(random_state=0).fit(X).transform(X[:, :3])

    def test_stopping_short_warns(self):
        with pytest.warns(ConvergenceWarning, match="max_iter"):
            imputer = dl.DeepLinearImputer(3, strength=0.1, max_iter=1).fit(low_rank()[0])
        assert not imputer.converged_


class TestProgress:
    def test_the_callback_can_complete_at_any_time(self):
        X, _ = low_rank()
        seen = []
        dl.DeepLinearImputer(3, random_state=0, callback=seen.append).fit(X)
        assert len(seen) > 5
        assert all(0 <= state.done <= 1 and state.stage for state in seen)
        assert [state.done for state in seen] == sorted(state.done for state in seen)
        for state in (seen[0], seen[-1]):
            filled = state.complete()
            assert np.isfinite(filled).all()
            np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])

    def test_an_interrupt_leaves_the_best_iterate(self):
        X, truth = low_rank()
        last = []

        def interrupt(state):
            last.append(state)
            if len(last) == 12:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dl.DeepLinearImputer(3, random_state=0, callback=interrupt).fit(X)
        assert error(last[-1].complete(), truth, X) < error(column_means(X), truth, X)


class TestStandard:
    def test_columns_get_mean_zero_and_fourth_moment_one(self):
        X, _ = low_rank()
        X *= np.logspace(-100, 100, 25)
        observed = ~np.isnan(X)
        where = np.nonzero(observed)
        seen = Observations.from_triples(*where, X[where], X.shape)
        standard = ColumnScaler.of(seen, center=True, scale=True)
        Z = np.full(X.shape, np.nan)
        rows, cols, Z_seen = standard.forward(seen).triples()
        Z[rows, cols] = Z_seen
        np.testing.assert_allclose(np.nanmean(Z, axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(np.nanmean(Z**4, axis=0), 1)
        np.testing.assert_allclose(standard.backward(Z)[observed], X[observed])


class TestImplicit:
    @staticmethod
    def table(seed=0, noise=0.1):
        rng = np.random.default_rng(seed)
        truth = rng.normal(size=(30, 2)) @ rng.normal(size=(2, 15)) + noise * rng.normal(
            size=(30, 15)
        )
        return np.where(rng.random(truth.shape) < 0.7, truth, np.nan), truth

    def test_completes_better_than_column_means_and_keeps_what_was_observed(self):
        X, truth = self.table()
        imputer = dl.DeepLinearImputer(3, regularization="implicit", random_state=0)
        filled = imputer.fit_transform(X)
        hole = np.isnan(X)
        means = np.broadcast_to(np.nanmean(X, axis=0), X.shape)
        assert np.sqrt(np.mean((filled - truth)[hole] ** 2)) < 0.5 * np.sqrt(
            np.mean((means - truth)[hole] ** 2)
        )
        np.testing.assert_array_equal(filled[~hole], X[~hole])
        np.testing.assert_allclose(imputer.transform(X), filled, atol=1e-12)
        assert imputer.converged_
        assert 0 < imputer.strength_ < 1

    def test_a_given_level_that_cannot_be_reached_is_told(self):
        X, _ = self.table()
        imputer = dl.DeepLinearImputer(
            3,
            regularization="implicit",
            strength=1e-4,
            max_rank=1,
            max_iter=10,
            validation_fraction=0,
            random_state=0,
        )
        with pytest.warns(
            ConvergenceWarning, match="flow was still on its way after 10 steps tried"
        ):
            imputer.fit(X)
        assert not imputer.converged_

    def test_nothing_held_out_needs_a_strength(self):
        with pytest.raises(dl.InputError, match="validation_fraction must be positive"):
            dl.DeepLinearImputer(regularization="implicit", validation_fraction=0).fit(
                self.table()[0]
            )


@pytest.mark.parametrize("factor", [1e-200, 1e160])
@pytest.mark.parametrize("scale", [True, False])
def test_extreme_units_change_nothing_but_the_units(factor, scale):
    X, _ = TestImplicit.table()
    X[:, 3] = 1.0  # a constant column
    fits = [dl.DeepLinearImputer(3, scale=scale, random_state=0).fit(X * c) for c in (1.0, factor)]
    np.testing.assert_allclose(
        fits[1].transform(X * factor) / factor, fits[0].transform(X), rtol=1e-6, atol=1e-9
    )
    assert fits[1].validation_score_ / factor == pytest.approx(fits[0].validation_score_, rel=1e-6)


def test_a_cap_on_the_rank_is_refused_below_depth_two():
    with pytest.raises(dl.InputError, match="max_rank must be None below depth 2"):
        dl.DeepLinearImputer(1.5, max_rank=2).fit(TestImplicit.table()[0])


@pytest.mark.parametrize("depth", [3, np.inf])
def test_columns_of_large_numbers_do_not_decide_alone(depth):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(80, 3)) @ rng.normal(size=(3, 10))
    units = np.r_[100, 0.01, np.ones(8)]
    X = np.where(rng.random(truth.shape) < 0.7, truth, np.nan) * units + np.r_[1000, np.zeros(9)]
    gap = (
        dl.DeepLinearImputer(depth, random_state=0).fit_transform(X) / units
        - np.r_[10, np.zeros(9)]
        - truth
    )
    for j in range(10):
        assert np.sqrt(np.mean(gap[np.isnan(X[:, j]), j] ** 2)) < 0.1 * truth[:, j].std()
