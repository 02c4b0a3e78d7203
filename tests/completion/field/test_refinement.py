"""The search for a field against all settings of its grid."""

import numpy as np
import pytest

from deeplinear.completion.field.covariance import ColumnCovariance
from deeplinear.completion.field.gaussian_field import Cells, GaussianField, noise_parts
from deeplinear.completion.field.graph import chain
from deeplinear.completion.field.held_out import HeldOut
from deeplinear.completion.field.lines import Lines
from deeplinear.completion.field.refinement import (
    CORRELATIONS,
    NOISES,
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
    found = choose(network, cells, judge, order).settings
    law = ColumnCovariance.of(cells.over(network))
    errors = []
    for rho in CORRELATIONS[::2]:
        for noise in NOISES[::2]:
            field = GaussianField(law, rho, noise, noise_parts(network, cells))
            F = field.mean(cells, order, tol=1e-5)
            errors.append(judge.size(judge.gaps(field.matrix(F))))
    assert "order" in found.graph
    assert found.after < 1.03 * min(errors)


def walks(seed, blocks, m=400, n=10):
    """Columns that move by themselves, of which no row tells more than its neighbours do: the
    completion by column means, cells, and the held-out ones. ``blocks``: long runs are missing.
    """
    rng = np.random.default_rng(seed)
    X = np.cumsum(rng.normal(size=(m, n)), axis=0)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    seen = rng.random(X.shape) < 0.9
    if blocks:
        for j in range(n):
            start = int(rng.integers(20, m - 120))
            seen[start : start + 100, j] = False
    rows, cols = np.argwhere(seen & (rng.random(X.shape) < 0.1)).T
    judge = HeldOut(rows, cols, X[rows, cols], np.arange(n))
    holes = ~seen
    seen[rows, cols] = False
    return X, np.zeros_like(X), Cells(np.where(seen, X, 0.0), seen.astype(float)), judge, holes


@pytest.mark.parametrize("seed", range(3))
def test_lines_are_taken_where_held_out_cells_gain_by_them(seed):
    X, network, cells, judge, holes = walks(seed, blocks=False)
    order = chain(np.arange(len(X)))
    found = choose(network, cells, judge, order)
    assert found.settings.lines > 0.5
    assert found.settings.after == judge.size(judge.gaps(found.completed))
    straight = Lines.of(cells, order)[0].straight
    some = holes & np.isfinite(straight)
    error, line = (np.sqrt(np.mean((x - X)[some] ** 2)) for x in (found.completed, straight))
    assert error < 1.1 * line


@pytest.mark.parametrize("seed", range(3))
def test_lines_go_no_farther_than_held_out_cells_tell(seed):
    """In the middle of a hundred missing rows there is none to learn from."""
    X, network, cells, judge, _ = walks(seed, blocks=True)
    order = chain(np.arange(len(X)))
    found = choose(network, cells, judge, order)
    assert 0 < found.settings.reach < 10
    far = Lines.of(cells, order)[1] > found.settings.reach
    assert far.sum() > 500
    law, F = solve(
        found.settings,
        order,
        cells,
        ColumnCovariance.of(cells.over(network)),
        noise_parts(network, cells),
        center=True,
    )
    field = network + found.shares * (law.matrix(F) - network)
    np.testing.assert_allclose(found.completed[far], field[far], atol=1e-5)


def test_a_round_without_any_variance_left_is_the_last():
    cells = Cells(np.array([[-20.0], [0.0], [0.0]]), np.array([[1.0], [0.0], [0.0]]))
    law = ColumnCovariance(np.array([-20.0]), np.array([[1.0]]), np.zeros(1))
    settings = Refinement(noise=0.1, rounds=2)
    found, F = solve(settings, None, cells, law, np.ones(1), center=True)
    assert found.covariance is law
    np.testing.assert_array_equal(F, np.zeros((3, 1)))
