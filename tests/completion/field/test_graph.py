"""Graphs over the rows: the precision of a chain, nearest neighbours, graphs that are refused."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from deeplinear.completion.field.graph import (
    Neighbours,
    chain,
    given,
    mixed,
    no_graph,
    precision,
)
from deeplinear.errors import InputError


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.9, 0.99])
def test_a_chain_is_the_autoregressive_process(rho):
    m = 9
    covariance = np.linalg.inv(precision(_unscaled(chain(np.arange(m))), rho).toarray())
    expected = rho ** abs(np.subtract.outer(np.arange(m), np.arange(m)))
    np.testing.assert_allclose(covariance, expected, atol=1e-12)


def _unscaled(weights):
    """With weight 1 between successive rows: the mean degree of a finite chain is below 2."""
    return weights / weights.max()


def test_rows_without_neighbours_have_variance_1():
    covariance = np.linalg.inv(precision(no_graph(4), 0.7).toarray())
    np.testing.assert_allclose(covariance, np.eye(4))


def test_a_chain_follows_the_times_not_the_rows():
    times = np.array([3.0, 1.0, np.nan, 2.0, 7.0])
    weights = chain(times).toarray()
    assert weights[2].sum() == 0
    assert set(zip(*np.nonzero(np.triu(weights)), strict=True)) == {(0, 3), (1, 3), (0, 4)}
    assert weights[0, 3] / weights[0, 4] == pytest.approx(4)  # steps of 1 and of 4


@pytest.mark.parametrize("kind", ["datetime64", "objects", "timestamps"])
def test_dates_are_times(kind):
    days = pd.to_datetime(["2024-01-03", "2024-01-01", None, "2024-01-02", "2024-01-07"])
    given_days = {
        "datetime64": days.to_numpy(),
        "objects": days.to_numpy().astype(object),
        "timestamps": pd.Series(days),
    }[kind]
    expected = chain(np.array([3.0, 1.0, np.nan, 2.0, 7.0]))
    np.testing.assert_allclose(chain(given_days).toarray(), expected.toarray())


def test_equal_times_keep_finite_weights():
    weights = chain([0.0, 0.0, 1.0, 2.0, 2.0]).toarray()
    assert np.isfinite(weights).all()
    assert weights[0, 1] == pytest.approx(10 * weights[2, 3])


def test_words_are_no_times():
    with pytest.raises(InputError, match="row_order must hold numbers or dates"):
        chain(["a", "b"])


def test_neighbours_are_the_nearest_points():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3))
    found, weights = Neighbours.of(points)
    gaps = np.linalg.norm(points[:, None] - points, axis=2)
    np.fill_diagonal(gaps, np.inf)
    near = np.argsort(gaps, axis=1)[:, :10]
    mask = np.zeros((60, 60), bool)
    mask[np.arange(60)[:, None], near] = True
    assert ((weights.toarray() > 0) == (mask | mask.T)).all()
    lengths = np.sort(gaps, axis=1)[:, 6]
    np.testing.assert_allclose(found.lengths, lengths)
    expected = np.exp(-(gaps**2) / np.outer(lengths, lengths)) * (mask | mask.T)
    np.testing.assert_allclose(weights.toarray(), expected * found.unit, atol=1e-12)
    assert weights.sum() / 60 == pytest.approx(2)


def test_a_new_point_is_beside_the_nearest():
    rng = np.random.default_rng(1)
    points, new = rng.normal(size=(40, 2)), rng.normal(size=(3, 2))
    found, _ = Neighbours.of(points)
    weights = found.around(new).toarray()
    gaps = np.linalg.norm(new[:, None] - points, axis=2)
    near = np.argsort(gaps, axis=1)[:, :10]
    for i in range(3):
        assert set(np.flatnonzero(weights[i])) == set(near[i])
        own = np.sort(gaps[i])[6]
        expected = np.exp(-(gaps[i] ** 2) / (own * found.lengths)) * found.unit
        np.testing.assert_allclose(weights[i, near[i]], expected[near[i]])


def test_equal_points_are_neighbours_of_each_other():
    points = np.repeat(np.arange(3.0), 15)[:, None]
    _, weights = Neighbours.of(points)
    assert np.isfinite(weights.toarray()).all()
    assert weights.diagonal().max() == 0


@pytest.mark.parametrize("m", [2, 3, 5])
def test_few_points(m):
    _, weights = Neighbours.of(np.random.default_rng(0).normal(size=(m, 2)))
    assert (weights.toarray() > 0).sum() == m * (m - 1)


def test_every_graph_gives_a_positive_definite_precision():
    rng = np.random.default_rng(2)
    star = np.zeros((12, 12))
    star[0, 1:] = star[1:, 0] = 5.0
    graphs = [
        given(star, 12, "row_order"),
        Neighbours.of(rng.normal(size=(12, 2)))[1],
        chain(rng.normal(size=12)),
    ]
    graphs.append(mixed(graphs[1], graphs[2]))
    for weights in graphs:
        for rho in (0.0, 0.5, 0.995):
            P = precision(weights, rho).toarray()
            np.testing.assert_allclose(P, P.T)
            assert np.linalg.eigvalsh(P).min() > 0


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (np.ones((3, 2)), "4 × 4"),
        (np.full((4, 4), np.nan), "finite weights"),
        (-np.ones((4, 4)), "finite weights"),
        (np.triu(np.ones((4, 4))), "symmetric"),
    ],
)
def test_what_is_no_graph_is_refused(graph, message):
    with pytest.raises(InputError, match=message):
        given(graph, 4, "row_order")


def test_a_graph_loses_its_loops():
    graph = given(sp.csr_array(np.ones((4, 4))), 4, "row_order")
    assert graph.diagonal().max() == 0
    np.testing.assert_allclose(graph.sum(axis=0), 2)


def test_a_graph_whose_indices_lead_outside():
    """SciPy would follow them."""
    graph = sp.csr_array(np.ones((4, 4)))
    graph.indices[3] = 10**6
    with pytest.raises(InputError, match="row_order is not a valid sparse matrix"):
        given(graph, 4, "row_order")
