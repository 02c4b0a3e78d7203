"""`DeepMatrixCompletion` with features of rows and columns."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_matrix
from sklearn.model_selection import GridSearchCV

import deeplinear as dl
from deeplinear.errors import EmptyLineWarning, InputError
from deeplinear.scores import root_mean_square

pytestmark = pytest.mark.usefixtures("quiet_fits", "quiet_empty_lines")
NOISE = 0.3


@dataclass
class Made:
    """Entries whose factors features explain in part, and others that are held back."""

    rows: pd.DataFrame
    cols: pd.DataFrame
    train: tuple
    tests: dict  # name → (rows, cols, values without noise, values)

    @property
    def features(self):
        return {"row_features": self.rows, "col_features": self.cols}

    def shuffled(self, rng):
        return {
            name: frame.assign(**{frame.columns[0]: rng.permutation(frame.iloc[:, 0])})
            for name, frame in self.features.items()
        }

    def errors(self, model, **given):
        return {
            name: root_mean_square(model.predict(r, c, **given) - truth)
            for name, (r, c, truth, _) in self.tests.items()
        }


def made(explained, m=240, n=160, rank=3, density=0.08, seed=0):
    rng = np.random.default_rng(seed)

    def side(count, f=6):
        X = rng.normal(size=(count, f))
        signal = X @ rng.normal(size=(f, rank + 1)) / np.sqrt(f)
        return X, np.sqrt(explained) * signal + np.sqrt(1 - explained) * rng.normal(
            size=signal.shape
        )

    (X, P), (Y, Q) = side(m), side(n)
    truth = 3 + P[:, :rank] @ Q[:, :rank].T + P[:, -1:] + Q[:, -1]
    values = truth + NOISE * rng.normal(size=truth.shape)
    cold_row, cold_col = np.arange(m) % 8 == 3, np.arange(n) % 8 == 5
    seen = (rng.random((m, n)) < density) & ~cold_row[:, None] & ~cold_col
    warm = (rng.random((m, n)) < density) & ~seen & ~cold_row[:, None] & ~cold_col
    masks = {
        "warm": warm,
        "cold rows": cold_row[:, None] & ~cold_col,
        "cold columns": ~cold_row[:, None] & cold_col,
        "both": cold_row[:, None] & cold_col,
    }
    row_ids, col_ids = 1000 + np.arange(m), np.array([f"i{j}" for j in range(n)], object)

    def listed(mask):
        i, j = np.nonzero(mask)
        return row_ids[i], col_ids[j], truth[i, j], values[i, j]

    def frame(name, ids, F):
        return pd.DataFrame({name: ids} | {f"f{k}": x for k, x in enumerate(F.T)})

    users, items, _, x = listed(seen)
    return Made(
        frame("user", row_ids, X),
        frame("item", col_ids, Y),
        (users, items, x),
        {name: listed(mask) for name, mask in masks.items()},
    )


def model(**options):
    return dl.DeepMatrixCompletion(depth=2, max_rank=6, random_state=0, **options)


@pytest.fixture(scope="module")
def data():
    return made(0.8)


@pytest.fixture(scope="module")
def fitted(data):
    return model().fit(data.train, **data.features)


class TestGains:
    def test_features_that_explain_most_help_warm_and_cold(self, data, fitted):
        plain, with_features = data.errors(model().fit(data.train)), data.errors(fitted)
        assert with_features["warm"] < 0.85 * plain["warm"]
        for kind in ("cold rows", "cold columns", "both"):
            assert with_features[kind] < 0.75 * plain[kind]
        assert fitted.features_.sweeps > 0
        assert min(fitted.features_.shares) > 0.5
        assert fitted.features_.after < fitted.features_.before
        assert np.isclose(fitted.validation_score_, fitted.features_.after, rtol=1e-3)

    def test_features_that_explain_all_leave_cold_rows_near_the_truth(self):
        full = made(1.0)
        found = full.errors(model().fit(full.train, **full.features))
        spread = root_mean_square(full.tests["both"][2] - full.tests["both"][2].mean())
        assert found["both"] < 0.45 * spread

    def test_shuffled_features_change_nothing(self, data):
        plain = model().fit(data.train)
        for seed in range(2):
            other = model().fit(data.train, **data.shuffled(np.random.default_rng(seed)))
            assert max(other.features_.shares) <= 0.3
            allowed = 2 * other.features_.standard_error + 0.01 * plain.validation_score_
            assert other.validation_score_ <= plain.validation_score_ + 1e-6
            for name, error in data.errors(other).items():
                assert error <= data.errors(plain)[name] * 1.02 + allowed

    def test_one_side_alone(self, data):
        plain = data.errors(model().fit(data.train))
        found = model().fit(data.train, row_features=data.rows)
        assert found.features_.shares[1] == 0
        assert data.errors(found)["cold rows"] < 0.85 * plain["cold rows"]

    def test_more_features_than_rows(self, data):
        rng = np.random.default_rng(0)
        X = np.hstack([data.rows.iloc[:, 1:], rng.normal(size=(len(data.rows), 1500))])
        found = model().fit(data.train, row_features=(data.rows["user"], X))
        assert data.errors(found)["warm"] <= 1.02 * data.errors(model().fit(data.train))["warm"]


class TestIntervals:
    def test_intervals_cover_also_cold_lines(self):
        """On the mean of four sets: few lines are held out, and the entries of one err together."""
        found = []
        for seed in range(4):
            one = made(0.7, seed=seed)
            fitted = model().fit(one.train, **one.features)
            ends = {name: fitted.interval(r, c) for name, (r, c, _, _) in one.tests.items()}
            found.append(
                [
                    np.mean((ends[name][0] <= x) & (x <= ends[name][1]))
                    for name, (_, _, _, x) in one.tests.items()
                ]
            )
        assert (np.abs(np.mean(found, axis=0) - 0.9) < 0.05).all()

    def test_cold_lines_are_less_sure(self, data, fitted):
        r, c, _, _ = data.tests["warm"]
        assert (fitted.predict_std(r, c) > NOISE / 2).all()
        widths = {
            name: np.mean(np.subtract(*fitted.interval(r, c)[::-1]))
            for name, (r, c, _, _) in data.tests.items()
        }
        assert widths["warm"] < widths["cold rows"] < widths["both"]


class TestForms:
    def test_frames_indexes_tuples_and_polars_agree(self, data, fitted):
        r, c, _, _ = data.tests["both"]
        expected = fitted.predict(r, c)
        forms = [
            (data.rows.set_index("user"), data.cols.set_index("item")),
            (pl.from_pandas(data.rows), pl.from_pandas(data.cols)),
            tuple(
                (x.iloc[:, 0].to_numpy(), x.iloc[:, 1:].to_numpy()) for x in (data.rows, data.cols)
            ),
        ]
        for rows, cols in forms:
            found = model().fit(data.train, row_features=rows, col_features=cols)
            np.testing.assert_allclose(found.predict(r, c), expected, rtol=1e-9)

    def test_ids_that_come_later(self, data, fitted):
        cold = data.rows["user"].isin(data.tests["cold rows"][0])
        early = model().fit(data.train, row_features=data.rows[~cold], col_features=data.cols)
        r, c, truth, _ = data.tests["cold rows"]
        later = early.predict(r, c, row_features=data.rows[cold])
        assert root_mean_square(later - truth) < 0.8 * root_mean_square(early.predict(r, c) - truth)
        low, high = early.interval(r, c, row_features=data.rows[cold])
        assert (low < later).all()
        assert (later < high).all()

    def test_a_matrix_has_features_by_position(self, data):
        users, items, x = data.train
        codes = users - 1000, np.array([int(i[1:]) for i in items])
        X = csr_matrix((x, codes), shape=(240, 160))
        found = model().fit(X, row_features=data.rows.iloc[:, 1:].to_numpy())
        cold = np.flatnonzero(np.bincount(codes[0], minlength=240) == 0)
        whole = found.complete()
        assert whole.shape == (240, 160)
        cols = np.unique(codes[1])[:5]
        expected = found.predict(np.repeat(cold[:3], 5), np.tile(cols, 3)).reshape(3, 5)
        np.testing.assert_allclose(whole[np.ix_(cold[:3], cols)], expected)
        assert np.ptp(expected[:, 0]) > 0  # not the average line

    def test_model_files(self, data, fitted, tmp_path):
        fitted.save(tmp_path / "m.dln")
        again = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
        for r, c, _, _ in data.tests.values():
            np.testing.assert_array_equal(again.predict(r, c), fitted.predict(r, c))
            np.testing.assert_array_equal(again.interval(r, c), fitted.interval(r, c))
        assert again.features_.shares == fitted.features_.shares
        new = data.rows.iloc[[3]].assign(user=-5)
        r, c = [-5], ["i0"]
        np.testing.assert_array_equal(
            again.predict(r, c, row_features=new), fitted.predict([1003], c)
        )

    def test_recommendations_for_cold_rows(self, data, fitted):
        cold = np.unique(data.tests["cold rows"][0])[:4]
        found, scores = fitted.recommend(cold, 5)
        assert len({tuple(line) for line in found}) > 1
        np.testing.assert_allclose(
            scores.ravel(), fitted.predict(np.repeat(cold, 5), found.ravel()), rtol=1e-6
        )

    def test_searches_pass_features_on(self, data):
        users, items, x = data.train
        pairs = np.column_stack([users.astype(object), items])
        search = GridSearchCV(
            model(strength=0.3), {"max_rank": [2, 4]}, cv=2, error_score="raise"
        ).fit(pairs, x, **data.features)
        assert search.best_estimator_.features_ is not None

    def test_jax_gives_the_same(self, data, fitted):
        other = model(device="jax").fit(data.train, **data.features)
        r, c, _, _ = data.tests["both"]
        np.testing.assert_allclose(other.predict(r, c), fitted.predict(r, c), rtol=1e-3, atol=1e-3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"n_draws": 3}, "row_features needs n_draws=0"),
            ({"regularization": "implicit"}, 'row_features needs regularization="explicit"'),
            ({"loss": "huber"}, 'row_features needs loss="squared"'),
            ({"validation_fraction": 0, "strength": 0.3}, "row_features needs validation_fraction"),
        ],
    )
    def test_what_has_no_features(self, data, options, message):
        with pytest.raises(InputError, match=message):
            model(**options).fit(data.train, row_features=data.rows)

    def test_a_handful_of_entries(self, tmp_path):
        """Where nothing is left beside the lines that are left out, the average line is 0."""
        for seed in (25, 65, 66, 67):
            rng = np.random.default_rng(seed)
            mask = rng.random((3, 3)) < 0.6
            mask[0, 0] = True
            i, j = np.nonzero(mask)
            given = {"row_features": rng.normal(size=(5, 2)), "col_features": np.eye(4)}
            ids = [(np.arange(len(F)), F) for F in given.values()]
            one = dl.DeepMatrixCompletion(depth=2, random_state=seed)
            one.fit((i, j, rng.normal(size=len(i))), **dict(zip(given, ids, strict=True)))
            assert np.isfinite(one.predict([0, 4], [0, 3])).all()
            one.save(tmp_path / "m.dln")

    def test_strange_ids(self, data):
        with pytest.raises(InputError, match="row_features names no id that has entries, as 10"):
            model().fit(data.train, row_features=data.rows.assign(user=range(240)))

    def test_what_a_fit_with_features_cannot(self, data, fitted):
        for call in (
            lambda: fitted.draws(2, [1000], ["i0"]),
            lambda: fitted.partial_fit(([1000], ["i0"], [1.0])),
        ):
            with pytest.raises(InputError, match="needs a fit without features"):
                call()
        plain = model(strength=0.3).fit(data.train)
        with pytest.raises(InputError, match="row_features must be left out, for the fit had none"):
            plain.predict([1000], ["i0"], row_features=data.rows)

    def test_ids_without_features_and_entries_are_counted(self, fitted):
        with pytest.warns(EmptyLineWarning, match="1 of 2 entries have ids without any entry"):
            fitted.predict([1003, -7], ["i0", "i0"])
