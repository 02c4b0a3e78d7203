"""The imputer on tables of numbers, labels, booleans, dates and text."""

import decimal
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mixed_tables import labelled, mixed_frame
from sklearn.base import clone
from strategies import rng_of, tables

import deeplinear as dl
from deeplinear.errors import EmptyLineWarning, InputError

FITTED = ["a", "b", "positive", "c", "count", "flag", "color", "size"]
LABELS = ["flag", "color", "size"]


pytestmark = pytest.mark.usefixtures("quiet_fits", "quiet_empty_lines")


@pytest.fixture(scope="module")
def frames():
    return mixed_frame()


@pytest.fixture(scope="module")
def fitted(frames):
    return dl.DeepLinearImputer(random_state=0).fit(frames[0])


class TestFrames:
    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_types_names_and_observed_cells_stay(self, frames, library):
        X = frames[0] if library == "pandas" else pl.from_pandas(frames[0])
        out = dl.complete(X, random_state=0)
        assert type(out) is type(X)
        if library == "pandas":
            pd.testing.assert_series_equal(out.dtypes, X.dtypes)
            pd.testing.assert_index_equal(out.index, X.index)
            pd.testing.assert_frame_equal(out[["when", "note"]], X[["when", "note"]])
            assert not out[FITTED].isna().any().any()
            for name in FITTED:
                seen = X[name].notna()
                pd.testing.assert_series_equal(out.loc[seen, name], X.loc[seen, name])
        else:
            assert out.schema == X.schema
            assert out.select("when", "note").equals(X.select("when", "note"))
            assert not any(out.select(FITTED).null_count().row(0))
            for name in FITTED:
                seen = X[name].is_not_null()
                assert out[name].filter(seen).equals(X[name].filter(seen))

    def test_both_libraries_give_the_same_values(self, frames):
        here = dl.complete(frames[0], random_state=0)
        sizes = pl.col("size").cast(pl.Enum(["S", "M", "L", "XL"]))  # labels in the same order
        there = dl.complete(pl.from_pandas(frames[0]).with_columns(sizes), random_state=0)
        for name in FITTED:
            assert here[name].tolist() == there[name].to_list()

    def test_labels_are_decided_better_than_by_the_most_frequent_one(self, frames, fitted):
        X, whole = frames
        out = dl.complete(X, random_state=0)
        for name in LABELS:
            hole = X[name].isna()
            right = (out[name] == whole[name])[hole].mean()
            most = whole[name][hole].value_counts(normalize=True).max()
            assert right > most + 0.15, name

    def test_numbers_gain_from_labels(self, frames):
        """A number that only labels tell about."""
        rng = np.random.default_rng(0)
        label = rng.choice(["low", "middle", "high"], 300)
        y = np.select([label == "low", label == "high"], [-3.0, 3.0], 0.0) + rng.normal(size=300)
        hidden = rng.random(300) < 0.3
        X = pd.DataFrame(
            {"y": np.where(hidden, np.nan, y), "label": label, "z": rng.normal(size=300)}
        )
        error = (dl.complete(X, random_state=0)["y"] - y)[hidden]
        assert np.sqrt(np.mean(error**2)) < 0.65 * y.std()

    def test_without_set_output_an_array_of_objects(self, frames, fitted):
        X, _ = frames
        out = fitted.transform(X)
        assert out.dtype == object
        assert out.shape == X.shape
        pandas = dl.complete(X, random_state=0)
        for j, name in enumerate(FITTED):
            assert out[:, j].tolist() == pandas[name].tolist()
        assert fitted.get_feature_names_out().tolist() == list(X.columns)

    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_set_output_of_either_library(self, frames, fitted, library):
        X, _ = frames
        imputer = clone(fitted).set_output(transform=library)
        out = imputer.fit_transform(X)
        again = imputer.transform(X)
        if library == "pandas":
            pd.testing.assert_frame_equal(out, dl.complete(X, random_state=0))
            pd.testing.assert_frame_equal(again, out)
        else:
            assert out["count"].dtype == pl.Int64
            assert out["flag"].dtype == pl.Boolean
            assert again.equals(out)

    def test_new_rows(self, frames, fitted):
        X, _ = frames
        new = X.iloc[:7]
        out = fitted.transform(new)
        whole = fitted.transform(X)
        assert (out[:, 4:8] == whole[:7, 4:8]).all()
        np.testing.assert_allclose(out[:, :4].astype(float), whole[:7, :4].astype(float), rtol=1e-8)

    def test_pickles_clones_and_files(self, frames, fitted, tmp_path):
        X, _ = frames
        fitted.save(tmp_path / "m.dln")
        loaded = dl.DeepLinearImputer.load(tmp_path / "m.dln")
        expected = pd.DataFrame(fitted.transform(X))
        for other in (loaded, pickle.loads(pickle.dumps(fitted)), clone(fitted).fit(X)):
            pd.testing.assert_frame_equal(pd.DataFrame(other.transform(X)), expected)
            for name, p in fitted.predict_proba(X).items():
                np.testing.assert_array_equal(other.predict_proba(X)[name], p)
            np.testing.assert_array_equal(other.interval(X), fitted.interval(X))
            np.testing.assert_array_equal(other.draws(2, X), fitted.draws(2, X))
            assert other.features_ == fitted.features_
            assert repr(other.column_scores_) == repr(fitted.column_scores_)
            assert other.standardized_score_ == fitted.standardized_score_
            assert other.get_feature_names_out().tolist() == list(X.columns)

    def test_intervals_deviations_and_draws_are_numbers(self, frames, fitted):
        X, _ = frames
        low, high = fitted.interval(X)
        out, tables, deviation = (
            dl.complete(X, random_state=0),
            fitted.draws(20, X),
            fitted.predict_std(X),
        )
        assert low.shape == high.shape == deviation.shape == tables.shape[1:] == X.shape
        for j, name in enumerate(FITTED[:5]):
            hole = X[name].isna().to_numpy()
            filled = out[name].to_numpy(float)
            assert (low[:, j] <= filled + 1e-9).all()
            assert (filled <= high[:, j] + 1e-9).all()
            assert (deviation[hole, j] > 0).all()
            assert (deviation[~hole, j] == 0).all()
        for j, name in enumerate(FITTED[5:], 5):
            hole = X[name].isna().to_numpy()
            assert np.isnan(low[hole, j]).all()
            assert np.isnan(deviation[hole, j]).all()
            assert np.isfinite(low[~hole, j]).all()
            assert set(np.unique(tables[:, :, j])) <= {0.0, 1.0, 2.0}
        assert (tables[:, :, 2] >= 0).all()
        assert (low[:, 2] >= 0).all()
        assert (tables[:, :, 4] == np.round(tables[:, :, 4])).all()
        assert np.isnan(tables[:, :, 8:]).all()

    def test_draws_of_labels_follow_their_probabilities(self, frames, fitted):
        X, _ = frames
        tables, p = fitted.draws(400, X, random_state=0), fitted.predict_proba(X)["color"]
        share = np.stack([(tables[:, :, 6] == code).mean(axis=0) for code in range(3)], axis=1)
        error = np.sqrt(p * (1 - p) / 400)
        assert (np.abs(share - p) <= 5 * error + 1e-9).all()

    def test_draws_of_the_table_of_the_fit(self, frames, fitted):
        X, _ = frames
        own, given_ = fitted.draws(1, random_state=0)[0], fitted.draws(1, X, random_state=0)[0]
        np.testing.assert_allclose(own[:, :8], given_[:, :8], atol=1e-9)


