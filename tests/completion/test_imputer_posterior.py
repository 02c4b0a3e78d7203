"""Deviations, intervals, draws and averages of the imputer: statistical laws on hidden cells."""

import numpy as np
import pytest
from completion_tables import noisy_table
from mixed_tables import mixed_frame

import deeplinear as dl
from deeplinear.completion.posterior.gibbs import draw
from deeplinear.errors import InputError

UNITS = np.logspace(-6, 6, 30)


def unbounded(*args, **options):
    """An imputer without bounds: columns of normal entries may be positive by chance."""
    return dl.DeepLinearImputer(*args, min_value=None, max_value=None, **options)


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def large():
    """300 × 30 with 40 % of the cells missing, in columns of very different units."""
    return noisy_table(300, 30, seed=1, units=UNITS)


@pytest.fixture(scope="module")
def fitted(large):
    return unbounded(random_state=0).fit(large[0])


@pytest.fixture(scope="module")
def small():
    X, complete = noisy_table(seed=2)
    return X, complete, unbounded(refine="off", random_state=0).fit(X)


@pytest.fixture(scope="module")
def drawn(small):
    X, complete, imputer = small
    return X, complete, imputer, imputer.draws(400, random_state=1)


@pytest.fixture(scope="module")
def averaged(small):
    return unbounded(n_draws=30, refine="off", random_state=0).fit(small[0])


class TestIntervals:
    @pytest.mark.parametrize("coverage", [0.5, 0.9])
    def test_they_cover_the_missing_cells(self, large, fitted, coverage):
        """3,600 missing cells, 540 held out: √(c(1 − c)(1/3600 + 1/540)) is the standard error."""
        X, complete = large
        low, high = fitted.interval(X, coverage=coverage)
        hole = np.isnan(X)
        inside = np.mean(((low <= complete) & (complete <= high))[hole])
        held_out = fitted.validation_mask_.sum()
        error = np.sqrt(coverage * (1 - coverage) * (1 / hole.sum() + 1 / held_out))
        assert abs(inside - coverage) < 3 * error

    def test_they_have_the_units_of_their_column(self, large, fitted):
        X, _ = large
        plain = unbounded(random_state=0).fit(X / UNITS)
        for end, other in zip(fitted.interval(X), plain.interval(X / UNITS), strict=True):
            np.testing.assert_allclose(end / UNITS, other, rtol=1e-6, atol=1e-8)

    def test_observed_cells_are_both_ends(self, large, fitted):
        X, _ = large
        seen = ~np.isnan(X)
        for end in fitted.interval(X):
            np.testing.assert_array_equal(end[seen], X[seen])

    def test_they_surround_the_completed_table_and_grow_with_coverage(self, large, fitted):
        X, _ = large
        filled, hole = fitted.transform(X), np.isnan(X)
        narrow, wide = fitted.interval(X, coverage=0.5), fitted.interval(X, coverage=0.95)
        np.testing.assert_allclose((narrow[0] + narrow[1]) / 2, filled, rtol=1e-9)
        assert ((wide[0] < narrow[0]) & (narrow[1] < wide[1]))[hole].all()
        # x̂ ∓ q · deviation with one q in each column
        ratio = (wide[1] - wide[0]) / np.where(hole, fitted.predict_std(X), np.nan)
        first = np.nanmin(ratio, axis=0)
        np.testing.assert_allclose(ratio[hole], np.where(hole, first, 0)[hole], rtol=1e-9)

    def test_without_held_out_entries_they_are_those_of_the_normal_law(self, small):
        X, _, _ = small
        imputer = unbounded(3, strength=0.2, validation_fraction=0).fit(X)
        low, high = imputer.interval(X, coverage=0.95)
        hole = np.isnan(X)
        np.testing.assert_allclose(
            (high - low)[hole], 2 * 1.959964 * imputer.predict_std(X)[hole], rtol=1e-6
        )

    def test_coverage_is_checked(self, small):
        X, _, imputer = small
        with pytest.raises(InputError, match="coverage must lie between 0 and 1, got 90"):
            imputer.interval(X, coverage=90)
        with pytest.raises(InputError, match=r"coverage 0.999 needs at least 999 held-out"):
            imputer.interval(X, coverage=0.999)


