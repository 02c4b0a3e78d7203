"""Lines without entries: they cost a fit nothing, and every answer about them is the same."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

import deeplinear as dl
from deeplinear.errors import EmptyLineWarning, InputError

SIDES = 40, 25
ROWS, COLS = np.array([1, 2, 5, 7, 11, 17, 23, 30, 31, 36, 38]), np.array([0, 3, 4, 9, 12, 20, 24])
FIXED = {"strength": 0.2, "validation_fraction": 0, "random_state": 0, "threads": 1}


pytestmark = pytest.mark.usefixtures("quiet_fits")


@pytest.fixture(scope="module")
def entries():
    """(i, j, values) of 60 entries, all lines of an 11 × 7 matrix among them."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(len(ROWS), 2)) @ rng.normal(size=(2, len(COLS))) + 1
    i, j = np.divmod(np.sort(rng.permutation(truth.size)[:60]), len(COLS))
    assert len(set(i)) == len(ROWS)
    assert len(set(j)) == len(COLS)
    return i, j, truth[i, j] + 0.05 * rng.normal(size=60)


def spread(entries, shape=SIDES):
    i, j, values = entries
    return sp.coo_array((values, (ROWS[i], COLS[j])), shape=shape)


@pytest.fixture(scope="module", params=["explicit", "draws", "implicit", "held out"])
def pair(request, entries):
    """A fit of the matrix with empty lines, and of the same entries without them."""
    options = {
        "explicit": FIXED,
        "draws": {**FIXED, "n_draws": 3, "max_rank": 3},
        "implicit": {"regularization": "implicit", "strength": 0.05, "random_state": 0}
        | {"validation_fraction": 0, "max_rank": 3},
        "held out": {"random_state": 0, "validation_fraction": 0.2},
    }[request.param]
    i, j, values = entries
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        return (
            dl.DeepMatrixCompletion(**options).fit(spread(entries)),
            dl.DeepMatrixCompletion(**options).fit((ROWS[i], COLS[j], values)),
        )


def cells():
    rows, cols = np.meshgrid(ROWS, COLS, indexing="ij")
    return rows.ravel(), cols.ravel()


