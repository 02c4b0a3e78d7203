"""DeepMatrixCompletion: every form of data, ids, folding in, refitting, files and model
selection.
"""

import math
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import deeplinear as dl
from deeplinear.completion import file_format
from deeplinear.errors import EmptyLineWarning, InputError

QUICK = {
    "strength": 0.1,
    "validation_fraction": 0,
    "max_rank": 5,
    "threads": 1,
    "random_state": 0,
    "weighted_trace_norm": 0.0,
}


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def problem():
    """600 entries of a 40 × 30 matrix of rank 2 with biases and a little noise; every line has
    some.
    """
    rng = np.random.default_rng(11)
    truth = (
        rng.normal(size=(40, 2)) @ rng.normal(size=(2, 30))
        + rng.normal(size=(40, 1))
        + rng.normal(size=30)
        + 3
    )
    where = rng.permutation(1200)[:600]
    rows, cols = np.divmod(where, 30)
    assert len(set(rows)) == 40
    assert len(set(cols)) == 30
    return rows, cols, truth[rows, cols] + 0.05 * rng.normal(size=600), truth


@pytest.fixture(scope="module")
def fitted(problem):
    rows, cols, values, _ = problem
    return dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, values))


def rmse(x, y):
    return float(np.sqrt(np.mean((np.asarray(x) - y) ** 2)))


class TestForms:
    def test_it_completes(self, problem, fitted):
        rows, cols, _, truth = problem
        hidden = np.ones(truth.shape, bool)
        hidden[rows, cols] = False
        found = fitted.predict(*np.nonzero(hidden))
        biases = (
            truth.mean() + (truth - truth.mean()).mean(0) + (truth - truth.mean()).mean(1)[:, None]
        )
        assert rmse(found, truth[hidden]) < 0.3 * rmse(biases[hidden], truth[hidden])
        assert fitted.rank_ in (2, 3)

    def test_all_forms_give_the_same_model(self, problem, fitted):
        rows, cols, values, _ = problem
        dense = np.full((40, 30), np.nan)
        dense[rows, cols] = values
        frame = pd.DataFrame({"when": 1, "item": cols, "user": rows, "rating": values})
        forms = {
            "coo": (sp.coo_array((values, (rows, cols)), shape=(40, 30)),),
            "csr": (sp.csr_array((values, (rows, cols)), shape=(40, 30)),),
            "csc matrix": (sp.csc_matrix((values, (rows, cols)), shape=(40, 30)),),
            "dense": (dense,),
            "pandas table": (pd.DataFrame(dense),),
            "pandas": (frame,),
            "polars": (pl.DataFrame(frame),),
            "pairs": (np.column_stack([rows, cols]), values),
            "pair frame": (frame[["user", "item"]], frame["rating"]),
        }
        expected = fitted.predict(rows, cols)
        for name, form in forms.items():
            found = dl.DeepMatrixCompletion(**QUICK).fit(*form)
            np.testing.assert_array_equal(found.predict(rows, cols), expected, err_msg=name)

    def test_empty_rows_and_columns_are_not_in_the_fit(self, problem, fitted):
        """A sparse matrix of which nearly all is empty gives the model of what is not."""
        rows, cols, values, _ = problem
        there = 1000 * rows + 7, 300 * cols + 2
        found = dl.DeepMatrixCompletion(**QUICK).fit(
            sp.csr_array((values, there), shape=(100_000, 50_000))
        )
        assert found.model_.fit.shape == fitted.model_.fit.shape == (40, 30)
        np.testing.assert_array_equal(found.predict(*there), fitted.predict(rows, cols))

    def test_ids_of_any_kind(self, problem, fitted):
        rows, cols, values, _ = problem
        expected = fitted.predict(rows, cols)
        users = [f"user {r}" for r in rows]
        items = [((int(c), "x"), frozenset([int(c)]), int(c), str(c))[c % 4] for c in cols]
        found = dl.DeepMatrixCompletion(**QUICK).fit((users, items, values))
        # other numbering, hence other random start and order of sums: equal as minimizers are
        np.testing.assert_allclose(found.predict(users, items), expected, atol=0.05)
        assert set(found.row_ids_) == set(users)
        dates = pd.Timestamp("2020-01-01") + pd.to_timedelta(rows, unit="D")
        found = dl.DeepMatrixCompletion(**QUICK).fit(
            pd.DataFrame({"user": dates, "item": cols, "rating": values})
        )
        np.testing.assert_allclose(found.predict(dates[:9], cols[:9]), expected[:9], atol=0.05)
        large = rows * 10**15 - 7
        found = dl.DeepMatrixCompletion(**QUICK).fit((large, cols, values))
        np.testing.assert_array_equal(found.predict(large, cols), expected)

    def test_a_stored_zero_is_observed(self):
        rng = np.random.default_rng(0)
        X = sp.coo_array(
            (np.zeros(60), (rng.permutation(20).repeat(3), np.tile(np.arange(10), 6))),
            shape=(20, 10),
        )
        X.sum_duplicates()
        model = dl.DeepMatrixCompletion(**{**QUICK, "max_rank": 2}).fit(X)
        assert model.model_.seen.nnz == X.nnz > 0
        assert (abs(model.predict(X.row, X.col)) < 1e-12).all()

    def test_float32_is_kept(self, problem, fitted):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, values.astype(np.float32)))
        assert model.model_.left.dtype == np.float32
        np.testing.assert_allclose(model.predict(rows, cols), fitted.predict(rows, cols), atol=2e-2)

    def test_weights_are_repetitions(self, problem):
        rows, cols, values, _ = problem
        weights = np.where(np.arange(600) < 5, 0.0, 1.0)
        one = dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, values), sample_weight=weights)
        other = dl.DeepMatrixCompletion(**QUICK).fit((rows[5:], cols[5:], values[5:]))
        np.testing.assert_allclose(one.predict(rows, cols), other.predict(rows, cols), atol=1e-6)