class TestProbabilities:
    def test_are_laws_and_certain_of_what_is_observed(self, frames, fitted):
        X, _ = frames
        found = fitted.predict_proba(X)
        assert list(found) == LABELS
        for name, labels in {
            "color": ["blue", "green", "red"],
            "size": ["S", "M", "L", "XL"],
        }.items():
            p = found[name]
            assert p.shape == (len(X), len(labels))
            assert (p >= 0).all()
            np.testing.assert_allclose(p.sum(axis=1), 1)
            seen = X[name].notna().to_numpy()
            at = [labels.index(x) for x in X[name][seen]]
            assert (p[seen, at] == 1).all()
            decided = dl.complete(X, random_state=0)[name].tolist()
            assert [labels[k] for k in p.argmax(axis=1)] == decided
        assert (found["size"][:, 3] == 0).all()  # a label that never occurs

    @pytest.mark.parametrize("name", LABELS)
    def test_log_loss_beats_that_of_the_frequencies(self, frames, fitted, name):
        X, whole = frames
        hole = X[name].isna().to_numpy()
        feature = next(f for f in fitted.features_ if f.name == name)
        truth = np.array([feature.categories.index(x) for x in whole[name]])
        p = fitted.predict_proba(X)[name][hole, truth[hole]]
        share = X[name].value_counts(normalize=True)
        marginal = np.array([share[x] for x in whole[name][hole]])
        assert -np.log(p).mean() < -np.log(marginal).mean() - 0.2

    def test_they_are_calibrated(self):
        """Among cells that are given p, a part p has the label: labels drawn from known odds."""
        rng = np.random.default_rng(1)
        n = 4000
        z = rng.normal(size=(n, 1))
        X = z + 0.3 * rng.normal(size=(n, 6))
        label = rng.random(n) < 1 / (1 + np.exp(-2 * z[:, 0] + 0.5))
        hidden = rng.random(n) < 0.5
        frame = pd.DataFrame(X).add_prefix("x")
        frame["y"] = pd.array(label, dtype="boolean")
        frame.loc[hidden, "y"] = pd.NA
        imputer = dl.DeepLinearImputer(2, random_state=0).fit(frame)
        p = imputer.predict_proba(frame)["y"][hidden, 1]
        for low in np.arange(0, 1, 0.2):
            mine = (p >= low) & (p < low + 0.2)
            error = np.sqrt(0.25 / mine.sum())
            assert abs(label[hidden][mine].mean() - p[mine].mean()) < 3 * error + 0.05

    def test_no_indicator_leaks_into_the_score(self):
        """Labels that nothing tells about: no better than guessing by the frequencies."""
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(400, 4))).add_prefix("x")
        frame["label"] = rng.choice(list("abcd"), 400)
        imputer = dl.DeepLinearImputer(2, random_state=0, validation_fraction=0.3).fit(frame)
        score = imputer.column_scores_["label"]
        assert score.count > 80
        assert abs(score.log_loss - np.log(4)) < 0.1
        assert score.accuracy < 0.45

    def test_all_indicators_of_a_cell_are_held_out_together(self, frames, fitted):
        X, _ = frames
        mask = fitted.validation_mask_
        assert mask.shape == X.shape
        observed = X.notna().to_numpy()
        observed[:, 8:] = False
        assert (observed | ~mask).all()
        assert mask.sum() == round(0.1 * observed.sum())
        counts = [score.count for score in fitted.column_scores_.values()]
        assert counts == mask[:, :8].sum(axis=0).tolist()

    def test_they_are_only_there_for_labels(self):
        X = np.random.default_rng(0).normal(size=(30, 4))
        assert not hasattr(dl.DeepLinearImputer(random_state=0).fit(X), "predict_proba")

    @pytest.mark.parametrize("labels", [("no", "yes"), (3.0, 7.0, 9.0)])
    def test_a_category_counts_as_one_column(self, labels):
        """Its columns have the fourth-moment size of one together."""
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.normal(size=(100, 3))).add_prefix("x")
        frame["label"] = rng.choice(labels, 100)
        imputer = dl.DeepLinearImputer(2, random_state=0, categorical=["label"]).fit(frame)
        each = np.array([[x == label for label in labels] for x in frame["label"]], float)
        if len(labels) == 2:
            each = each[:, 1:]
        scaled = (each - each.mean(axis=0)) / imputer._scaler.scale[3:]
        assert np.mean(np.sum(scaled**2, axis=1) ** 2) == pytest.approx(1)


