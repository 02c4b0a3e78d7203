"""Plasticity and bottlenecks, against plain descent, truncated SVDs and searches."""

import numpy as np
import pytest
from scipy.optimize import minimize

pytest.importorskip("xarray")

import deeplinear as dl
from deeplinear.experiments.figures import bottleneck, plasticity

# Plasticity


def test_the_flow_in_the_place_of_descent():
    """Descent of step 0.2 on half the mean square error, step by step."""
    problem = plasticity._Nested(3, 8, 1, (30, 45)).problems[1]
    factors = dl.normal_factors((8,) * 4, 0.1, key=2)
    W = [np.asarray(F) for F in factors]
    count, steps = int(problem.mask.sum()), 4000
    for _ in range(steps):
        A, B, C = W
        slope = np.where(problem.mask, C @ B @ A - problem.truth, 0.0) / count
        gradients = (C @ B).T @ slope, C.T @ slope @ A.T, slope @ (B @ A).T
        W = [X - 0.2 * G for X, G in zip(W, gradients, strict=True)]
    flow = plasticity.follow(problem, factors, steps, 1e-6)
    end = W[2] @ W[1] @ W[0]
    left = np.linalg.norm((end - problem.truth)[problem.mask])
    assert left < 0.5 * np.linalg.norm(problem.truth[problem.mask])  # it has learned
    assert np.linalg.norm(flow.W - end) < 0.02 * np.linalg.norm(end)


def test_more_entries_contain_the_first_and_no_first_training_is_a_cold_start():
    nested = plasticity._Nested(0, 6, 1, (12, 20, 30))
    masks = [problem.mask for problem in nested.problems]
    assert [int(mask.sum()) for mask in masks] == [12, 20, 30]
    assert not (masks[0] & ~masks[1]).any()
    assert not (masks[1] & ~masks[2]).any()
    found = nested.retrained(2, 1e-2, (0, 400), 1000, 1e-6)
    factors = dl.normal_factors((6,) * 3, 1e-2, 0)
    cold = plasticity.follow(nested.problems[2], factors, 1000, 1e-6)
    truth = nested.problems[2].truth
    assert found[0, 1, 0] == pytest.approx(float(np.mean((cold.W - truth) ** 2)), rel=1e-6)
    first = plasticity.follow(nested.problems[0], factors, 400, 1e-6)
    warm = plasticity.follow(nested.problems[1], first.factors, 1000, 1e-6)
    assert found[0, 0, 1] == pytest.approx(float(np.mean((warm.W - truth) ** 2)), rel=1e-6)


# Bottlenecks


@pytest.mark.parametrize("width", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_with_all_entries_flows_end_at_the_truncated_svd(width, rng):
    (truth, mask), _ = bottleneck.draw_problems(4, 1, 11, rng)
    assert mask.all()
    U, s, Vt = np.linalg.svd(truth)
    best = (U[:, :width] * s[:width]) @ Vt[:width]
    least = bottleneck.best_loss(truth, mask, width, 1, rng)
    assert least == pytest.approx(0.5 * np.sum((truth - best) ** 2), rel=1e-12)
    energy = dl.Completion.from_dense(truth)
    W = bottleneck.ending(energy, (4, width, width, 4), 1e-2, 5, 0.5 * np.sum(truth**2))
    np.testing.assert_allclose(W, best, atol=1e-3)
    assert bottleneck.numerical_rank(W) == width


def test_alternating_least_squares_find_what_a_general_search_finds(rng):
    _, (truth, mask) = bottleneck.draw_problems(4, 2, 13, rng)

    def loss(z):
        x, y = z.reshape(2, 4)
        return 0.5 * np.sum((np.outer(x, y) - truth)[mask] ** 2)

    searched = min(minimize(loss, rng.normal(size=8), tol=1e-12).fun for _ in range(30))
    found = bottleneck.best_loss(truth, mask, 1, 30, rng)
    assert found == pytest.approx(searched, rel=1e-6)
    assert bottleneck.best_loss(truth, mask, 2, 30, rng) < 1e-8 * np.sum(truth[mask] ** 2)


@pytest.mark.slow
def test_a_plateau_is_no_end(rng):
    """A mode of a tenth of the first, from a start that is small: it is learned."""
    truth = np.diag([1.0, 0.1, 0.1])
    energy = dl.Completion.from_dense(truth)
    W = bottleneck.ending(energy, (3, 3, 3, 3), 1e-3, 1, 0.5 * np.sum(truth**2))
    np.testing.assert_allclose(W, truth, atol=2e-3)
