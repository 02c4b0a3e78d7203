"""Probabilities of labels: their limits, and the slope against a direct minimization."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from deeplinear.completion.posterior.labels import LabelLaw


def known(n=2000, slope=4.0, seed=0):
    """Predicted indicators, and labels drawn from the law with this slope."""
    rng = np.random.default_rng(seed)
    prior = np.array([0.5, 0.3, 0.2])
    u = prior + 0.3 * rng.normal(size=(n, 3))
    p = prior * np.exp(slope * (u - prior))
    p /= p.sum(axis=1, keepdims=True)
    return u, np.array([rng.choice(3, p=row) for row in p]), prior


def test_the_slope_of_the_law_that_labels_were_drawn_from_is_found():
    u, truth, prior = known()
    law = LabelLaw(prior, 1.5).calibrated(u, truth)
    assert law.slope == pytest.approx(4.0, rel=0.2)
    best = minimize_scalar(
        lambda b: LabelLaw(prior, b).log_loss(u, truth), bounds=(0, 50), method="bounded"
    )
    assert law.log_loss(u, truth) == pytest.approx(best.fun, abs=1e-3)


def test_without_information_it_is_the_law_of_the_frequencies():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 3000, p=[0.5, 0.3, 0.2])
    law = LabelLaw.start(np.bincount(truth)).calibrated(rng.normal(size=(3000, 3)), truth)
    np.testing.assert_allclose(
        law.probabilities(rng.normal(size=(9, 3))), np.tile(law.prior, (9, 1)), atol=0.15
    )
    assert law.log_loss(rng.normal(size=(3000, 3)), truth) < 1.05 * -np.sum(
        law.prior * np.log(law.prior)
    )


def test_few_cells_do_not_make_certain():
    law = LabelLaw.start(np.array([50.0, 50.0]))
    u, truth = np.array([[0.8, 0.2], [0.1, 0.9]]), np.array([0, 1])
    assert law.calibrated(u, truth).probabilities(u).max() < 0.999
    assert law.calibrated(u[:0], truth[:0]) == law


def test_small_deviations_pass_unchanged():
    for k in (2, 4):
        law = LabelLaw.start(np.full(k, 1e6))
        u = law.prior + 1e-3 * np.r_[1.0, -1.0, np.zeros(k - 2)]
        np.testing.assert_allclose(law.probabilities(u[None])[0], u, atol=1e-5)


def test_one_label_is_certain():
    law = LabelLaw.start(np.array([7.0]))
    assert (law.probabilities(np.array([[0.3], [2.0]])) == 1).all()
