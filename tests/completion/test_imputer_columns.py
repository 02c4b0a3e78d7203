"""Which columns the imputer fits, within what bounds, and how it scores each of them."""

import math
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from completion_tables import noisy_table
from mixed_tables import mixed_frame
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import deeplinear as dl
from deeplinear.errors import IdColumnWarning, InputError

pytestmark = pytest.mark.usefixtures("quiet_fits", "quiet_empty_lines")


@pytest.fixture(scope="module")
def table():
    return noisy_table(60, 8, rank=2, missing=0.25, seed=1)[0]


class TestColumns:
    def test_others_are_carried_through_and_play_no_part(self, table):
        chosen = [0, 2, 3, 5, 6, 7]
        other = table.copy()
        other[:, [1, 4]] = np.random.default_rng(0).normal(size=(60, 2)) ** 9
        imputer = dl.DeepLinearImputer(columns=chosen, random_state=0)
        filled = imputer.fit_transform(other)
        np.testing.assert_array_equal(filled[:, [1, 4]], other[:, [1, 4]])
        alone = dl.DeepLinearImputer(random_state=0).fit_transform(table[:, chosen])
        np.testing.assert_array_equal(filled[:, chosen], alone)
        np.testing.assert_array_equal(imputer.transform(other), filled)
        assert not imputer.validation_mask_[:, [1, 4]].any()
        assert list(imputer.column_scores_) == chosen
        for end in imputer.interval(other):
            np.testing.assert_array_equal(end[:, [1, 4]], other[:, [1, 4]])

    def test_carried_holes_and_infinities_stay(self, table):
        other = table.copy()
        other[0, 1] = np.inf
        filled = dl.DeepLinearImputer(columns=[0, 2, 3, 4], random_state=0).fit_transform(other)
        np.testing.assert_array_equal(filled[:, [1, 5, 6, 7]], other[:, [1, 5, 6, 7]])
        assert np.isfinite(filled[:, [0, 2, 3, 4]]).all()

    @pytest.mark.parametrize(
        "columns", [["a", "c"], [0, 2], [-6, -4], {"a", "c"}, np.array([0, 2])]
    )
    def test_by_name_or_position(self, table, columns):
        frame = pd.DataFrame(table[:, :6], columns=list("abcdef"))
        out = dl.complete(frame, columns=columns, random_state=0)
        assert out.isna().any().tolist() == [False, True, False, True, True, True]

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            (["z"], "columns: X has no column 'z'"),
            ([8], "columns: X has 8 columns, got position 8"),
            ([0, 0], "columns must list every column once, got 0 more than once"),
            ([1.5], r"columns must be a list of names or positions, got \[1.5\]"),
            ([], "no column of numbers or labels"),
        ],
    )
    def test_what_is_not_there(self, table, columns, message):
        frame = pd.DataFrame(table, columns=list("abcdefgh"))
        with pytest.raises(InputError, match=message):
            dl.DeepLinearImputer(columns=columns).fit(frame)

    def test_names_need_names(self, table):
        with pytest.raises(InputError, match="the columns of X have none: give positions"):
            dl.DeepLinearImputer(columns=["a"]).fit(table)

    def test_what_cannot_be_fitted_is_refused_by_name(self):
        X, _ = mixed_frame(40)
        for name, what in (("when", "dates or times"), ("note", "text")):
            with pytest.raises(InputError, match=f"columns: '{name}' holds {what}"):
                dl.DeepLinearImputer(columns=["a", "b", name]).fit(X)

    def test_categorical_by_position_in_an_array(self):
        rng = np.random.default_rng(0)
        z = rng.normal(size=(200, 2))
        X = np.column_stack([z, np.array([10.0, 20.0, 70.0])[np.digitize(z[:, 0], [-0.5, 0.5])]])
        holed = np.where(rng.random(X.shape) < 0.2, np.nan, X)
        imputer = dl.DeepLinearImputer(categorical=[2], random_state=0).fit(holed)
        filled = imputer.transform(holed)
        assert filled.dtype == np.float64
        assert set(np.unique(filled[:, 2])) == {10.0, 20.0, 70.0}
        hole = np.isnan(holed[:, 2])
        assert (filled[hole, 2] == X[hole, 2]).mean() > 0.6
        assert imputer.predict_proba(holed)[2].shape == (200, 3)
        assert set(np.unique(imputer.draws(2)[:, :, 2])) == {10.0, 20.0, 70.0}


