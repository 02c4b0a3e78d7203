"""The search for a field against all settings of its grid."""

import numpy as np
import pytest

from deeplinear.completion.field.covariance import ColumnCovariance
from deeplinear.completion.field.gaussian_field import Cells, GaussianField, noise_parts
from deeplinear.completion.field.graph import chain
from deeplinear.completion.field.refinement import (
    CORRELATIONS,
    NOISES,
    HeldOut,
    Refinement,
    choose,
    solve,
)


def sequence(seed, m=150, n=12):
    """A smooth table, a poor completion of it, its cells and the held-out ones."""
    rng = np.random.default_rng(seed)
    waves = np.cumsum(rng.normal(size=(m, 3)), axis=0)
    X = waves @ rng.normal(size=(3, n)) / 5 + 0.1 * rng.normal(size=(m, n))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    seen = rng.random(X.shape) < 0.5
    held = np.argwhere(seen & (rng.random(X.shape) < 0.15))
    rows, cols = held.T
    judge = HeldOut(rows, cols, X[rows, cols], np.arange(n))
    seen[rows, cols] = False
    cells = Cells(np.where(seen, X, 0.0), seen.astype(float))
    return 0.5 * X + 0.5 * rng.normal(size=X.shape), cells, judge


@pytest.mark.parametrize("seed", range(4))
def test_what_is_chosen_is_nearly_the_best_of_the_grid(seed):
    network, cells, judge = sequence(seed)
    order = chain(np.arange(len(network)))
    found = choose(network, cells, judge, order)[0]
    law = ColumnCovariance.of(cells.over(network))
    errors = []
    for rho in CORRELATIONS[::2]:
        for noise in NOISES[::2]:
            field = GaussianField(law, rho, noise, noise_parts(network, cells))
            F = field.mean(cells, order, tol=1e-5)
            errors.append(judge.size(judge.gaps(field.matrix(F))))
    assert "order" in found.graph
    assert found.after < 1.03 * min(errors)


def test_a_round_without_any_variance_left_is_the_last():
    cells = Cells(np.array([[-20.0], [0.0], [0.0]]), np.array([[1.0], [0.0], [0.0]]))
    law = ColumnCovariance(np.array([-20.0]), np.array([[1.0]]), np.zeros(1))
    settings = Refinement(noise=0.1, rounds=2)
    found, F = solve(settings, None, cells, law, np.ones(1), center=True)
    assert found.covariance is law
    np.testing.assert_array_equal(F, np.zeros((3, 1)))