def test_predictions_are_those_without_the_empty_lines(pair):
    whole, listed = pair
    for found, expected in zip(
        whole.predict(*cells(), return_std=True),
        listed.predict(*cells(), return_std=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    assert whole.singular_values_.tolist() == listed.singular_values_.tolist()
    assert whole.row_ids_.tolist() == list(range(SIDES[0]))
    assert whole.col_ids_.tolist() == list(range(SIDES[1]))


def test_the_completed_matrix_keeps_its_shape(pair, entries):
    whole, listed = pair
    message = "29 of 40 rows and 18 of 25 columns have no entry in the fit"
    with pytest.warns(EmptyLineWarning, match=message) as caught:
        found = whole.complete()
    assert len(caught) == 1
    assert found.shape == SIDES
    inner = found[np.ix_(ROWS, COLS)]
    place = np.searchsorted(ROWS, listed.row_ids_), np.searchsorted(COLS, listed.col_ids_)
    np.testing.assert_allclose(inner[np.ix_(*place)], listed.complete(), rtol=1e-9, atol=1e-12)
    i, j, values = entries
    np.testing.assert_array_equal(found[ROWS[i], COLS[j]], values)
    with pytest.warns(EmptyLineWarning):
        marginals = listed.predict([999, 999], [999, 3])
    np.testing.assert_allclose(found[0, [1, 3]], marginals, rtol=1e-9)


def test_empty_lines_are_predicted_from_the_marginals_with_a_warning(pair):
    whole, _ = pair
    with pytest.warns(EmptyLineWarning, match=r"2 of 3 entries .* \(1 rows, 1 columns\)"):
        whole.predict([0, 1, 1], [0, 1, 0])
    with pytest.raises(InputError, match="must lie between 0 and 39, got 40 at position 1"):
        whole.predict([0, 40], [0, 0])
    with pytest.raises(InputError, match="must lie between 0 and 39, got -1"):
        whole.predict([-1], [0])


def test_recommendations_are_those_without_the_empty_lines(pair):
    whole, listed = pair
    for seen in (True, False):
        for found, expected in zip(
            whole.recommend(ROWS, 9, exclude_seen=seen),
            listed.recommend(ROWS, 9, exclude_seen=seen),
            strict=True,
        ):
            assert found.tolist() == expected.tolist() or np.isnan(expected).any()
            np.testing.assert_array_equal(found[:, :1], expected[:, :1])


def test_a_saved_model_knows_its_empty_lines(pair, tmp_path):
    whole, _ = pair
    whole.save(tmp_path / "m.dln")
    loaded = dl.DeepMatrixCompletion.load(tmp_path / "m.dln")
    np.testing.assert_array_equal(loaded.predict(*cells()), whole.predict(*cells()))
    assert loaded.row_ids_.tolist() == whole.row_ids_.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmptyLineWarning)
        np.testing.assert_array_equal(loaded.complete(), whole.complete())
    with pytest.raises(InputError, match="between 0 and 24"):
        loaded.predict([1], [25])


def test_new_rows_of_the_same_columns(pair):
    whole, listed = pair
    values, cols = np.array([1.0, 2.0, 0.5]), COLS[[1, 3, 5]]
    X = sp.coo_array((values, ([2, 2, 6], cols)), shape=(9, SIDES[1]))
    folded = whole.fold_in(X)
    other = listed.fold_in(([2, 2, 6], cols, values))
    np.testing.assert_allclose(
        folded.predict([2, 6], COLS[[0, 6]]), other.predict([2, 6], COLS[[0, 6]]), rtol=1e-9
    )
    with pytest.warns(EmptyLineWarning, match="7 of 9 rows and 18 of 25 columns"):
        table = whole.transform(X)
    assert table.shape == (9, SIDES[1])
    np.testing.assert_array_equal(table[[2, 2, 6], cols], values)
    with pytest.raises(InputError, match="columns that the fit does not know, the first is 2:"):
        whole.fold_in(sp.coo_array(([1.0], ([0], [2])), shape=(1, SIDES[1])))
    with pytest.raises(InputError, match="X must have the 25 columns of the fit, got 26"):
        whole.fold_in(sp.coo_array(([1.0], ([0], [0])), shape=(1, 26)))


@pytest.mark.parametrize("side", [41, 60])
def test_new_entries_in_lines_that_were_empty(entries, side):
    model = dl.DeepMatrixCompletion(**FIXED).fit(spread(entries))
    i, j, values = entries
    listed = dl.DeepMatrixCompletion(**FIXED).fit((ROWS[i], COLS[j], values))
    new = np.array([0, 40, 1]), np.array([1, 3, 24]), np.array([1.0, 2.0, 0.0])
    model.duplicates = listed.duplicates = "last"
    model.partial_fit(sp.coo_array((new[2], new[:2]), shape=(side, SIDES[1])))
    listed.partial_fit(new)
    assert len(model.row_ids_) == side
    rows, cols = np.r_[new[0], 1, 5], np.r_[new[1], 0, 4]
    np.testing.assert_array_equal(model.predict(rows, cols), listed.predict(rows, cols))
    model.partial_fit(([39], [2], [1.0]))
    assert model.predict([39], [2]).shape == (1,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmptyLineWarning)
        assert model.complete()[[0, 40, 1, 39], [1, 3, 24, 2]].tolist() == [1.0, 2.0, 0.0, 1.0]


def test_weights_of_zero_that_empty_a_line(entries):
    i, j, values = entries
    weights = np.where((i == 3) | (j == 2), 0.0, 1.0 + i % 2)
    keep = weights > 0
    found = dl.DeepMatrixCompletion(**FIXED).fit(spread(entries), sample_weight=weights)
    expected = dl.DeepMatrixCompletion(**FIXED).fit(
        (ROWS[i[keep]], COLS[j[keep]], values[keep]), sample_weight=weights[keep]
    )
    rows, cols = ROWS[i[keep]], COLS[j[keep]]
    np.testing.assert_array_equal(found.predict(rows, cols), expected.predict(rows, cols))
    with pytest.warns(EmptyLineWarning, match="1 of 1 entries"):
        found.predict([ROWS[3]], [COLS[0]])
    with pytest.raises(InputError, match="sample_weight must be positive for at least one entry"):
        dl.DeepMatrixCompletion(**FIXED).fit(spread(entries), sample_weight=0 * weights)


def test_a_cap_on_the_rank_may_exceed_the_lines_that_are_left(entries):
    assert dl.DeepMatrixCompletion(**FIXED, max_rank=20).fit(spread(entries)).rank_ <= 7
    with pytest.raises(InputError, match=r"max_rank must be at most min\(m, n\) = 25, got 26"):
        dl.DeepMatrixCompletion(**FIXED, max_rank=26).fit(spread(entries))


@pytest.mark.parametrize("side", [10**6, 5 * 10**6])
def test_the_side_of_a_sparse_matrix_costs_nothing(entries, side):
    i, j, values = entries
    X = sp.coo_array((values, (ROWS[i] * (side // 40), COLS[j] * (side // 40))), shape=(side, side))
    dl.DeepMatrixCompletion(**FIXED).fit(spread(entries))  # compiled, if it is to be
    tracemalloc.start()
    model = dl.DeepMatrixCompletion(**FIXED).fit(X)
    model.recommend([int(ROWS[0]) * (side // 40)], 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # a byte for each line of one side would be 5 MB; a factor, 800 MB
    expected = dl.DeepMatrixCompletion(**FIXED).fit(spread(entries))
    np.testing.assert_array_equal(model.predict(*X.coords), expected.predict(ROWS[i], COLS[j]))
    with pytest.raises(InputError, match="use predict or recommend"):
        model.complete()


@pytest.fixture(scope="module")
def fitted():
    """Of rows with names."""
    ratings = dl.datasets.make_ratings(30, 20, 300, seed=3)
    names = [f"u{user}" for user in ratings.users]
    return dl.DeepMatrixCompletion(**FIXED, max_rank=5).fit((names, ratings.items, ratings.values))


class TestUnknownIds:
    """What is said about ids without any entry: once, and alike everywhere."""

    def test_recommend_warns_once_and_names_the_first(self, fitted):
        known = fitted.row_ids_[0]
        message = "2 of 3 ids have no entry in the fit, the first is 'eve'"
        with pytest.warns(EmptyLineWarning, match=message) as caught:
            found, scores = fitted.recommend(["eve", known, "bob"], 4)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert found[0].tolist() == found[2].tolist()
        np.testing.assert_array_equal(scores[0], scores[2])
        np.testing.assert_array_equal(scores[1], fitted.recommend([known], 4)[1][0])

    def test_nan_for_the_unknown_in_every_answer(self, fitted):
        model = dl.DeepMatrixCompletion(**FIXED, unseen="nan")
        model.__dict__.update({k: v for k, v in vars(fitted).items() if k.endswith("_")})
        known, item = fitted.row_ids_[0], fitted.col_ids_[0]
        rows, cols = [known, "eve", known], [item, item, -1]
        with warnings.catch_warnings():
            warnings.simplefilter("error", EmptyLineWarning)
            answers = [
                model.predict(rows, cols),
                model.predict_std(rows, cols),
                *model.interval(rows, cols),
                model.draws(2, rows, cols)[1],
            ]
            found, scores = model.recommend([known, "eve"], 2)
        for answer in answers:
            assert np.isnan(answer).tolist() == [False, True, True]
        assert np.isnan(scores).tolist() == [[False] * 2, [True] * 2]
        assert found[1].tolist() == [None, None]
        assert found[0].tolist() == fitted.recommend([known], 2)[0][0].tolist()

    @pytest.mark.parametrize("method", ["predict", "predict_std", "interval", "draws"])
    def test_every_answer_warns_once(self, fitted, method):
        first = (2,) if method == "draws" else ()
        with pytest.warns(EmptyLineWarning, match=r"1 of 2 .* \(1 rows, 0 columns\)") as caught:
            getattr(fitted, method)(*first, [fitted.row_ids_[0], "eve"], [fitted.col_ids_[0]] * 2)
        assert len(caught) == 1

    def test_nan_in_the_completed_matrix(self, entries):
        model = dl.DeepMatrixCompletion(**FIXED, unseen="nan").fit(spread(entries))
        with warnings.catch_warnings():
            warnings.simplefilter("error", EmptyLineWarning)
            found = model.complete()
        assert np.isfinite(found[np.ix_(ROWS, COLS)]).all()
        assert np.isnan(found).sum() == found.size - len(ROWS) * len(COLS)