class TestDeviations:
    def test_they_have_the_units_of_their_column(self, small):
        X, _, imputer = small
        units = np.logspace(-5, 5, 30)
        other = unbounded(refine="off", random_state=0).fit(X * units)
        # the stopped fits agree to rounding, which sums in other units change
        np.testing.assert_allclose(
            other.predict_std(X * units) / units, imputer.predict_std(X), rtol=1e-6
        )

    def test_observed_cells_have_none(self, small):
        X, _, imputer = small
        deviation = imputer.predict_std(X)
        assert (deviation[~np.isnan(X)] == 0).all()
        assert (deviation[np.isnan(X)] > 0).all()

    def test_rows_with_few_entries_are_less_sure(self, small):
        """The rows of the fit with fewer and fewer of their entries: on average less sure."""
        X, _, imputer = small
        order = np.argsort(np.where(np.isnan(X), 2, np.random.default_rng(0).random(X.shape)))
        rank = np.argsort(order, axis=1)
        kept = [np.where(rank < k, X, np.nan) for k in (10, 6, 3, 1)]
        hole = np.isnan(X)
        means = [imputer.predict_std(rows)[hole].mean() for rows in kept]
        assert means == sorted(means)
        assert means[-1] > 1.2 * means[0]

    def test_rows_without_entries_have_the_spread_of_all(self, small):
        X, _, imputer = small
        with pytest.warns(dl.errors.EmptyLineWarning):
            deviation = imputer.predict_std(np.full((1, 30), np.nan))[0]
        assert (deviation > np.nanmean(imputer.predict_std(X)[np.isnan(X)])).mean() > 0.9

    def test_rows_of_the_fit_folded_in_again_are_as_sure_as_the_fit(self, small):
        """At a stationary fit rows come out as they are, and their deviations with them."""
        X, _, _ = small
        options = {"strength": 0.2, "validation_fraction": 0, "tol": 1e-14, "max_iter": 5000}
        imputer = unbounded(3, **options, random_state=0).fit(X)
        hole = np.nonzero(np.isnan(X))
        mine = imputer.model_.deviation(*hole) * imputer._scaler.scale[hole[1]]
        np.testing.assert_allclose(imputer.predict_std(X)[hole], mine, rtol=1e-4)
        # and a row's deviations do not depend on the other rows of the call
        np.testing.assert_allclose(
            imputer.predict_std(X[7:9]), imputer.predict_std(X)[7:9], rtol=1e-9
        )


class TestDraws:
    def test_observed_cells_are_kept(self, drawn):
        X, _, _, tables = drawn
        assert tables.shape == (400, *X.shape)
        seen = ~np.isnan(X)
        for table in tables:
            # the table of the fit goes through its standardized columns and back
            np.testing.assert_allclose(table[seen], X[seen], rtol=1e-12)

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_those_of_a_given_table_bit_for_bit(self, small, dtype):
        X, _, imputer = small
        X = X.astype(dtype)
        tables = imputer.draws(2, X, random_state=0)
        assert tables.dtype == dtype
        for table in tables:
            assert table[~np.isnan(X)].tobytes() == X[~np.isnan(X)].tobytes()
        assert np.isfinite(tables).all()

    def test_their_mean_is_the_average_of_the_posterior(self, drawn):
        """Another chain's average of conditional means.

        Successive draws are correlated: 400 are worth at least 50 independent ones in each chain.
        """
        X, _, imputer, tables = drawn
        model, hole = imputer.model_, np.isnan(X)
        how = {"column_noise": True, "rank": imputer._drawn_rank()}
        chain = list(draw(model.fit, model.seen, 450, seed=77, **how))[50:]
        means = [
            s.mean + s.centres[:, :-1] @ s.cols[:, :-1].T + s.centres[:, -1:] + s.cols[:, -1]
            for s in chain
        ]
        average = imputer._scaler.backward(np.mean(means, axis=0))
        gap = (tables.mean(axis=0) - average)[hole] / (tables.std(axis=0)[hole] * np.sqrt(2 / 50))
        assert np.sqrt(np.mean(gap**2)) < 1.3
        assert abs(np.mean(gap)) < 0.3

    def test_their_spread_is_that_of_new_entries(self, drawn):
        """They are a little narrower than the errors of the fit: their mean is closer to the truth
        than the fit is.
        """
        X, _, imputer, tables = drawn
        hole = np.isnan(X)
        ratio = tables.std(axis=0)[hole] / imputer.predict_std(X)[hole]
        assert 0.6 < np.exp(np.mean(np.log(ratio))) < 1
        assert np.corrcoef(tables.std(axis=0)[hole], imputer.predict_std(X)[hole])[0, 1] > 0.5

    def test_the_truth_lies_between_their_quantiles(self, drawn):
        """90 % of 720 missing cells, whose errors share rows and columns: 4 standard errors."""
        X, complete, _, tables = drawn
        hole = np.isnan(X)
        low, high = np.quantile(tables, [0.05, 0.95], axis=0)
        inside = np.mean(((low <= complete) & (complete <= high))[hole])
        assert abs(inside - 0.9) < 4 * np.sqrt(0.9 * 0.1 / hole.sum())

    @pytest.mark.slow
    def test_of_new_rows(self, small):
        X, _, imputer = small
        new, whole = noisy_table(seed=2)  # the same columns, and rows the fit has seen …
        hidden = np.random.default_rng(0).random(new.shape) < 0.5
        new = np.where(hidden, np.nan, new)  # … with fewer of their entries
        new = new[np.isfinite(new).any(axis=1)]
        tables = imputer.draws(200, new, random_state=0)
        assert tables.shape == (200, *new.shape)
        low, high = np.quantile(tables, [0.05, 0.95], axis=0)
        hole = np.isnan(new)
        inside = np.mean(((low <= whole) & (whole <= high))[hole])
        assert 0.8 < inside < 0.97
        few = tables.std(axis=0)[hole].mean()
        assert few > imputer.draws(200, X, random_state=0).std(axis=0)[np.isnan(X)].mean()
        # one row alone has the same law: means within 5 standard errors
        alone = imputer.draws(200, new[:1], random_state=5)[:, 0]
        error = np.sqrt(2 / 50) * tables.std(axis=0)[0]
        assert (np.abs(alone.mean(axis=0) - tables.mean(axis=0)[0]) <= 5 * error).all()

    def test_reproducible_and_different(self, small):
        X, _, imputer = small
        one, two, other = (imputer.draws(3, X, random_state=k) for k in (0, 0, 1))
        np.testing.assert_array_equal(one, two)
        assert (one[:, np.isnan(X)] != other[:, np.isnan(X)]).all()
        assert (one[0] != one[1])[np.isnan(X)].all()

    @pytest.mark.parametrize("n", [0, -1, 2.0, "3", True])
    def test_their_number_is_an_integer(self, small, n):
        with pytest.raises(InputError, match="n must be an integer ≥ 1"):
            small[2].draws(n)