class TestPredictions:
    def test_unseen_ids_get_the_marginals_and_one_warning(self, fitted):
        with pytest.warns(
            EmptyLineWarning, match=r"3 of 4 entries .* \(2 rows, 2 columns\)"
        ) as caught:
            found = fitted.predict([0, 99, 0, 98], [0, 0, 77, 77])
        assert len(caught) == 1
        m = fitted.model_
        left, right = m.left[0, :-1], m.right[0, :-1]
        average_row = (
            m.means[0] + left.mean(0)[-1] + right[0, -1] + left.mean(0)[:-1] @ right[0, :-1]
        )
        np.testing.assert_allclose(found[1], average_row, rtol=1e-10)
        assert np.isfinite(found).all()

    def test_or_nan(self, problem):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(**QUICK, unseen="nan").fit((rows, cols, values))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = model.predict([0, 99], [0, 0])
        assert np.isfinite(found[0])
        assert np.isnan(found[1])

    def test_empty_lines_of_a_matrix_are_unseen(self, problem):
        rows, cols, values, _ = problem
        X = sp.coo_array((values, (rows, cols)), shape=(41, 30))
        model = dl.DeepMatrixCompletion(**QUICK).fit(X)
        with pytest.warns(EmptyLineWarning, match="1 of 2 entries"):
            found = model.predict([40, 0], [3, 3])
        assert abs(found[0] - values[cols == 3].mean()) < 1.0

    def test_pairs_and_scalars(self, fitted):
        np.testing.assert_array_equal(
            fitted.predict(np.array([[3, 4], [5, 6]])), fitted.predict([3, 5], [4, 6])
        )
        assert fitted.predict(3, 4).shape == (1,)

    def test_complete_keeps_what_was_observed(self, problem, fitted):
        rows, cols, values, _ = problem
        whole = fitted.complete()
        np.testing.assert_array_equal(whole[rows, cols], values)
        hidden = np.ones(whole.shape, bool)
        hidden[rows, cols] = False
        np.testing.assert_allclose(whole[hidden], fitted.predict(*np.nonzero(hidden)), rtol=1e-10)

    def test_clip(self, problem):
        rows, cols, values, _ = problem
        free = dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, values)).complete()
        model = dl.DeepMatrixCompletion(**QUICK, clip=(2.0, 4.0)).fit((rows, cols, values))
        every = np.divmod(np.arange(1200), 30)
        np.testing.assert_allclose(
            model.predict(*every),
            np.clip(
                dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, values)).predict(*every), 2, 4
            ),
        )
        assert free.max() > 4
        ranged = (
            dl.DeepMatrixCompletion(**QUICK, clip="range").fit((rows, cols, values)).predict(*every)
        )
        assert ranged.min() >= values.min()
        assert ranged.max() <= values.max()

    def test_recommend(self, problem, fitted):
        rows, cols, _, _ = problem
        labels, scores = fitted.recommend([3, 17], 5)
        for t, row in enumerate((3, 17)):
            unseen = np.setdiff1d(np.arange(30), cols[rows == row])
            predicted = fitted.predict(np.full(len(unseen), row), unseen)
            order = np.argsort(-predicted)[:5]
            assert labels[t].tolist() == unseen[order].tolist()
            np.testing.assert_allclose(scores[t], predicted[order], rtol=1e-10)
        everything, _ = fitted.recommend([3], 30, exclude_seen=False)
        assert sorted(everything[0]) == list(range(30))
        few, scores = fitted.recommend([3], 30)
        assert [x is None for x in few[0]] == np.isnan(scores[0]).tolist()
        assert sum(x is not None for x in few[0]) == 30 - (rows == 3).sum()
        with pytest.raises(InputError, match="k must be an integer ≥ 1, got 0"):
            fitted.recommend([3], 0)

    def test_recommend_to_strangers(self, fitted):
        labels, _ = fitted.recommend([999], 3)
        assert len(set(labels[0])) == 3