class TestCarriedThrough:
    def test_dates_text_and_other_objects_are_untouched(self):
        rng = np.random.default_rng(0)
        n = 40
        frame = pd.DataFrame({"x": rng.normal(size=n), "y": rng.normal(size=n)})
        frame.loc[3, "x"] = np.nan
        frame["date"] = pd.date_range("2020", periods=n, tz="UTC")
        frame["delta"] = pd.timedelta_range("1D", periods=n)
        frame["period"] = pd.period_range("2020", periods=n, freq="D")
        frame["complex"] = 1j * np.arange(n)
        frame["nested"] = [[i, i] for i in range(n)]
        frame["text"] = [f"{i} words" for i in range(n)]
        out = dl.complete(frame, random_state=0)
        pd.testing.assert_frame_equal(out.drop(columns="x"), frame.drop(columns="x"))
        assert out["x"].notna().all()

    def test_an_empty_column_of_labels_stays_empty_and_is_told(self):
        frame = pd.DataFrame({"x": [1.0, None, 3.0], "s": pd.array([None] * 3, dtype="str")})
        with pytest.warns(EmptyLineWarning, match="'s' of text has no observed entry"):
            out = dl.complete(frame, strength=0.1, random_state=0)
        assert out["s"].isna().all()

    def test_polars_structs_and_lists(self):
        n = 30
        frame = pl.DataFrame({"x": [1.0, None, 2.0] * 10, "y": np.sin(np.arange(n))}).with_columns(
            list=pl.Series([[i] for i in range(n)]),
            struct=pl.Series([{"i": i} for i in range(n)]),
            date=pl.Series(pd.date_range("2020", periods=n).to_list()).cast(pl.Date),
        )
        out = dl.complete(frame, random_state=0)
        assert out.schema == frame.schema
        assert out.drop("x").equals(frame.drop("x"))