def draws_mean(model):
    """mean + p·q + a + b, averaged over the draws."""
    left, right = model.left[:, :-1].astype(float), model.right[:, :-1].astype(float)
    each = np.einsum("dik,djk->dij", left[..., :-1], right[..., :-1])
    each += left[..., -1:] + right[:, None, :, -1] + model.means[:, None, None]
    return each.mean(axis=0)


class TestAverages:
    def test_fit_transform_is_the_average_over_the_draws(self, small, averaged):
        X, hole = small[0], np.isnan(small[0])
        model = averaged.model_
        assert model.draws == 30
        expected = averaged._scaler.backward(draws_mean(model))
        if model.point is not None:
            point = averaged._scaler.backward(
                draws_mean(model.point.folded(model.seen, model.row_ids))
            )
            expected = model.share * expected + (1 - model.share) * point
        again = averaged.transform(X)
        np.testing.assert_allclose(again[hole], expected[hole], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(again[~hole], X[~hole])
        together = unbounded(n_draws=30, refine="off", random_state=0).fit_transform(X)
        np.testing.assert_array_equal(together, again)

    def test_rows_of_the_fit_have_their_conditional_means(self, small, averaged):
        """Rows solved given each draw's columns are the centres that the chain computed."""
        X = small[0]
        folded = averaged._folded(averaged._read(X, reset=False))
        np.testing.assert_allclose(folded.left[:, :-1], averaged.model_.left[:, :-1], atol=2e-5)
        np.testing.assert_allclose(
            averaged.transform(X[4:6]), averaged.transform(X)[4:6], rtol=1e-5
        )

    def test_they_are_more_accurate(self):
        ratios = []
        for seed in range(3):
            X, complete = noisy_table(80, 40, rank=4, missing=0.7, noise=0.6, seed=seed)
            hole = np.isnan(X)
            errors = [
                np.sqrt(np.mean((imputer.fit_transform(X) - complete)[hole] ** 2))
                for imputer in (
                    unbounded(refine="off", random_state=0),
                    unbounded(n_draws=30, refine="off", random_state=0),
                )
            ]
            ratios.append(errors[1] / errors[0])
        assert np.mean(ratios) < 0.98
        assert max(ratios) < 1

    def test_their_intervals_cover(self):
        X, complete = noisy_table(150, 30, seed=4)
        imputer = unbounded(n_draws=20, random_state=0).fit(X)
        low, high = imputer.interval(X)
        hole = np.isnan(X)
        inside = np.mean(((low <= complete) & (complete <= high))[hole])
        error = np.sqrt(0.09 * (1 / hole.sum() + 1 / imputer.validation_mask_.sum()))
        assert abs(inside - 0.9) < 3 * error


def noise_by_column(rows, columns, seed):
    """A table of rank 2 whose columns have noise from 0.05 to 5: (holed, complete)."""
    rng = np.random.default_rng(seed)
    complete = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, columns))
    complete += np.geomspace(0.05, 5, columns) * rng.normal(size=(rows, columns))
    return np.where(rng.random(complete.shape) < 0.3, np.nan, complete), complete