class TestNewEntries:
    def test_fold_in_is_the_ridge_solution_given_the_columns(self, problem, fitted):
        rows, cols, values, _ = problem
        new = rows < 5
        model = fitted.fold_in((rows[new] + 100, cols[new], values[new]))
        fit = fitted.model_.fit
        # the slope of the penalty, up to how far the fit is from stationary
        np.testing.assert_allclose(fit.ridge, fit.penalty.slope(fit.spectrum), rtol=0.05)
        for row in range(5):
            seen = cols[rows == row]
            D = np.column_stack([fit.right[seen], np.ones(len(seen))])
            ridge = np.append(fit.ridge, fit.bias_ridge)
            target = values[rows == row] - fit.mean - fit.col_bias[seen]
            p = np.linalg.solve(D.T @ D + np.diag(ridge), D.T @ target)  # scaling is off: ρ = 1
            expected = np.column_stack([fit.right, np.ones(30)]) @ p + fit.col_bias + fit.mean
            np.testing.assert_allclose(
                model.predict(np.full(30, row + 100), np.arange(30)), expected, rtol=1e-6
            )

    def test_transform_keeps_entries_and_does_not_refit(self, problem, fitted):
        rows, cols, _, truth = problem
        before = fitted.predict(rows, cols)
        rng = np.random.default_rng(5)
        X = np.where(rng.random((7, 30)) < 0.6, truth[:7], np.nan)
        found = fitted.transform(X)
        np.testing.assert_array_equal(found[~np.isnan(X)], X[~np.isnan(X)])
        assert rmse(found[np.isnan(X)], truth[:7][np.isnan(X)]) < 0.3 * truth.std()
        np.testing.assert_array_equal(fitted.predict(rows, cols), before)
        np.testing.assert_allclose(
            fitted.transform(
                sp.csr_array((X[~np.isnan(X)], np.nonzero(~np.isnan(X))), shape=X.shape)
            ),
            found,
        )

    def test_fold_in_refuses_other_columns(self, fitted):
        with pytest.raises(InputError, match="columns that the fit does not know, the first is 55"):
            fitted.fold_in(([1], [55], [2.0]))
        by_position = dl.DeepMatrixCompletion(**QUICK).fit(
            np.random.default_rng(0).normal(size=(9, 6))
        )
        with pytest.raises(InputError, match="must have the 6 columns"):
            by_position.fold_in(np.ones((2, 5)))

    def test_partial_fit_with_new_ids_is_like_a_fit_of_everything(self, problem):
        rows, cols, values, truth = problem
        old = (rows < 35) & (cols < 28)
        options = {**QUICK, "max_iter": 60}
        model = dl.DeepMatrixCompletion(**options).fit((rows[old], cols[old], values[old]))
        model.partial_fit((rows[~old], cols[~old], values[~old]))
        whole = dl.DeepMatrixCompletion(**options).fit((rows, cols, values))
        assert set(model.row_ids_) == set(range(40))
        every = np.divmod(np.arange(1200), 30)
        assert (
            rmse(model.predict(*every), truth.ravel())
            < 1.25 * rmse(whole.predict(*every), truth.ravel()) + 0.02
        )

    def test_partial_fit_replaces_where_asked(self, problem):
        rows, cols, values, _ = problem
        entry = ([rows[0]], [cols[0]], [values[0] + 1])
        strict = dl.DeepMatrixCompletion(**QUICK).fit((rows, cols, values))
        with pytest.raises(InputError, match="every entry once"):
            strict.partial_fit(entry)
        model = (
            dl.DeepMatrixCompletion(**QUICK, duplicates="last")
            .fit((rows, cols, values))
            .partial_fit(entry)
        )
        assert model.model_.seen.nnz == 600
        assert (
            model.complete()[model.row_ids_ == rows[0], model.col_ids_ == cols[0]] == values[0] + 1
        )

    def test_partial_fit_can_be_the_first(self, problem, fitted):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(**QUICK).partial_fit((rows, cols, values))
        np.testing.assert_array_equal(model.predict(rows, cols), fitted.predict(rows, cols))