class TestInScikitLearn:
    def test_pipelines_and_column_transformers(self):
        X, whole = mixed_frame()
        y = whole["a"] + whole["b"]
        numbers = make_column_selector(dtype_include="number")
        for imputer in (
            dl.DeepLinearImputer(strength=0.2, random_state=0),
            dl.DeepLinearImputer(columns=["a", "b", "positive"], strength=0.2, random_state=0),
        ):
            X_clean = X.drop(columns=["when", "note"]).assign(a=whole["a"], b=whole["b"])
            rest = ("rest", SimpleImputer(strategy="median"), numbers)
            labels = ("labels", OneHotEncoder(), ["color", "size"])
            both = ColumnTransformer([rest, labels], verbose_feature_names_out=False)
            model = make_pipeline(imputer.set_output(transform="pandas"), both, Ridge())
            assert model.fit(X_clean, y).score(X_clean, y) > 0.9
            clone(model).fit(X_clean, y)
        inside = ColumnTransformer(
            [("deep", dl.DeepLinearImputer(strength=0.2, random_state=0), ["a", "b", "color"])]
        )
        out = inside.set_output(transform="pandas").fit_transform(X)
        assert out.columns.tolist() == ["deep__a", "deep__b", "deep__color"]
        assert not out.isna().any().any()

    def test_a_grid_search_over_what_is_fitted(self, table):
        y = np.nan_to_num(table[:, 0])
        model = make_pipeline(dl.DeepLinearImputer(strength=0.2, random_state=0), Ridge())
        name = "deeplinearimputer__"
        grid = {f"{name}integers": ["auto", "keep"], f"{name}min_value": ["auto", None, 0.0]}
        search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(table, y)
        assert set(search.best_params_) == set(grid)

    @pytest.mark.parametrize("missing", [0, 3])
    def test_indicators_are_those_of_scikit_learn(self, table, missing):
        X = table.copy()
        X[:, 1] = 1.0 + np.arange(60) % 7
        X = X[:, missing:]
        imputer = dl.DeepLinearImputer(add_indicator=True, random_state=0)
        filled = imputer.fit_transform(X)
        indicator = MissingIndicator().fit(X)
        np.testing.assert_array_equal(filled[:, X.shape[1] :], indicator.transform(X))
        names = [f"x{j}" for j in range(X.shape[1])]
        simple = SimpleImputer(add_indicator=True).fit(X)
        assert imputer.get_feature_names_out().tolist() == simple.get_feature_names_out().tolist()
        frame = pd.DataFrame(X, columns=names)
        framed = clone(imputer).set_output(transform="pandas").fit_transform(frame)
        assert framed.columns.tolist() == simple.get_feature_names_out().tolist()
        np.testing.assert_array_equal(framed.to_numpy(float), filled)
        polar = clone(imputer).set_output(transform="polars").fit_transform(pl.from_pandas(frame))
        np.testing.assert_array_equal(polar.cast(pl.Float64).to_numpy(), filled)

    @pytest.mark.parametrize("keep", [True, False])
    def test_empty_columns(self, table, keep, tmp_path):
        X = table.copy()
        X[:, 3] = np.nan
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            imputer = dl.DeepLinearImputer(keep_empty_features=keep, random_state=0).fit(X)
        said = " ".join(str(w.message) for w in caught)
        assert ("filled from the marginals" if keep else "are dropped") in said
        filled = imputer.transform(X)
        assert filled.shape[1] == (8 if keep else 7)
        assert np.isfinite(filled).all()
        assert len(imputer.get_feature_names_out()) == filled.shape[1]
        if not keep:
            alone = dl.DeepLinearImputer(random_state=0).fit_transform(np.delete(X, 3, axis=1))
            np.testing.assert_array_equal(filled, alone)
        imputer.save(tmp_path / "m.dln")
        loaded = dl.DeepLinearImputer.load(tmp_path / "m.dln")
        np.testing.assert_array_equal(loaded.transform(X), filled)
        frame = pd.DataFrame(X, columns=list("abcdefgh"))
        framed = clone(imputer).set_output(transform="pandas").fit_transform(frame)
        np.testing.assert_array_equal(framed.to_numpy(), filled)