@pytest.fixture(scope="module")
def unequal():
    X, complete = noise_by_column(1500, 8, seed=4)
    return X, complete, unbounded(max_rank=2, refine="off", random_state=0).fit(X)


class TestColumnsWithNoiseOfTheirOwn:
    """About 105 held-out and 450 missing cells in each of 8 columns."""

    def test_intervals_cover_each_column(self, unequal):
        """4 standard errors √(0.09 (1/105 + 1/450)) = 0.13; one common factor is further off."""
        X, complete, imputer = unequal
        low, high = imputer.interval(X)
        hole = np.isnan(X)
        covered = np.mean((low <= complete) & (complete <= high), axis=0, where=hole)
        assert np.abs(covered - 0.9).max() < 0.13
        assert np.abs(covered - 0.9).mean() < 0.04
        calibration = imputer.model_.calibration
        common = calibration.factor(0.9) * imputer.predict_std(X) / calibration.sizes
        inside = np.abs(complete - imputer.transform(X)) <= common
        others = np.mean(inside, axis=0, where=hole)
        assert np.abs(others - 0.9).mean() > 1.5 * np.abs(covered - 0.9).mean()

    def test_deviations_are_those_of_the_errors(self, unequal):
        X, complete, imputer = unequal
        hole = np.isnan(X)
        deviation = np.where(hole, imputer.predict_std(X), 1)
        scores = ((complete - imputer.transform(X)) / deviation) ** 2
        sizes = np.sqrt(np.mean(scores, axis=0, where=hole))
        np.testing.assert_allclose(sizes, 1, atol=0.3)
        assert abs(sizes.mean() - 1) < 0.1

    def test_a_saved_model_gives_the_same(self, unequal, tmp_path):
        X, _, imputer = unequal
        imputer.save(tmp_path / "a.dln")
        loaded = dl.DeepLinearImputer.load(tmp_path / "a.dln")
        np.testing.assert_array_equal(loaded.predict_std(X), imputer.predict_std(X))
        np.testing.assert_array_equal(loaded.interval(X), imputer.interval(X))


@pytest.fixture(scope="module")
def sampled(small):
    X, _, _ = small
    return X, unbounded(random_state=0, sample_posterior=True).fit(X)


class TestSamplePosterior:
    def test_every_transform_is_a_new_draw(self, sampled):
        X, imputer = sampled
        one, two = imputer.transform(X), imputer.transform(X)
        seen = ~np.isnan(X)
        assert one[seen].tobytes() == two[seen].tobytes() == X[seen].tobytes()
        assert (one[~seen] != two[~seen]).all()

    def test_the_sequence_is_that_of_the_seed(self, sampled):
        X, imputer = sampled
        again = unbounded(random_state=0, sample_posterior=True)
        first, second = again.fit_transform(X), again.transform(X)
        imputer.fit(X)  # begins anew
        np.testing.assert_array_equal(imputer.transform(X), first)
        np.testing.assert_array_equal(imputer.transform(X), second)

    def test_it_is_a_draw_as_of_draws(self, sampled):
        X, imputer = sampled
        imputer.fit(X)
        seed = np.random.RandomState(0)
        np.testing.assert_array_equal(
            imputer.transform(X), imputer.draws(1, X, random_state=seed)[0]
        )

    def test_new_rows_and_frames_and_labels(self, tmp_path):
        frame, *_ = mixed_frame(80, seed=2)
        imputer = dl.DeepLinearImputer(random_state=0, sample_posterior=True).fit(frame)
        one, two = (imputer.completed_like(frame.head(20)) for _ in range(2))
        assert (one.dtypes == frame.dtypes).all()
        assert not one.equals(two)
        assert not one[[*imputer.column_scores_]].isna().any(axis=None)
        imputer.save(tmp_path / "a.dln")
        loaded = dl.DeepLinearImputer.load(tmp_path / "a.dln")
        assert loaded.sample_posterior
        assert not loaded.completed_like(frame).equals(loaded.completed_like(frame))


def test_successive_draws_are_nearly_independent(large):
    """Of 60 draws the mean of each missing cell's lag-one correlation, and that of column means.

    Independent draws have −1/60 on average; standard errors are below 0.01 over 3,600 cells and
    0.03 over 30 means.
    """
    X, _ = large
    tables = unbounded(random_state=0).fit(X).draws(60)
    hole = np.isnan(X)
    for x, limit in ((tables[:, hole], 0.03), (tables.mean(axis=1), 0.1)):
        x = x - x.mean(axis=0)
        correlation = (x[1:] * x[:-1]).sum(axis=0) / (x**2).sum(axis=0)
        assert abs(correlation.mean() + 1 / 60) < limit
