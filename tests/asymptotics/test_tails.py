"""Measured rates against predicted ones, and of known curves."""

import math

import diffrax as dfx
import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear import asymptotics as asy


def problem(rng, shape):
    """A random completion problem, with somewhat more than half of the entries, and a start of
    moderate size.
    """
    size = math.prod(shape)
    mask = (rng.permutation(size) < round(0.55 * size)).reshape(shape)
    return dl.Completion.from_dense(np.where(mask, rng.normal(size=shape), np.nan)), rng.normal(
        size=shape
    )


def settle(energy, W0, depth):
    """The flow to E = 1e−24, all its steps saved."""
    return dl.gradient_flow(
        *(energy, W0, depth),
        chart="dense",
        stop_energy=1e-24,
        saveat=dfx.SaveAt(steps=1, t1=True),
        rtol=1e-13,
        atol=1e-16,
        max_steps=5000,
    )


# At N = ∞ the row space of a wide W is frozen, and the energy need not tend to 0: depth 4 instead.
@pytest.mark.parametrize(
    ("shape", "last"),
    [slow((4, 4), math.inf), slow((3, 5), 4)],
    ids=["4x4", "3x5"],
)
def test_measured_rates_are_the_predicted_ones_on_random_problems(rng, shape, last):
    # 2 × 10 problems whose limit has full rank (σ_k > 0.02): every one within 1 %.
    errors = []
    while len(errors) < 10:
        depth = (2, 3, 5, 2.5, last)[len(errors) % 5]
        energy, W0 = problem(rng, shape)
        flow = settle(energy, W0, depth)
        if flow.status != dl.Status.energy or float(flow.singular_values[-1, -1]) < 0.02:
            continue
        predicted, measured = asy.predicted_rate(energy, flow.end, depth), asy.measured_rate(flow)
        assert predicted.status == measured.status == dl.Status.converged
        assert int(predicted.frozen) == 0
        errors.append(measured.value / float(predicted.value) - 1)
        assert abs(errors[-1]) < 5 * measured.error / measured.value + 1e-4
    assert np.abs(errors).max() < 0.01
    assert np.median(np.abs(errors)) < 1e-4


def test_the_measured_rate_of_known_curves():
    t = np.linspace(0, 40, 200)
    noise = 1 + 0.05 * np.random.default_rng(1).normal(size=t.size)
    exact = asy.measured_rate(t, 5 * np.exp(-2 * 0.4 * t) + 3 * np.exp(-2 * 0.9 * t))
    assert exact.value == pytest.approx(0.4, rel=1e-6)
    noisy = asy.measured_rate(t, 5 * np.exp(-0.8 * t) * noise)
    assert noisy.value == pytest.approx(0.4, abs=max(5 * noisy.error, 1e-9))
    assert noisy.error < 0.02 * 0.4
    # a plateau first, and rounding noise at the end
    late = 1 / (1 + np.exp(1.2 * (t - 10))) + 1e-13 * np.abs(
        np.random.default_rng(2).normal(size=t.size)
    )
    assert asy.measured_rate(t, late).value == pytest.approx(0.6, rel=5e-3)
    shifted = asy.measured_rate(t, 0.3 + np.exp(-0.8 * t), limit=0.3)
    assert shifted.value == pytest.approx(0.4, rel=1e-3)
    for curve in (
        *((1 + t) ** -p for p in (1, 2, 6, 20.0)),
        0.3 + np.exp(-0.8 * t),
        np.ones(200),
        0 * t,
        np.exp(0.1 * t),
    ):
        assert asy.measured_rate(t, curve).status == dl.Status.no_tail
    with pytest.raises(dl.InputError, match="one length"):
        asy.measured_rate(t, t[1:])
    with pytest.raises(dl.InputError, match="increasing"):
        asy.measured_rate(t[::-1], t)
