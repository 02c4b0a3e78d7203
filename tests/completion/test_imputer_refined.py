"""The second stage of `DeepLinearImputer`: what the Gaussian field adds, and where it stays out."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from cases import slow

import deeplinear as dl
from deeplinear.completion.field.held_out import HeldOut
from deeplinear.errors import InputError

pytestmark = pytest.mark.usefixtures("quiet_fits", "quiet_empty_lines")


def sequence(m=300, n=8, rho=0.95, noise=0.2, missing=0.3, seed=0):
    """(rows in order with holes, the whole): correlated columns that move slowly."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(n, n))
    x = np.zeros((m, n))
    x[0] = rng.normal(size=n)
    for t in range(1, m):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=n)
    whole = x @ mix + noise * rng.normal(size=(m, n))
    return np.where(rng.random((m, n)) < missing, np.nan, whole), whole


def clusters(m=400, n=12, seed=0):
    """Rows around 40 centres, which no low rank describes."""
    rng = np.random.default_rng(seed)
    whole = rng.normal(size=(40, n))[rng.integers(40, size=m)] + 0.2 * rng.normal(size=(m, n))
    return np.where(rng.random((m, n)) < 0.15, np.nan, whole), whole


def error(imputer, X, whole):
    hole = np.isnan(X)
    return float(np.sqrt(np.mean((imputer.fit_transform(X) - whole)[hole] ** 2)))


def imputer(**options):
    return dl.DeepLinearImputer(min_value=None, max_value=None, random_state=0, **options)


def dense_oracle(X, whole, rho, noise):
    """The error of the normal law that the sequence was drawn from, cell by cell."""
    m, n = X.shape
    time = rho ** abs(np.subtract.outer(np.arange(m), np.arange(m)))
    mix = np.random.default_rng(0).normal(size=(n, n))
    K = np.kron(time, mix.T @ mix)
    seen = ~np.isnan(X.ravel())
    inner = K[np.ix_(seen, seen)] + noise**2 * np.eye(seen.sum())
    mean = K[np.ix_(~seen, seen)] @ np.linalg.solve(inner, X.ravel()[seen])
    return float(np.sqrt(np.mean((mean - whole.ravel()[~seen]) ** 2)))


class TestGains:
    def test_rows_in_order_come_near_the_best_that_is_possible(self):
        X, whole = sequence(m=250, n=5)
        best = dense_oracle(X, whole, 0.95, 0.2)
        found = error(imputer(row_order=True), X, whole)
        assert best < found < 1.1 * best
        assert found < 0.7 * error(imputer(refine="off"), X, whole)

    def test_neighbours_help_where_rows_come_in_clusters(self):
        X, whole = clusters()
        model = imputer()
        assert error(model, X, whole) < 0.7 * error(imputer(refine="off"), X, whole)
        assert model.refinement_.graph == "neighbours"
        assert model.refinement_.share > 0.8

    def test_a_table_that_the_network_knows_stays_as_it_is(self):
        rng = np.random.default_rng(3)
        whole = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 40))
        X = np.where(rng.random(whole.shape) < 0.4, np.nan, whole)
        plain, refined = imputer(refine="off"), imputer()
        assert error(refined, X, whole) <= 1.01 * error(plain, X, whole)

    @pytest.mark.parametrize("seed", range(5))
    def test_independent_noise_gains_nothing_and_loses_nothing(self, seed):
        whole = np.random.default_rng(seed).normal(size=(200, 10))
        X = np.where(np.random.default_rng(seed + 9).random(whole.shape) < 0.2, np.nan, whole)
        plain, refined = imputer(refine="off"), imputer(row_order=True)
        assert error(refined, X, whole) <= 1.01 * error(plain, X, whole)

    @pytest.mark.parametrize("shape", [(1, 1), (2, 4), (30, 1), (1, 6), (9, 3)])
    @pytest.mark.parametrize("value", [0.0, 7.0, 1e-9])
    def test_tables_of_one_value_stay_as_they_are(self, shape, value):
        X = np.full(shape, value)
        X[0, 0] = np.nan if X.size > 1 else value
        with np.errstate(all="raise"):
            model = imputer(row_order=True).fit(X)
        assert model.refinement_.share == 0
        np.testing.assert_allclose(model.transform(X), value)

    def test_one_column_in_order(self):
        walk = np.cumsum(np.random.default_rng(0).normal(size=(300, 1)), axis=0)
        X = np.where(np.random.default_rng(1).random(walk.shape) < 0.3, np.nan, walk)
        between = np.interp(np.arange(300), np.flatnonzero(~np.isnan(X)), X[~np.isnan(X)])
        hole = np.isnan(X[:, 0])
        known = np.sqrt(np.mean((between - walk[:, 0])[hole] ** 2))
        assert error(imputer(row_order=True), X, walk) < 1.15 * known  # of a random walk the best

    @pytest.mark.parametrize("scale", [True, False])
    def test_the_share_and_the_errors_are_told(self, scale):
        X, _ = sequence()
        model = imputer(row_order=True, scale=scale).fit(X)
        found = model.refinement_
        assert found.graph in {"order", "order and neighbours"}
        assert found.after < found.before
        assert found.after == pytest.approx(model.standardized_score_)
        assert found.count == model.validation_mask_.sum()
        off = imputer(refine="off", scale=scale).fit(X)
        assert off.refinement_.share == 0
        assert found.before == pytest.approx(off.standardized_score_)

    def test_intervals_around_it_cover(self):
        X, whole = sequence(m=800, seed=2)
        model = imputer(row_order=True).fit(X)
        low, high = model.interval(X, coverage=0.9)
        hole = np.isnan(X)
        inside = np.mean(((low <= whole) & (whole <= high))[hole])
        spread = np.sqrt(0.09 * (1 / hole.sum() + 1 / model.refinement_.count))
        assert abs(inside - 0.9) < 4 * spread