class TestRefusals:
    @pytest.mark.parametrize(
        ("column", "message"),
        [
            ([1.0, "n/a", 2.0] * 10, r"'s' mixes numbers and text, as 'n/a'.*missing_values='n/a'"),
            ([f"{x:.3f}" for x in np.linspace(0, 1, 30)], "'s' holds numbers written as text"),
            ([f"{x:.3f}".replace(".", ",") for x in np.linspace(0, 1, 30)], "written as text"),
            ([f"{x:.3f}" for x in range(20)] + ["-"] * 10, "'s' holds numbers written as text"),
        ],
    )
    @pytest.mark.parametrize("kind", ["pandas", "array"])
    def test_of_columns(self, column, message, kind):
        frame = pd.DataFrame({"x": np.sin(np.arange(30)), "s": pd.Series(column, dtype=object)})
        X = frame if kind == "pandas" else frame.to_numpy(dtype=object)
        message = message if kind == "pandas" else message.replace("'s'", "'x1'")
        with pytest.raises(InputError, match=message):
            dl.DeepLinearImputer().fit(X)
        dl.DeepLinearImputer(columns=[0], random_state=0).fit(X)

    def test_a_word_for_missing(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(30, 4))
        X[rng.random(X.shape) < 0.2] = np.nan
        words = X.astype(object)
        words[np.isnan(X)] = "n/a"
        expected = dl.DeepLinearImputer(random_state=0).fit_transform(X)
        for table in (words, pd.DataFrame(words)):
            filled = dl.DeepLinearImputer(random_state=0, missing_values="n/a").fit_transform(table)
            np.testing.assert_array_equal(filled, expected)

    def test_new_rows_with_other_columns(self, frames, fitted):
        X, _ = frames
        strange = X.copy()
        strange["color"] = strange["color"].replace("red", "pink")
        with pytest.raises(InputError, match=r"'color' has \d+ label\(s\).*the first 'pink'"):
            fitted.transform(strange)
        with pytest.raises(InputError, match="'a' must hold numbers, as in the fit, got text"):
            fitted.transform(X.assign(a="word"))
        with pytest.raises(InputError, match="feature names"):
            fitted.transform(X[X.columns[::-1]])

    def test_two_columns_of_one_name(self):
        frame = pd.DataFrame(np.eye(4), columns=["a", "b", "a", "c"])
        with pytest.raises(InputError, match="X has 2 columns 'a'"):
            dl.DeepLinearImputer().fit(frame)