class TestChoice:
    def test_grid_search(self, problem):
        rows, cols, values, _ = problem
        search = GridSearchCV(
            dl.DeepMatrixCompletion(**QUICK),
            {"strength": [0.05, 50.0], "depth": [2.0, 3.0]},
            cv=3,
            refit=True,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", EmptyLineWarning)
            search.fit(np.column_stack([rows, cols]), values)
        assert search.best_params_["strength"] == 0.05
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
        assert -1.0 < search.best_score_ < 0

    def test_strength_is_chosen_on_held_out_entries(self, problem):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(max_rank=5, random_state=0).fit((rows, cols, values))
        scores = [trial.validation_rmse for trial in model.trials_]
        assert model.validation_score_ == pytest.approx(min(scores), rel=1e-12)
        assert model.strength_ == model.trials_[int(np.argmin(scores))].strength
        again = dl.DeepMatrixCompletion(max_rank=5, random_state=0).fit((rows, cols, values))
        np.testing.assert_array_equal(again.predict(rows, cols), model.predict(rows, cols))

    def test_depth_is_chosen_too(self, problem):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(
            depth=(2, 3, math.inf), strength=(0.4, 0.1), max_rank=5, random_state=0
        )
        model.fit((rows, cols, values))
        assert {trial.depth for trial in model.trials_} == {2, 3, math.inf}
        best = min(model.trials_, key=lambda trial: trial.validation_rmse)
        assert (model.depth_, model.strength_) == (best.depth, best.strength)

    def test_parameters_are_only_stored(self):
        model = dl.DeepMatrixCompletion(depth=4, clip=(1, 5), n_draws=3)
        assert clone(model).get_params() == model.get_params()
        cv = dl.DeepMatrixCompletion(depth=(2, 5), strength=[0.1])
        assert clone(cv).get_params() == cv.get_params()

    def test_score_is_minus_the_error(self, problem, fitted):
        rows, cols, values, _ = problem
        assert fitted.score((rows, cols, values)) == pytest.approx(-fitted.train_score_)
        assert fitted.score(np.column_stack([rows, cols]), values) == pytest.approx(
            -fitted.train_score_
        )
        with pytest.raises(InputError, match="must carry ids for score"):
            fitted.score(np.ones((40, 30)))


class TestFiles:
    @pytest.mark.parametrize(
        "options", [{}, {"n_draws": 3, "burn_in": 1, "depth": math.inf, "clip": (0.0, 6.0)}]
    )
    def test_a_loaded_model_is_the_same_bit_for_bit(self, problem, tmp_path, options):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(**{**QUICK, "validation_fraction": 0.1, **options})
        model.fit(([f"ü{r}" for r in rows], [(int(c), "a") for c in cols], values))
        model.save(tmp_path / "a.dln")
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "a.dln")
        users, items = model.row_ids_[rows], model.col_ids_[cols]
        for one, other in zip(
            (*model.predict(users, items, return_std=True), *model.interval(users, items)),
            (*loaded.predict(users, items, return_std=True), *loaded.interval(users, items)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
        assert (
            loaded.recommend(users[:2], 3)[0].tolist() == model.recommend(users[:2], 3)[0].tolist()
        )
        assert loaded.get_params() == model.get_params()
        assert (loaded.validation_score_, loaded.train_score_) == (
            model.validation_score_,
            model.train_score_,
        )
        np.testing.assert_array_equal(
            loaded.partial_fit((["new"], [(0, "a")], [1.0])).predict(users, items),
            model.partial_fit((["new"], [(0, "a")], [1.0])).predict(users, items),
        )

    def test_without_entries(self, fitted, tmp_path):
        fitted.save(tmp_path / "small.dln", entries=False)
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "small.dln")
        np.testing.assert_array_equal(
            loaded.predict([1, 2], [3, 4]), fitted.predict([1, 2], [3, 4])
        )
        assert loaded.recommend([1], 2, exclude_seen=False)[0].shape == (1, 2)
        for call in (
            lambda: loaded.recommend([1], 2),
            loaded.complete,
            lambda: loaded.partial_fit(([1], [1], [1.0])),
        ):
            with pytest.raises(InputError, match="saved without its entries"):
                call()

    def test_deviations_of_folded_rows_need_the_entries_of_the_columns(self, fitted, tmp_path):
        """Those of the new rows alone would say that every column is unsure."""
        new = ([100, 100, 101], [3, 4, 4], [1.0, 2.0, 3.0])
        fitted.save(tmp_path / "small.dln", entries=False)
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "small.dln")
        expected = fitted.fold_in(new).predict([100], [5])
        folded = loaded.fold_in(new)
        np.testing.assert_array_equal(folded.predict([100], [5]), expected)
        folded.save(tmp_path / "folded.dln")
        again = dl.DeepMatrixCompletion.load(tmp_path / "folded.dln")
        np.testing.assert_array_equal(again.predict([100], [5]), expected)
        for model in (folded, again):
            with pytest.raises(InputError, match="saved without its entries"):
                model.predict_std([100], [5])
            with pytest.raises(InputError, match="draws needs the estimator that was fitted"):
                model.draws(2, [100], [5])

    def test_every_flipped_byte_is_refused(self, fitted, tmp_path):
        path = tmp_path / "a.dln"
        fitted.save(path)
        data = path.read_bytes()
        rng = np.random.default_rng(0)
        for place in [*range(0, 40), *rng.integers(40, len(data), 60), len(data) - 1]:
            damaged = bytearray(data)
            damaged[place] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            with pytest.raises(
                InputError, match=r"damaged|newer|format version|not a deeplinear model"
            ):
                dl.DeepMatrixCompletion.load(path)
        path.write_bytes(data[:-100])
        with pytest.raises(InputError, match="damaged or cut short"):
            dl.DeepMatrixCompletion.load(path)

    def test_newer_versions_other_kinds_and_other_files(self, fitted, tmp_path, monkeypatch):
        path = tmp_path / "a.dln"
        monkeypatch.setattr(file_format, "VERSION", 2)
        fitted.save(path)
        monkeypatch.undo()
        with pytest.raises(
            InputError, match="has the format version 2, and this deeplinear reads up to 1; update"
        ):
            dl.DeepMatrixCompletion.load(path)
        fitted.save(path)
        with pytest.raises(
            InputError, match="holds a DeepMatrixCompletion, not a DeepLinearImputer"
        ):
            dl.DeepLinearImputer.load(path)
        with pytest.raises(InputError, match="cannot be read"):
            dl.DeepMatrixCompletion.load(tmp_path / "none")
        path.write_bytes(b"\x80\x04pickle")
        with pytest.raises(InputError, match="not a deeplinear model file"):
            dl.DeepMatrixCompletion.load(path)

    def test_ids_that_a_file_cannot_carry(self, problem, tmp_path):
        rows, cols, values, _ = problem
        model = dl.DeepMatrixCompletion(**QUICK).fit(
            ([frozenset([int(r)]) for r in rows], cols, values)
        )
        with pytest.raises(InputError, match="ids of the type frozenset"):
            model.save(tmp_path / "a.dln")
        assert not list(tmp_path.iterdir())