class TestDraws:
    """Draws of a refined table: around what is imputed, as wide as the held-out errors are."""

    @pytest.mark.parametrize(("make", "order"), [(sequence, True), (clusters, None)])
    def test_they_lie_around_the_completion_and_cover_the_truth(self, make, order):
        X, whole = make(m=500, seed=4)
        hole = np.isnan(X)
        model = imputer(row_order=order).fit(X)
        assert model.refinement_.graph != "none"
        tables = model.draws(200, X)
        np.testing.assert_allclose(model.draws(3), tables[:3], atol=1e-9)
        assert (tables[:, ~hole] == X[~hole]).all()
        middle, spread = tables.mean(axis=0)[hole], tables.std(axis=0)[hole]
        gap = middle - model.transform(X)[hole]
        assert np.sqrt(np.mean((gap / spread) ** 2)) == pytest.approx(200**-0.5, rel=0.1)
        low, high = np.quantile(tables, [0.05, 0.95], axis=0)
        inside = np.mean(((low <= whole) & (whole <= high))[hole])
        assert 0.85 < inside < 0.96  # errors are no normal ones
        error = np.sqrt(np.mean((model.transform(X) - whole)[hole] ** 2))
        assert np.sqrt(np.mean(spread**2)) == pytest.approx(error, rel=0.15)

    def test_new_rows_and_sequences_are_drawn_too(self):
        X, whole = clusters(m=600)
        model = imputer().fit(X[:500])
        new, hole = X[480:], np.isnan(X[480:])
        tables = model.draws(100, new, random_state=1)
        low, high = np.quantile(tables, [0.05, 0.95], axis=0)
        assert 0.7 < np.mean(((low <= whole[480:]) & (whole[480:] <= high))[hole]) < 0.95
        np.testing.assert_array_equal(model.draws(2, new, random_state=1), tables[:2])
        X, _ = sequence(m=400)
        model = imputer(row_order=True).fit(X[:300])
        assert np.isfinite(model.draws(2, X[300:])).all()

    def test_sample_posterior_takes_one_of_them(self):
        X, _ = sequence(m=200)
        one, two = (
            imputer(row_order=True, sample_posterior=how).fit(X).transform(X)
            for how in (False, True)
        )
        hole = np.isnan(X)
        assert (one[hole] != two[hole]).all()
        assert np.corrcoef(one[hole], two[hole])[0, 1] > 0.8


