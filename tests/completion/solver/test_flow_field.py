"""The stabilized steps: their polynomial, and the rate that their number follows."""

import math

import numpy as np
import pytest
from oracles import operator_matrix

from deeplinear.completion.backends.open import open_backend
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import make_problem
from deeplinear.completion.solver.flow_field import MARGIN, FlowField, Point, _stages
from deeplinear.completion.solver.options import FitOptions
from deeplinear.completion.solver.start import additive


def stability(z, count):
    """R(z): a step of y′ = (z/h) y from 1."""
    before, here, first = 1.0, 1.0, 1.0
    for mu, nu, rate, own in _stages(count):
        new = (1 - mu - nu) * first + mu * here + nu * before + z * (rate * here + own * first)
        before, here = here, new
    return here


@pytest.mark.parametrize("count", [2, 3, 5, 12, 60])
def test_steps_are_of_second_order_and_stable_as_far_as_promised(count):
    z = np.array([-2e-3, -1e-3])
    third = (stability(z, count) - np.exp(z)) / z**3
    np.testing.assert_allclose(third[0], third[1], rtol=0.05)
    assert np.abs(third).max() < 0.2
    # of 1 + ⌊√(1 + 1.54 hρ)⌋ stages
    reach = (count**2 - 1) / 1.54
    assert np.abs(stability(-np.linspace(0.01, reach, 2_000), count)).max() <= 1 + 1e-9


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_the_stiffest_rate_is_about_that_of_the_linearized_flow(depth, rng):
    m, n = 12, 9
    mask = rng.random((m, n)) < 0.6
    rows, cols = np.nonzero(mask)
    seen = Observations.from_triples(rows, cols, rng.normal(size=len(rows)), (m, n))
    U, V = (np.linalg.qr(rng.normal(size=(side, n)))[0] for side in (m, n))
    s = np.geomspace(5, 1e-3, n)
    options = FitOptions(depth=depth, max_rank=n, bias_ridge=None).for_data(seen, flow=True)
    with open_backend(seen, None, "cpu") as backend:
        problem = make_problem(seen, options, backend)
        field = FlowField(problem, depth, additive(problem), 1e-3)
        found = field.stiffness(Point(U, s, V, 0.0, 0.0))
    A = operator_matrix((U * s) @ V.T, depth)
    rate = np.linalg.eigvals(A * mask.ravel()).real.max()
    assert rate <= found <= 3 * MARGIN * rate