class TestMissing:
    @pytest.mark.parametrize("mark", [None, np.nan, pd.NA, pd.NaT])
    @pytest.mark.parametrize("missing_values", [np.nan, None, pd.NA])
    def test_marks_in_objects(self, mark, missing_values):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(30, 4))
        X[rng.random(X.shape) < 0.2] = np.nan
        expected = dl.DeepLinearImputer(random_state=0).fit_transform(X)
        objects = X.astype(object)
        objects[np.isnan(X)] = mark
        imputer = dl.DeepLinearImputer(random_state=0, missing_values=missing_values)
        for table in (X, objects, pd.DataFrame(objects), pd.DataFrame(X).astype("Float64")):
            np.testing.assert_array_equal(imputer.fit_transform(table), expected)

    def test_masked_entries(self):
        X = np.random.default_rng(0).normal(size=(30, 4))
        mask = np.random.default_rng(1).random(X.shape) < 0.2
        expected = dl.DeepLinearImputer(random_state=0).fit_transform(np.where(mask, np.nan, X))
        masked = dl.DeepLinearImputer(random_state=0).fit_transform(np.ma.array(X, mask=mask))
        np.testing.assert_array_equal(masked, expected)

    def test_decimals_are_numbers(self):
        column = [None if i % 5 == 0 else decimal.Decimal(i % 7) / 3 for i in range(30)]
        frame = pd.DataFrame({"x": np.sin(np.arange(30)), "d": column})
        out = dl.complete(frame, random_state=0)["d"]
        assert out.notna().all()
        assert out[1] == decimal.Decimal(1) / 3


class TestCoded:
    @staticmethod
    def table(seed=0):
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(150, 2))
        labels = np.searchsorted([-0.5, 0.5], z[:, 0]).astype(float)
        values = np.column_stack(
            [z + 0.1 * rng.normal(size=z.shape), labels, np.round(3 * z[:, 1])]
        )
        values[rng.random(values.shape) < 0.2] = np.nan
        return dl.CodedTable(
            values,
            (
                dl.Feature("a"),
                dl.Feature("b"),
                dl.Feature("kind", dl.FeatureKind.category, ("x", "y", "w")),
                dl.Feature("n", dl.FeatureKind.integer),
            ),
        )

    def test_floats_in_the_same_space(self):
        table = self.table()
        imputer = dl.DeepLinearImputer(random_state=0).fit(table)
        filled, seen = imputer.transform(table), ~np.isnan(table.values)
        assert filled.dtype == np.float64
        np.testing.assert_array_equal(filled[seen], table.values[seen])
        assert set(np.unique(filled[:, 2])) == {0.0, 1.0, 2.0}
        assert (filled[:, 3] == np.round(filled[:, 3])).all()
        assert imputer.get_feature_names_out().tolist() == ["a", "b", "kind", "n"]
        assert list(imputer.predict_proba(table)) == ["kind"]
        low, _ = imputer.interval(table)
        assert (np.nan_to_num(low[:, [0, 1, 3]]) <= filled[:, [0, 1, 3]]).all()
        assert (low[:, 3] == np.round(low[:, 3])).all()
        drawn = imputer.draws(3, table)
        np.testing.assert_array_equal(
            drawn[:, seen], np.broadcast_to(table.values[seen], (3, seen.sum()))
        )
        done = dl.complete(table, random_state=0)
        assert done.features == table.features
        np.testing.assert_array_equal(done.values, filled)

    def test_as_a_frame_with_the_same_labels(self):
        table = self.table()
        frame = pd.DataFrame(table.values, columns=["a", "b", "kind", "n"])
        frame["kind"] = pd.Categorical.from_codes(
            frame["kind"].fillna(-1).astype(int), categories=["x", "y", "w"]
        )
        frame["n"] = frame["n"].astype("Int64")
        out = dl.complete(frame, random_state=0)
        filled = dl.complete(table, random_state=0).values
        np.testing.assert_array_equal(out["kind"].cat.codes, filled[:, 2])
        np.testing.assert_array_equal(
            out.drop(columns="kind").to_numpy(float), filled[:, [0, 1, 3]]
        )

    def test_other_labels_and_bad_codes_are_refused(self):
        table = self.table()
        imputer = dl.DeepLinearImputer(random_state=0).fit(table)
        features = list(table.features)
        features[2] = dl.Feature("kind", dl.FeatureKind.category, ("x", "w", "y"))
        with pytest.raises(InputError, match="'kind' with the labels of the fit"):
            imputer.transform(dl.CodedTable(table.values, tuple(features)))
        features[2] = dl.Feature("kind", dl.FeatureKind.category, ("x", "w"))
        with pytest.raises(InputError, match="must hold codes from 0 to 1"):
            dl.DeepLinearImputer().fit(dl.CodedTable(table.values, tuple(features)))
        with pytest.raises(InputError, match="one feature for each column of its values, got 3"):
            dl.DeepLinearImputer().fit(dl.CodedTable(table.values, table.features[:3]))

    def test_a_category_without_entries_stays_empty(self):
        table = self.table()
        values = table.values.copy()
        values[:, 2] = np.nan
        filled = dl.complete(dl.CodedTable(values, table.features), random_state=0).values
        assert np.isnan(filled[:, 2]).all()
        assert np.isfinite(filled[:, [0, 1, 3]]).all()