class TestRows:
    @pytest.mark.parametrize("order", [None, True])
    def test_rows_of_the_fit_are_known_again(self, order):
        X, _ = sequence(m=240)
        X[7] = np.nan  # two rows without any cell
        X[50] = np.nan
        X[81] = X[80]
        model = imputer(row_order=order).fit(X)
        whole = model.transform(X)
        assert model.refinement_.share > 0
        some = np.random.default_rng(0).permutation(len(X))[:40]
        np.testing.assert_array_equal(model.transform(X[:90]), whole[:90])
        apart = [i for i in some if i not in (7, 50, 80, 81)]
        np.testing.assert_array_equal(model.transform(X[apart]), whole[apart])

    def test_equal_rows_of_a_part_are_known_by_those_around_them(self):
        X, _ = sequence(m=240)
        X[[40, 80, 130, 131]] = np.nan
        model = imputer(row_order=True).fit(X)
        whole = model.transform(X)
        assert np.abs(whole[80] - whole[130]).max() > 0.1
        np.testing.assert_array_equal(model.transform(X[60:200]), whole[60:200])
        np.testing.assert_array_equal(model.transform(X[130:140]), whole[130:140])

    def test_new_rows_stand_beside_their_neighbours(self):
        X, whole = clusters(m=600)
        model = imputer().fit(X[:500])
        new, hole = X[500:], np.isnan(X[500:])
        filled = model.transform(new)
        plain = imputer(refine="off").fit(X[:500]).transform(new)
        errors = [np.sqrt(np.mean((f - whole[500:])[hole] ** 2)) for f in (filled, plain)]
        assert errors[0] < 0.75 * errors[1]
        np.testing.assert_allclose(model.transform(new[3:4]), filled[3:4], atol=1e-6)

    def test_a_new_table_in_order_is_a_sequence_of_its_own(self):
        X, whole = sequence(m=900)
        model = imputer(row_order=True).fit(X[:600])
        hole = np.isnan(X[600:])
        by_one = np.vstack([model.transform(row[None]) for row in X[600:]])
        errors = [
            np.sqrt(np.mean((f - whole[600:])[hole] ** 2))
            for f in (model.transform(X[600:]), by_one)
        ]
        assert errors[0] < 0.8 * errors[1]

    @pytest.mark.parametrize("order", [None, True])
    def test_a_model_file_keeps_it(self, tmp_path, order):
        X, _ = clusters()
        model = imputer(row_order=order).fit(X)
        model.save(tmp_path / "model.dln")
        again = dl.DeepLinearImputer.load(tmp_path / "model.dln")
        assert again.refinement_ == model.refinement_
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        new = X[:5] + 0.1
        np.testing.assert_array_equal(again.transform(new), model.transform(new))


class TestLines:
    """Lines between neighbours, on series that have nothing to do with each other."""

    @staticmethod
    def series(m=500, n=6, seed=0):
        rng = np.random.default_rng(seed)
        whole = np.cumsum(rng.normal(size=(m, n)), axis=0)
        return np.where(rng.random((m, n)) < 0.1, np.nan, whole), whole

    def test_they_bring_the_error_to_that_of_interpolation(self):
        X, whole = self.series()
        lines = pd.DataFrame(X).interpolate(limit_direction="both").to_numpy()
        hole = np.isnan(X)
        best = np.sqrt(np.mean((lines - whole)[hole] ** 2))
        model = imputer(row_order=True)
        assert error(model, X, whole) < 1.1 * best
        assert model.refinement_.lines > 0.3

    def test_a_model_file_keeps_them_and_new_sequences_have_their_own(self, tmp_path):
        X, _ = self.series(seed=1)
        new, whole = self.series(m=200, seed=2)
        model = imputer(row_order=True).fit(X)
        model.save(tmp_path / "model.dln")
        again = dl.DeepLinearImputer.load(tmp_path / "model.dln")
        assert again.refinement_.lines > 0.3
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        np.testing.assert_array_equal(again.transform(new), model.transform(new))
        hole = np.isnan(new)
        lines = pd.DataFrame(new).interpolate(limit_direction="both").to_numpy()
        sizes = [np.sqrt(np.mean((x - whole)[hole] ** 2)) for x in (model.transform(new), lines)]
        assert sizes[0] < 1.2 * sizes[1]

    def test_a_robust_loss_takes_a_network_that_is_off_for_no_outlier(self):
        X, whole = self.series(seed=5)
        errors = [error(imputer(row_order=True, loss=x), X, whole) for x in ("huber", "squared")]
        assert errors[0] < 1.3 * errors[1]  # three times as large when it did

    def test_outliers_do_not_choose_with_a_robust_loss(self):
        X, whole = self.series(seed=6)
        X[np.random.default_rng(0).random(X.shape) < 0.01] += 1e3
        model = imputer(row_order=True, loss="huber")
        assert error(model, X, whole) < 30  # of outliers beside a hole; 100 and more without

    def test_a_file_that_contradicts_itself_is_refused(self):
        X, _ = self.series(seed=1)
        model = imputer(row_order=True).fit(X)

        def changed(change):
            meta, arrays = {}, {}
            model._dump_field(meta, arrays)
            change(meta["refinement"], arrays)
            again = imputer()
            again.model_ = model.model_
            again._restore_field(meta, arrays)

        changed(lambda settings, arrays: None)
        for change in (
            lambda settings, arrays: settings.update(share=0.0),
            lambda settings, arrays: settings.update(lines=settings["lines"] / 2),
            lambda settings, arrays: settings.update(share=settings["share"] / 2),
            lambda settings, arrays: arrays["field.line_shares"].fill(0.0),
            lambda settings, arrays: arrays["field.straight"].fill(np.nan),
        ):
            model = imputer(row_order=True).fit(X)
            with pytest.raises(InputError, match=r"lines|share|straight"):
                changed(change)

    def test_the_middle_of_draws_has_them(self):
        X, _ = self.series(seed=3)
        model = imputer(row_order=True).fit(X)
        tables, hole = model.draws(100, X), np.isnan(X)
        gap = (tables.mean(axis=0) - model.transform(X))[hole] / tables.std(axis=0)[hole]
        assert np.sqrt(np.mean(gap**2)) == pytest.approx(100**-0.5, rel=0.15)


