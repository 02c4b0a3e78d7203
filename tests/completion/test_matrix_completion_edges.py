"""The estimator of long data at the edges: few entries, arguments, intervals, saved models."""

import datetime
import math

import numpy as np
import pandas as pd
import pytest

import deeplinear as dl
from deeplinear.errors import InputError

FIXED = {"strength": 0.3, "validation_fraction": 0, "random_state": 0, "threads": 1}


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def ratings():
    return dl.datasets.make_ratings(30, 20, 300, seed=3)


@pytest.fixture(scope="module")
def fitted(ratings):
    return dl.DeepMatrixCompletion(**FIXED, max_rank=5).fit(ratings.triples)


class TestFew:
    def test_fewer_new_rows_than_the_largest_rank(self, fitted, ratings):
        one = np.flatnonzero(ratings.users == ratings.users[0])
        new = (["someone"] * len(one), ratings.items[one], ratings.values[one])
        folded = fitted.fold_in(new)
        assert folded.complete().shape == (1, fitted.col_ids_.size)
        np.testing.assert_array_equal(fitted.transform(new), folded.complete())

    def test_the_largest_rank_is_checked_where_it_is_used(self, ratings):
        with pytest.raises(InputError, match=r"max_rank must be at most min\(m, n\) = 20, got 21"):
            dl.DeepMatrixCompletion(**FIXED, max_rank=21).fit(ratings.triples)


class TestRecommend:
    def test_more_than_there_are_columns(self, fitted):
        n = fitted.col_ids_.size
        row = fitted.row_ids_[:2]
        found, scores = fitted.recommend(row, n + 5, exclude_seen=False)
        assert found.shape == scores.shape == (2, n + 5)
        assert np.isnan(scores[:, n:]).all()
        assert all(x is None for x in found[:, n:].ravel())
        whole, all_scores = fitted.recommend(row, n, exclude_seen=False)
        np.testing.assert_array_equal(found[:, :n], whole)
        np.testing.assert_array_equal(scores[:, :n], all_scores)
        assert sorted(whole[0]) == sorted(fitted.col_ids_)

    @pytest.mark.parametrize("k", [0, 2.0, True, "3", None])
    def test_k_is_an_integer(self, fitted, k):
        with pytest.raises(InputError, match="k must be an integer ≥ 1"):
            fitted.recommend(fitted.row_ids_[:1], k)


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"depth": "23"}, 'depth must be "auto", a number, or a sequence of numbers'),
            ({"depth": ()}, "depth must hold at least one number, got none"),
            ({"depth": (3, 0.5)}, "depth must be ≥ 1 .*got 0.5"),
            ({"strength": ("a",)}, 'strength must be "auto", a number, or a sequence of numbers'),
            ({"strength": ()}, "strength must hold at least one number, got none"),
            ({"strength": (-1.0,)}, "strength must hold finite numbers"),
            ({"strength": (0.1, math.inf)}, "strength must hold finite numbers"),
        ],
    )
    def test_of_the_choice(self, ratings, options, message):
        with pytest.raises(InputError, match=message):
            dl.DeepMatrixCompletion(**options).fit(ratings.triples)

    def test_a_checkpoint_needs_its_folder(self, ratings, tmp_path):
        def never(state):
            raise AssertionError("it must be refused before any work")

        model = dl.DeepMatrixCompletion(
            **FIXED, checkpoint=tmp_path / "none" / "ck", callback=never
        )
        with pytest.raises(InputError, match=r"checkpoint: the folder of '.*ck' does not exist"):
            model.fit(ratings.triples)


class TestIntervals:
    def test_nothing_tells_the_noise_of_one_entry(self):
        model = dl.DeepMatrixCompletion(**FIXED).fit(([1], [2], [3.0]))
        with pytest.warns(UserWarning, match="none was held out: nothing tells how far off"):
            low, high = model.interval([1], [2])
        assert np.isnan([low, high]).all()

    def test_some_residual_does(self, fitted, ratings):
        low, high = fitted.interval(ratings.users[:5], ratings.items[:5])
        assert (low < high).all()


class TestSaved:
    @pytest.mark.parametrize(
        "depths",
        [np.array([2.0, 3.0]), range(2, 4), pd.Series([2, 3])],
        ids=["array", "range", "series"],
    )
    def test_array_parameters_are_saved(self, ratings, depths, tmp_path):
        model = dl.DeepMatrixCompletion(
            depth=depths, strength=np.array([0.4]), max_rank=3, random_state=0
        )
        model.fit(ratings.triples).save(tmp_path / "m.dln")
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
        assert (loaded.depth, loaded.strength) == ([2, 3], [0.4])

    def test_dates_are_saved_and_loaded(self, tmp_path):
        days = pd.to_datetime([1, 86_400_000_000_000, 2], unit="ns")
        cols = [
            datetime.date(2026, 1, 1),
            datetime.datetime(2026, 1, 1, 5),
            (datetime.time(3), "x"),
        ]
        frame = pd.DataFrame(
            {"user": days[[0, 1, 2, 0]], "item": [0, 1, 2, 1], "rating": [1.0, 2.0, 4.0, 3.0]}
        )
        for number, (entries, rows) in enumerate(
            ((frame, days.to_numpy()), ((cols, [0, 1, 0], [1.0, 2.0, 3.0]), cols))
        ):
            model = dl.DeepMatrixCompletion(**FIXED).fit(entries)
            model.save(tmp_path / f"{number}.dln")
            loaded = dl.DeepMatrixCompletion.load(tmp_path / f"{number}.dln")
            assert loaded.row_ids_.tolist() == model.row_ids_.tolist()
            assert list(map(type, loaded.row_ids_)) == list(map(type, model.row_ids_))
            np.testing.assert_array_equal(
                loaded.predict(rows, [0, 1, 0]), model.predict(rows, [0, 1, 0])
            )
            assert len(set(loaded.predict(rows, [0, 1, 0]))) == 3

    @pytest.mark.parametrize(
        "labels",
        [[2**63, -5, 2**63 + 1], ["a\udc80", "b", "é"], [("x", 1), 2.5, True]],
        ids=["huge", "half", "mixed"],
    )
    def test_unusual_ones_are_saved_and_loaded(self, labels, tmp_path):
        rows = [labels[t] for t in (0, 1, 2, 0)]
        model = dl.DeepMatrixCompletion(**FIXED).fit((rows, [0, 1, 0, 1], [1.0, 2.0, 3.0, 5.0]))
        model.save(tmp_path / "m.dln")
        loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
        assert loaded.row_ids_.tolist() == labels
        np.testing.assert_array_equal(
            loaded.predict(labels, [0, 1, 0]), model.predict(labels, [0, 1, 0])
        )
