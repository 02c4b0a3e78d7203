"""Losses on top of a backend: true energies and gradients, the same on every backend."""

import numpy as np
import pytest
from completion_data import observe

from deeplinear.completion.backends.base import width
from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.backends.reweighted import Reweighted, with_losses
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.loss import HUBER, ORDINAL, POISSON
from deeplinear.completion.solver.pilot import learn

M, N, RANK = 20, 12, 3
KINDS = {"huber": HUBER, "ordinal": ORDINAL, "poisson": POISSON}


def case(kind):
    rng = np.random.default_rng(0)
    X, mask = rng.poisson(2.0, (M, N)) * 1.0, rng.random((M, N)) < 0.7
    seen = observe(X, mask, rng.uniform(0.5, 2, (M, N)))
    sides = []
    for lines, one in ((M, RANK + 1), (N, RANK)):
        side = np.zeros((lines, width(RANK)))
        side[:, : RANK + 2] = 0.3 * rng.normal(size=(lines, RANK + 2))
        side[:, one] = 1
        sides.append(side)
    return seen, learn([KINDS[kind]], seen), *sides


def solve(backend, seen, Z, Y, steps):
    free = np.zeros(Z.shape[1])
    free[: RANK + 1] = 1
    how = np.full(Z.shape[1], 0.4), np.zeros(Z.shape[1]), np.ones(M), free
    return backend.solve(seen.by_row, Z, Y, np.float64(0.2), *how, steps)


def energy(losses, seen, Z, Y):
    rows, cols, x = seen.triples()
    value = losses.of(x, cols).touch(0.2 + np.sum(Z[rows] * Y[cols], axis=1))[0]
    return np.sum(seen.by_row.weights * value)


@pytest.mark.parametrize("kind", KINDS)
def test_energy_and_residuals_are_those_of_the_loss(kind):
    seen, losses, Z, Y = case(kind)
    backend = Reweighted(Dense(), losses, seen)
    assert solve(backend, seen, Z, Y, 0).energy == pytest.approx(energy(losses, seen, Z, Y))
    residual = backend.residual_matmul(seen.by_row, Z, Y, np.eye(N), np.float64(0.2), 0)
    i, k, h = 4, 1, 1e-6
    ends = []
    for step in (-h, h):
        moved = Z.copy()
        moved[i, k] += step
        ends.append(energy(losses, seen, moved, Y))
    assert residual[i] @ Y[:, k] == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_descends_the_same_way_on_both_backends(kind):
    seen, losses, Z, Y = case(kind)
    moved = []
    for inner in (Dense(), Loops()):
        mine = Z.copy()
        solve(Reweighted(inner, losses, seen), seen, mine, Y, 3)
        moved.append(mine)
    np.testing.assert_allclose(*moved, rtol=1e-9)

    def objective(side):
        return energy(losses, seen, side, Y) + 0.2 * np.square(side[:, : RANK + 1]).sum()

    assert objective(moved[0]) < objective(Z)


def test_long_poisson_steps_are_halved():
    seen, losses, Z, Y = case("poisson")
    Z[:, :RANK] *= -15  # so low a rate that a Newton step would go far beyond
    before, mine = energy(losses, seen, Z, Y), Z.copy()
    solve(Reweighted(Dense(), losses, seen), seen, mine, Y, 5)
    assert energy(losses, seen, mine, Y) < before


def test_squared_errors_need_no_backend_of_their_own():
    seen, losses, _, _ = case("huber")
    inner = Dense()
    assert with_losses(inner, None, seen) is inner
    assert with_losses(inner, losses, seen).inner is inner


def test_dense_copies_are_let_go():
    seen, losses, Z, Y = case("huber")
    inner = Dense()
    for _ in range(3):
        solve(Reweighted(inner, losses, seen), seen, Z, Y, 1)
    assert not inner._tables