class TestOrder:
    def test_times_are_what_counts_not_the_places(self):
        X, _ = sequence(m=200)
        mixed = np.random.default_rng(0).permutation(200)
        one = imputer(row_order=True).fit(X)
        other = imputer(row_order=np.arange(200)[mixed] / 7).fit(X[mixed])
        assert other.refinement_.graph == one.refinement_.graph
        assert other.refinement_.after == pytest.approx(one.refinement_.after, rel=0.1)

    @pytest.mark.parametrize("library", [pd, pl])
    def test_a_column_of_dates_may_be_named(self, library):
        X, _ = sequence(m=120, n=4)
        days = pd.date_range("2024-01-01", periods=120)
        frame = library.DataFrame({"day": days.to_numpy()} | {f"c{j}": X[:, j] for j in range(4)})
        named = imputer(row_order="day").fit(frame)
        true = imputer(row_order=True).fit(X)
        assert named.refinement_.graph == true.refinement_.graph
        filled = named.transform(frame)
        np.testing.assert_allclose(
            np.asarray(filled)[:, 1:].astype(float), true.transform(X), rtol=1e-6
        )

    @pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.coo_matrix])
    def test_a_graph_of_ones_own(self, form):
        X, whole = sequence(m=200)
        band = np.diag(np.ones(199), 1)
        graph = form(band + band.T)
        given = error(imputer(row_order=graph), X, whole)
        assert given == pytest.approx(error(imputer(row_order=True), X, whole), rel=1e-6)

    @pytest.mark.parametrize(
        ("order", "message"),
        [
            ("day", "row_order must name a column of X, got 'day'"),
            (np.arange(3), "one time for each of the 120 rows"),
            (np.ones((3, 3)), "a graph of 120 × 120"),
            (["a"] * 120, "numbers or dates"),
            (np.triu(np.ones((120, 120))), "symmetric"),
        ],
    )
    def test_what_is_no_order_is_refused(self, order, message):
        X, _ = sequence(m=120)
        with pytest.raises(InputError, match=message):
            imputer(row_order=order).fit(X)

    def test_refine_is_auto_or_off(self):
        with pytest.raises(InputError, match="refine"):
            imputer(refine="yes").fit(sequence(m=30)[0])


class TestMixedTables:
    def test_a_category_goes_the_share_that_its_labels_gain_by(self):
        """Where neighbours mislead about labels these stay with the network."""
        rng = np.random.default_rng(2)
        z = rng.normal(size=(800, 2))
        label = np.array([10.0, 20.0, 70.0])[np.digitize(z[:, 0], [-0.5, 0.5])]
        whole = np.column_stack([z, label])
        X = np.where(rng.random(whole.shape) < 0.2, np.nan, whole)
        hole = np.isnan(X[:, 2])
        right = [
            np.mean(imputer(categorical=[2], refine=how).fit_transform(X)[hole, 2] == label[hole])
            for how in ("off", "auto")
        ]
        assert right[1] >= right[0] - 0.02

    def test_all_columns_of_a_category_have_one_share(self):
        rng = np.random.default_rng(0)
        owner = np.array([0, 1, 1, 1, 2])
        rows, cols = np.repeat(np.arange(50), 5), np.tile(np.arange(5), 50)
        truth = rng.normal(size=(50, 5))
        held = HeldOut(rows, cols, truth.ravel(), owner, {1: lambda predicted: 1.0})
        network, field = truth + rng.normal(size=(50, 5)), truth.copy()
        shares = held.shares(held.gaps(network), held.gaps(field))
        assert set(shares[[0, 4]]) == {1.0}
        assert len(set(shares[1:4])) == 1


@pytest.mark.parametrize("make", [slow(sequence), slow(clusters)])
def test_the_number_of_threads_changes_nothing(make):
    X, _ = make(m=9000, n=9)  # several blocks
    one, two = (imputer(row_order=True, threads=threads).fit(X) for threads in (1, 3))
    assert one.refinement_ == two.refinement_
    np.testing.assert_array_equal(one.transform(X), two.transform(X))
    np.testing.assert_array_equal(one.draws(1), two.draws(1))