COLUMNS = {
    "float": lambda rng, n: pd.Series(rng.normal(size=n)),
    "float32": lambda rng, n: pd.Series(rng.normal(size=n).astype(np.float32)),
    "Int64": lambda rng, n: pd.Series(rng.integers(-9, 9, n)).astype("Int64"),
    "UInt8": lambda rng, n: pd.Series(rng.integers(0, 256, n)).astype("UInt8"),
    "boolean": lambda rng, n: pd.Series(rng.random(n) < 0.4).astype("boolean"),
    "category": lambda rng, n: pd.Series(pd.Categorical(rng.choice(list("pqr"), n))),
    "numbers as category": lambda rng, n: pd.Series(pd.Categorical(rng.choice([1, 5], n))),
    "str": lambda rng, n: pd.Series(labelled(rng.normal(size=n), ["u", "v"]), dtype="str"),
    "objects": lambda rng, n: pd.Series(rng.choice([True, False], n).astype(object)),
}
CARRIED = {
    "date": lambda rng, n: pd.Series(pd.date_range("2000", periods=n)),
    "text": lambda rng, n: pd.Series([f"sentence {k}" for k in rng.integers(0, 10**6, n)]),
}


@settings(max_examples=25)
@given(tables(COLUMNS, CARRIED), rng_of(), st.booleans())
def test_random_frames_come_back_complete_and_otherwise_as_they_were(drawn, rng, polars):
    (kinds, carried), n = drawn, 40
    assume(not polars or set(kinds) != {"objects"})  # polars has none: nothing would be left
    made = [COLUMNS[kind](rng, n) for kind in kinds] + [CARRIED[kind](rng, n) for kind in carried]
    frame = pd.concat(made, axis=1, keys=[f"c{j}" for j in range(len(made))])
    for j in range(frame.shape[1]):
        frame.iloc[rng.random(n) < 0.2, j] = pd.NA if frame.dtypes.iloc[j].kind != "M" else pd.NaT
    frame.iloc[0, : len(kinds)] = [column.iloc[0] for column in made[: len(kinds)]]
    if polars:
        frame = frame.drop(columns=[c for c in frame if frame[c].dtype == object])
        before = pl.from_pandas(frame)
        out = dl.complete(before, 2, strength=0.2, random_state=0)
        assert out.schema == before.schema
        out, frame = out.to_pandas(), before.to_pandas()
    else:
        out = dl.complete(frame, 2, strength=0.2, random_state=0)
        pd.testing.assert_series_equal(out.dtypes, frame.dtypes)
    for j, name in enumerate(frame.columns):
        seen = frame[name].notna()
        assert out[name][seen].tolist() == frame[name][seen].tolist()
        assert out[name].notna().all() or int(name[1:]) >= len(kinds), (j, name)
