"""The Gaussian field against the dense normal law of all cells of a small table."""

import numpy as np
import pytest

from deeplinear.completion.field.covariance import MAX_RANK, ColumnCovariance
from deeplinear.completion.field.gaussian_field import Cells, GaussianField
from deeplinear.completion.field.graph import Neighbours, chain, no_graph, precision


def small(seed=0, m=7, n=4, r=2, observed=0.6):
    """A field on a table of ``m`` × ``n``, its cells and a graph."""
    rng = np.random.default_rng(seed)
    covariance = ColumnCovariance(
        rng.normal(size=n), rng.normal(size=(r, n)), rng.uniform(0.05, 0.3, n)
    )
    field = GaussianField(covariance, 0.8, 0.1, rng.uniform(0.3, 3.0, n))
    weights = rng.uniform(0.5, 2.0, (m, n)) * (rng.random((m, n)) < observed)
    cells = Cells(np.where(weights > 0, rng.normal(size=(m, n)), 0.0), weights)
    return field, cells, chain(rng.normal(size=m))


def dense(field, cells, graph):
    """Mean (m, r) and covariance (m r, m r) of F given the cells, by the normal equations."""
    S, n = field.covariance.root, cells.values.shape[1]
    prior = np.kron(precision(graph, field.rho).toarray(), np.eye(len(S)))
    design = np.kron(np.eye(len(cells.values)), S.T)  # cells by F, row by row
    psi = field.noise * (np.square(S).sum(axis=0) + field.covariance.own).mean() * field.parts
    D = (cells.weights / (psi + field.covariance.own)).ravel()
    covariance = np.linalg.inv(prior + design.T @ (D[:, None] * design))
    gaps = (cells.values - field.covariance.mean).ravel()
    mean = covariance @ (design.T @ (D * gaps))
    assert n == len(field.covariance.mean)
    return mean.reshape(-1, len(S)), covariance


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_is_that_of_the_normal_law(seed):
    field, cells, graph = small(seed)
    F = field.mean(cells, graph, tol=1e-10)
    np.testing.assert_allclose(F, dense(field, cells, graph)[0], atol=1e-8)
    np.testing.assert_allclose(
        field.matrix(F), field.covariance.mean + F @ field.covariance.root, rtol=1e-15
    )


def test_draws_have_the_mean_and_covariance_of_the_normal_law():
    field, cells, graph = small(5, m=4, n=3)
    mean, covariance = dense(field, cells, graph)
    rng = np.random.default_rng(0)
    count = 4000
    draws = mean.ravel() + np.stack(
        [field.deviation(cells, graph, rng, tol=1e-8).ravel() for _ in range(count)]
    )
    deviation = np.sqrt(np.diag(covariance))
    # a thousandth of false alarms, over all entries
    assert (np.abs(draws.mean(axis=0) - mean.ravel()) < 4.2 * deviation / count**0.5).all()
    gap = np.abs(np.cov(draws.T) - covariance)
    spread = np.sqrt((np.outer(deviation, deviation) ** 2 + covariance**2) / count)
    assert (gap < 4.5 * spread).all()


def test_a_new_row_is_conditional_on_its_neighbours():
    """A row more, joined to known rows: its mean given their values, by the normal law."""
    field, cells, _ = small(2, m=6)
    rng = np.random.default_rng(0)
    known = rng.normal(size=(5, len(field.covariance.root)))
    points = rng.normal(size=(5, 2))
    weights = Neighbours.of(points)[0].around(rng.normal(size=(1, 2)))
    new = cells.rows(np.arange(6) == 3)
    F = field.beside(new, weights, known, tol=1e-12)
    rho, w = field.rho, weights.toarray()[0]
    S, psi = field.covariance.root, field.noises
    D = new.weights[0] / psi
    own = w.sum() * rho / (1 - rho**2) + 1 - min(w.sum(), 2) * rho / (1 + rho)
    A = S @ np.diag(D) @ S.T + own * np.eye(len(S))
    b = S @ (D * (new.values[0] - field.covariance.mean)) + rho / (1 - rho**2) * w @ known
    np.testing.assert_allclose(F[0], np.linalg.solve(A, b), atol=1e-9)


def test_without_neighbours_rows_do_not_matter_to_each_other():
    field, cells, _ = small(3)
    whole = field.mean(cells, no_graph(7), tol=1e-12)
    one = np.arange(7) == 4
    part = field.mean(cells.rows(one), no_graph(1), tol=1e-12)
    np.testing.assert_allclose(part[0], whole[4], atol=1e-9)


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_the_covariance_is_that_of_the_rows(shape):
    rng = np.random.default_rng(0)
    X = rng.normal(size=shape) @ np.diag(rng.uniform(0.5, 2, shape[1])) + 3
    found = ColumnCovariance.of(X)
    expected = np.cov(X.T, bias=True)
    np.testing.assert_allclose(found.mean, X.mean(axis=0))
    np.testing.assert_allclose(found.root.T @ found.root + np.diag(found.own), expected, atol=1e-10)
    gram = found.root @ found.root.T
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9)
    assert found.variance == pytest.approx(np.trace(expected) / shape[1])


def test_what_lies_beyond_the_largest_rank_is_noise_of_the_columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, MAX_RANK + 50))
    found = ColumnCovariance.of(X)
    assert len(found.root) == MAX_RANK
    diagonal = np.square(found.root).sum(axis=0) + found.own
    np.testing.assert_allclose(diagonal, X.var(axis=0))


def test_rows_are_known_again_by_their_observed_cells():
    values = np.array([[1.0, 2.0], [1.0, 0.0], [1.0, 0.0], [-0.0, 2.0], [0.0, 2.0]])
    weights = np.array([[1, 1], [1, 1], [1, 0], [1, 1], [2, 1]], float)
    keys = Cells(values, weights).keys()
    assert len(set(keys.tolist())) == 4
    assert keys[3] == keys[4]