class TestIntegers:
    @pytest.mark.parametrize("dtype", ["Int64", "UInt8", "float64"])
    @pytest.mark.parametrize("integers", ["auto", "round", "keep"])
    def test_rounded_by_type_or_by_values_or_never(self, dtype, integers):
        rng = np.random.default_rng(0)
        z = rng.normal(size=80)
        frame = pd.DataFrame({"x": z, "y": z + 0.1 * rng.normal(size=80)})
        frame["n"] = pd.Series(np.round(20 + 5 * z)).mask(rng.random(80) < 0.3).astype(dtype)
        imputer = dl.DeepLinearImputer(integers=integers, random_state=0).fit(frame)
        filled = imputer.transform(frame)[:, 2]
        rounds = integers == "round" or (integers == "auto" and dtype != "float64")
        assert (filled == np.round(filled)).all() == rounds
        out = dl.complete(frame, integers=integers, random_state=0)["n"]
        np.testing.assert_array_equal(out.to_numpy(float), filled)
        kept = "Float64" if integers == "keep" and dtype != "float64" else dtype
        assert str(out.dtype) == kept

    def test_whole_numbers_beyond_the_type_are_cut(self):
        """A column of int8 up to its end, whose missing entries would lie beyond."""
        z = np.linspace(0, 1, 60)
        n = pl.Series(
            "n", [None if k % 7 == 0 and k > 40 else int(x) for k, x in enumerate(127 * z)]
        )
        n = n.clip(upper_bound=127).cast(pl.Int8)
        frame = pl.DataFrame({"x": z + 0.2 * (z > 0.7), "y": z**2, "n": n, "w": np.sqrt(z)})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IdColumnWarning)
            out = dl.complete(frame, max_value=1000, random_state=0)
        assert out.schema == frame.schema
        assert out["n"].null_count() == 0

    def test_large_observed_integers_are_kept_exactly(self):
        big = 2**60 + 1
        frame = pd.DataFrame({"n": pd.array([big, None, big + 2] * 10, dtype="Int64")})
        frame["x"] = np.sin(np.arange(30))
        out = dl.complete(frame, random_state=0)
        assert out["n"].tolist()[::3] == [big] * 10
        polar = dl.complete(pl.from_pandas(frame), random_state=0)
        assert polar["n"].to_list()[2::3] == [big + 2] * 10

    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
    def test_cells_of_text_that_stay_missing_are_told(self, make):
        x = np.sin(np.arange(30.0))
        notes = [None if k == 4 else f"note {k}" for k in range(30)]
        given = make({"x": x, "y": np.where(np.arange(30) == 7, np.nan, x**2), "note": notes})
        with pytest.warns(UserWarning, match=r"1 column\(s\).*first is 'note'.*1 missing cell"):
            out = dl.complete(given, random_state=0)
        assert out["note"].to_list()[4] is None or out["note"].isna().sum() == 1
        assert np.isfinite(out["y"].to_numpy()).all()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dl.complete(given, columns=["x", "y"], random_state=0)  # left out on purpose
            whole = make({"x": x, "y": x**2, "note": [f"note {k}" for k in range(30)]})
            dl.complete(whole, random_state=0)

    def test_integer_arrays_with_a_marker_stay_integer(self):
        X = np.random.default_rng(0).poisson(5, size=(40, 5))
        X[::3, 2] = -1
        out = dl.complete(X, missing_values=-1, random_state=0)
        assert out.dtype == X.dtype
        assert (out >= 0).all()


def positive(seed=0, n=80):
    """A table of concentrations: log-normal, some near 0; and which cells are hidden."""
    rng = np.random.default_rng(seed)
    X = np.exp(1.5 * rng.normal(size=(n, 2)) @ rng.normal(size=(2, 6)))
    return np.where(rng.random(X.shape) < 0.3, np.nan, X)


