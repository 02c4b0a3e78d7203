"""`verify.step_size`: descent of small steps is the flow, to the next order a modified one."""

import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.verify import descent as module

RNG = np.random.default_rng(3)
X = np.where(RNG.random((3, 4)) < 0.7, RNG.normal(size=(3, 4)), np.nan)
X[0, 0] = 1.0
ENERGY = dl.Completion.from_dense(X)


@pytest.mark.parametrize("widths", [slow((4, 3)), (4, 2, 3), slow((4, 5, 3, 3))])
@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_the_orders_are_one_and_two(widths, decay):
    factors = dl.normal_factors(widths, 0.8, key=1)
    check = dl.verify.step_size(ENERGY, factors, 2.0, weight_decay=decay)
    assert check
    assert abs(check.figures["order"] - 1) < 5e-3
    assert abs(check.figures["modified_order"] - 2) < 5e-3
    assert check.figures["modified_distances"][-1] < 1e-2 * check.figures["distances"][-1]


def test_the_leading_term_of_the_distance():
    """One layer, E = ½ (w − 1)²: (1 − η)^k − e^{−kη} = −(η τ/2) e^{−τ} to first order."""
    check = dl.verify.step_size(lambda W: jnp.sum((W - 1) ** 2) / 2, [np.zeros((1, 1))], 1.0)
    eta = check.figures["steps"][-1]
    flow = 1 - np.exp(-1)
    assert np.isclose(check.figures["distances"][-1], eta / 2 * np.exp(-1) / flow, rtol=1e-3)


def test_what_is_no_gradient_descent_fails(monkeypatch):
    real = module.descend
    wrong = lambda *args, optimizer, **more: real(*args, optimizer=1.01 * optimizer, **more)  # noqa: E731
    monkeypatch.setattr(module, "descend", wrong)
    check = dl.verify.step_size(ENERGY, dl.normal_factors((4, 5, 3), 0.8, key=1), 2.0)
    assert not check
    assert "η²" in check.summary


def test_steps_that_diverge_fail_and_float32_is_refused():
    factors = dl.normal_factors((4, 5, 3), 0.8, key=1)
    assert not dl.verify.step_size(ENERGY, factors, 200.0, step=50.0, halvings=1)
    small = [np.asarray(W, np.float32) for W in factors]
    seen = dl.Completion.from_dense(X.astype(np.float32))
    with pytest.raises(dl.PrecisionError, match="float64"):
        dl.verify.step_size(seen, small, 2.0)
    with pytest.raises(dl.InputError, match="t1"):
        dl.verify.step_size(ENERGY, factors, -1.0)
