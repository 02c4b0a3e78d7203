"""`Model`: predictions from their formula, lines without entries, rows folded in, best columns."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.completion.data.ids import Ids
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.model.recommend import recommend
from deeplinear.completion.posterior.conformal import Calibration

M, N = 12, 9


@pytest.fixture(scope="module", params=[0, 4], ids=["fit", "draws"])
def model(request):
    """Of a 12 × 9 matrix whose row 5 and column 2 have no entry."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(M, 2)) @ rng.normal(size=(2, N)) + rng.normal(size=N)
    X[rng.random(X.shape) < 0.3] = np.nan
    X[5], X[:, 2] = np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dl.errors.NotConvergedWarning)
        options = {"strength": 0.2, "validation_fraction": 0, "random_state": 0}
        estimator = dl.DeepMatrixCompletion(**options, n_draws=request.param)
        rows, cols = np.nonzero(~np.isnan(X))
        seen = Observations.from_triples(rows, cols, X[rows, cols], X.shape)
        # as a table is learned; `fit` would leave the empty lines out
        estimator._learn(seen, (Ids.positions(M), Ids.positions(N)))
        return estimator.model_


def whole(model):
    """x̂ from the docstring's formula, averaged over the draws, with the average lines at −1, and
    beside it the fit itself with its share.
    """
    tables = [
        mean + left[:, :-1] @ right[:, :-1].T + left[:, -1:] + right[:, -1]
        for left, right, mean in zip(
            model.left.astype(float), model.right.astype(float), model.means, strict=True
        )
    ]
    drawn = np.mean(tables, axis=0)
    if model.point is None:
        return drawn
    return model.share * drawn + (1 - model.share) * whole(model.point)


def test_predictions_are_the_average_over_the_draws(model):
    assert model.draws == model.left.shape[0]
    assert model.share == (0.5 if model.draws > 1 else 0)
    rows, cols = np.divmod(np.arange(M * N), N)
    table = whole(model)
    np.testing.assert_allclose(model.predict(rows, cols), table[rows, cols], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.block(np.arange(M)), table[:-1, :-1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.predict([-1, -1], [0, -1]), table[-1, [0, -1]], rtol=1e-6)


def test_lines_without_entries_are_the_average_line(model):
    np.testing.assert_array_equal(model.left[:, 5], model.left[:, -1])
    np.testing.assert_array_equal(model.right[:, 2], model.right[:, -1])
    some = np.delete(np.arange(M), 5)
    np.testing.assert_allclose(
        model.left[:, -1], model.left[:, some].mean(axis=1), rtol=1e-4, atol=1e-6
    )
    with pytest.warns(dl.errors.EmptyLineWarning, match=r"2 of 3 entries .* \(1 rows, 1 columns\)"):
        rows, cols = model.codes([5, 0, 1], [0, 2, 1], "marginals")
    assert (rows.tolist(), cols.tolist()) == ([-1, 0, 1], [0, -1, 1])
    assert (model.deviation(rows, cols)[:2] == model.spread).all()


def test_the_spread_and_the_noise_are_those_of_the_entries(model):
    rows, cols, values = model.seen.triples()
    gaps = values - model.fit.predict(rows, cols)
    assert model.spread == pytest.approx(values.std())
    assert model.noise == pytest.approx(np.mean(gaps**2))
    gaps = values - model.predict(rows, cols)
    assert model.train_rmse == pytest.approx(np.sqrt(np.mean(gaps**2)), rel=1e-6)
    assert not model.noiseless


def test_rows_are_solved_one_by_one(model):
    """What a row becomes does not depend on the rows beside it, nor on their order."""
    rng = np.random.default_rng(1)
    rows, cols = np.nonzero(rng.random((6, N)) < 0.5)
    values = rng.normal(size=len(rows))
    together = model.folded(Observations.from_triples(rows, cols, values, (6, N)), Ids.positions(6))
    for i in set(rows.tolist()):
        mine = rows == i
        alone = model.folded(
            Observations.from_triples(rows[mine] * 0, cols[mine], values[mine], (1, N)),
            Ids.positions(1),
        )
        np.testing.assert_allclose(alone.block([0])[0], together.block([i])[0], rtol=1e-5)
        np.testing.assert_allclose(
            alone.deviation(np.zeros(N, int), np.arange(N)),
            together.deviation(np.full(N, i), np.arange(N)),
            rtol=1e-9,
        )
    assert (together.is_folded, model.is_folded) == (True, False)


def test_recommendations_are_the_largest_predictions(model):
    table = whole(model)
    labels, scores = recommend(model, np.arange(M), 3)
    for i in (0, 5, 11):
        seen = set(model.seen.by_row.indices[slice(*model.seen.by_row.indptr[i : i + 2])].tolist())
        left = [j for j in range(N) if j != 2 and j not in seen]  # nothing is known of column 2
        expected = sorted(left, key=lambda j: -table[i, j])[:3]
        found = [j for j in labels[i].tolist() if j is not None]
        assert found == expected
        np.testing.assert_allclose(
            scores[i][: len(found)], table[i, expected], rtol=1e-6, atol=1e-9
        )


@pytest.mark.filterwarnings("ignore::deeplinear.errors.EmptyLineWarning")
def test_limits_leave_the_order_of_recommendations(model):
    labels, scores = recommend(model, np.arange(M), 3)
    cut = float(np.nanmedian(scores))
    again, clipped = recommend(replace(model, limits=(-1e9, cut)), np.arange(M), 3)
    assert again.tolist() == labels.tolist()
    np.testing.assert_array_equal(clipped, np.minimum(scores, cut))
    assert (np.isnan(scores) == np.isnan(clipped)).all()


def test_where_no_error_is_bounded_intervals_are_infinite(model):
    beyond = Calibration.of(np.full(9, 1e10), np.zeros(9))  # scores of ∞, beside exact fits
    reach = replace(model, calibration=beyond).reach(np.array([0.0, 1.0]), 0.5)
    np.testing.assert_array_equal(reach, [np.inf, np.inf])