class TestBounds:
    @pytest.mark.parametrize("options", [{}, {"n_draws": 5}, {"center": False}, {"depth": 2}])
    def test_nothing_positive_becomes_negative(self, options):
        X = positive()
        X[:, 5] -= 3  # but for this one
        imputer = dl.DeepLinearImputer(**{"random_state": 0, **options}).fit(X)
        lo, hi = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
        low, high = np.maximum(0, lo - (hi - lo) / 2), hi + (hi - lo) / 2
        low[5], high[5] = -np.inf, np.inf
        tables = [
            imputer.transform(X),
            *imputer.interval(X),
            *imputer.draws(5),
            *imputer.draws(2, X),
        ]
        for filled in tables:
            assert (filled >= low - 1e-12).all()
            assert (filled <= high + 1e-12).all()
        free = dl.DeepLinearImputer(
            **{"random_state": 0, **options}, min_value=None, max_value=None
        )
        wild = free.fit_transform(X)
        np.testing.assert_allclose(tables[0], np.where(np.isnan(X), np.clip(wild, low, high), X))
        if "center" not in options:
            assert (wild[:, :5] < 0).any()

    def test_given_bounds(self):
        X = positive()
        hole = np.isnan(X)
        filled = dl.DeepLinearImputer(min_value=1, max_value=2, random_state=0).fit_transform(X)
        assert filled[hole].min() >= 1
        assert filled[hole].max() <= 2
        np.testing.assert_array_equal(filled[~hole], X[~hole])
        each = np.arange(6.0)
        filled = dl.DeepLinearImputer(min_value=each, max_value=each + 0.5, random_state=0)
        filled = filled.fit_transform(X)
        assert ((filled >= each) & (filled <= each + 0.5))[hole].all()
        some = [None, 100.0, "auto", None, None, None]
        filled = dl.DeepLinearImputer(min_value=some, random_state=0).fit_transform(X)
        assert (filled[hole[:, 1], 1] == 100).all()
        assert filled[hole[:, 2], 2].min() >= 0
        with pytest.raises(InputError, match="min_value must be"):
            dl.DeepLinearImputer(min_value=["low", *some[1:]]).fit(X)
        one = dl.DeepLinearImputer(
            min_value=[None, 3.0] + 4 * [None], max_value=None, random_state=0
        )
        filled = one.fit_transform(X)
        assert filled[hole[:, 1], 1].min() >= 3

    def test_callbacks_keep_to_them(self):
        X, seen = positive(), []
        dl.DeepLinearImputer(random_state=0, callback=seen.append).fit(X)
        completed = [state.complete() for state in seen if state.complete is not None]
        assert len(completed) > 5
        assert min(filled.min() for filled in completed) >= 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"min_value": 2, "max_value": 1}, "min_value must be at most max_value"),
            ({"min_value": [0, 1]}, "one bound for each of the 6 columns of X, got 2"),
            ({"max_value": [math.nan] * 6}, "max_value must not be NaN"),
            ({"max_value": ["high"] * 6}, "max_value must be"),
            ({"min_value": "low"}, "'min_value' parameter"),
            ({"min_value": 0.2, "max_value": 0.8, "integers": "round"}, "'x0' lacks"),
        ],
    )
    def test_bad_ones(self, options, message):
        X = np.round(positive()) if "integers" in options else positive()
        with pytest.raises(InputError, match=message):
            dl.DeepLinearImputer(**options).fit(X)


class TestScores:
    def test_they_are_those_of_the_held_out_cells(self, table):
        """Measured on a second imputer that is not given these cells."""
        options = {"strength": 0.1, "min_value": None, "max_value": None, "random_state": 1}
        imputer = dl.DeepLinearImputer(3, **options, validation_fraction=0.3).fit(table)
        hidden = np.where(imputer.validation_mask_, np.nan, table)
        again = dl.DeepLinearImputer(3, **options, validation_fraction=0).fit_transform(hidden)
        scores = list(imputer.column_scores_.values())
        assert [score.name for score in scores] == [f"x{j}" for j in range(8)]
        for j, score in enumerate(scores):
            mine = imputer.validation_mask_[:, j]
            gap = (again - table)[mine, j]
            assert score.count == mine.sum()
            assert score.rmse == pytest.approx(np.sqrt(np.mean(gap**2)), rel=0.25)
            variance = np.mean((table[mine, j] - np.nanmean(hidden[:, j])) ** 2)
            assert score.r2 == pytest.approx(1 - score.rmse**2 / variance, rel=1e-9)
            assert math.isnan(score.accuracy)
            assert math.isnan(score.log_loss)
        total = sum(score.count * score.rmse**2 for score in scores)
        assert np.sqrt(total / imputer.validation_mask_.sum()) == pytest.approx(
            imputer.validation_score_, rel=1e-9
        )

    def test_of_labels(self):
        X, whole = mixed_frame()
        imputer = dl.DeepLinearImputer(random_state=0, validation_fraction=0.3).fit(X)
        hidden = X.copy()
        for j, name in enumerate(X.columns):
            hidden.loc[imputer.validation_mask_[:, j], name] = pd.NA
        other = dl.DeepLinearImputer(
            imputer.depth_, strength=imputer.strength_, random_state=0, validation_fraction=0
        ).fit(hidden)
        guess, p = dl.DeepLinearImputer.completed_like(other, hidden), other.predict_proba(hidden)
        for name in ("flag", "color", "size"):
            score = imputer.column_scores_[name]
            mine = imputer.validation_mask_[:, X.columns.get_loc(name)]
            assert score.count == mine.sum()
            right = (guess[name] == whole[name])[mine].mean()
            assert score.accuracy == pytest.approx(right, abs=0.12)
            assert math.isnan(score.rmse)
            share = X[name].value_counts(normalize=True)
            assert score.log_loss < -(share * np.log(share.where(share > 0, 1))).sum()
            assert p[name].shape[0] == len(X)

    def test_without_held_out_cells(self, table):
        imputer = dl.DeepLinearImputer(2, strength=0.2, validation_fraction=0).fit(table)
        assert math.isnan(imputer.standardized_score_)
        assert all(score.count == 0 for score in imputer.column_scores_.values())
        assert all(math.isnan(score.rmse) for score in imputer.column_scores_.values())

    @pytest.mark.parametrize("power", [-9, -3, 3, 6, 12])
    def test_the_unit_of_a_column_changes_no_choice(self, table, power):
        options = {"depth": (2, 3, math.inf), "random_state": 0}
        plain = dl.DeepLinearImputer(**options).fit(table)
        units = np.ones(8)
        units[2] = 10.0**power
        other = dl.DeepLinearImputer(**options).fit(table * units)
        assert (other.depth_, other.strength_) == (plain.depth_, plain.strength_)
        assert other.standardized_score_ == pytest.approx(plain.standardized_score_, rel=1e-4)
        for j, (mine, theirs) in enumerate(
            zip(other.column_scores_.values(), plain.column_scores_.values(), strict=True)
        ):
            assert mine.rmse / units[j] == pytest.approx(theirs.rmse, rel=1e-4)
            assert mine.r2 == pytest.approx(theirs.r2, rel=1e-4)

    def test_the_standardized_score_is_in_the_units_of_the_trials(self, table):
        imputer = dl.DeepLinearImputer(random_state=0).fit(table)
        best = min(trial.validation_rmse for trial in imputer.trials_)
        assert imputer.standardized_score_ == pytest.approx(best, rel=0.2)


class TestIds:
    def test_one_warning_lists_all(self, table):
        frame = pd.DataFrame(table[:, :5], columns=list("abcde"))
        rng = np.random.default_rng(0)
        frame["id"] = rng.permutation(60) + 1
        frame["second"] = np.cumsum(rng.random(60))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            dl.DeepLinearImputer(random_state=0).fit(frame)
        told = [str(w.message) for w in caught if w.category is IdColumnWarning]
        assert len(told) == 1
        assert "'id' (whole numbers that do not repeat)" in told[0]
        assert "'second' (increases from row to row)" in told[0]
        assert "columns" in told[0]
        with warnings.catch_warnings():
            warnings.simplefilter("error", IdColumnWarning)
            dl.DeepLinearImputer(columns=list("abcde"), random_state=0).fit(frame)

    def test_in_a_mixed_frame_only_numbers_are_looked_at(self):
        X, _ = mixed_frame(60)
        X["key"] = np.arange(60) + 1000
        with pytest.warns(IdColumnWarning, match="'key'"):
            dl.DeepLinearImputer(random_state=0).fit(X)
