"""The experiments on training in finite steps, against loops in NumPy and closed forms."""

import jax
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.experiments.figures import (
    _descent,
    edge_of_stability,
    label_noise,
    optimizers,
    step_size_bias,
    warm_up,
)


def plain_descent(energy_gradient, factors, eta, steps):
    """Descent on two layers, in NumPy; stops where it runs away."""
    A, B = (np.array(W, float) for W in factors)
    for _ in range(steps):
        R = energy_gradient(B @ A)
        A, B = A - eta * B.T @ R, B - eta * R @ A.T
        if np.abs(A).max() > 1e6:
            break
    return A, B


# The edge of stability


@pytest.mark.slow
def test_cycles_at_two_layers_against_their_closed_form_and_a_loop():
    ds = edge_of_stability.simulate(
        seed=1,
        depths=(2,),
        ratios=(0.97, 1.1, 1.22, 1.25, 1.4),
        burn_in=4000,
        orbit=8,
        shown=(1.2,),
        steps=300,
    )
    # period doubling at √5 − 1 = 1.236, where the multiplier 9 − 2 (1 + a)² of the cycle is −1
    assert ds.period.values[0].tolist()[:4] == [0, 2, 2, 4]
    for ratio in (1.1, 1.22):
        here = ds.sigma.sel(depth=2, ratio=ratio)
        known = edge_of_stability.two_layer_cycle(np.array(ratio), 2.0)
        np.testing.assert_allclose([here.min(), here.max()], known, rtol=1e-10)
        _, B = plain_descent(lambda W: W - 2.0, (np.ones((1, 1)),) * 2, ratio / 2, 4000)
        assert min(abs(B[0, 0] ** 2 - np.array(known))) < 1e-10
    # past 4/3 a mode alone stays bounded, and one beside others does not
    target = np.diag(edge_of_stability.SPECTRUM)
    start = dl.balanced_factors(np.full((3, 3), 0.05) + 0.2 * np.eye(3), 2, key=0)
    alone = plain_descent(lambda W: W - 2.0, (np.full((1, 1), 0.5),) * 2, 0.7, 4000)
    beside = plain_descent(lambda W: W - target, start, 0.7, 4000)
    assert np.abs(alone).max() < 3
    assert np.abs(beside).max() > 1e6
    assert ds.diverged.values[0].tolist() == [False] * 4 + [True]
    gap = ds.gap.values[0]
    assert gap[-1, 0] < 1e-5 * gap[0, 0]
    np.testing.assert_allclose(ds.flow_gap, gap[0], rtol=1e-5)
    assert gap[-1, 2] == pytest.approx(gap[0, 2], rel=0.02)


# Optimizers


def adam_by_hand(energy_gradient, factors, eta, steps):
    """Adam on three layers, in NumPy, as Kingma and Ba wrote it."""
    F = [np.array(W, float) for W in factors]
    m, v = [0 * W for W in F], [0 * W for W in F]
    for t in range(1, steps + 1):
        R = energy_gradient(F[2] @ F[1] @ F[0])
        slopes = [F[1].T @ F[2].T @ R, F[2].T @ R @ F[0].T, R @ F[0].T @ F[1].T]
        for p, g in enumerate(slopes):
            m[p], v[p] = 0.9 * m[p] + 0.1 * g, 0.999 * v[p] + 0.001 * g * g
            F[p] = F[p] - eta * (m[p] / (1 - 0.9**t)) / (np.sqrt(v[p] / (1 - 0.999**t)) + 1e-8)
    return F


@pytest.mark.slow
def test_descent_keeps_the_charge_to_order_one_and_adam_does_not():
    settings = dict(depth=3, runs=12, scale=0.3, steps=20_000)
    methods = (("descent", 0.04), ("descent", 0.01), ("Adam", 0.01))
    ds = optimizers.simulate(seed=2, methods=methods, **settings)
    assert np.isfinite(ds.charge).all()
    for name in ("distance", "charge"):
        big, small, adam = ds[name].median("run").values.T[1:]
        np.testing.assert_allclose(big / small, 4, rtol=0.1)  # order 1 in η
        assert (adam > 10 * big).all()
    # the end of one run of Adam: a loop in NumPy to where nothing is left
    start = 0.3 * np.asarray(jax.random.normal(jax.random.key(2), (12, 2, 2), np.float64))
    factors = [W[3] for W in _descent.balanced(start, 3, 2)]
    F = adam_by_hand(lambda W: np.diag(np.diag(W) - 0.92), factors, 0.01, 3000)
    W = F[2] @ F[1] @ F[0]
    np.testing.assert_allclose(np.diag(W), 0.92, atol=1e-5)
    end = ds.unknown.sel(way="Adam 0.01").values[3]
    np.testing.assert_allclose([W[0, 1], W[1, 0]], end, atol=1e-3)
    charge = float(ds.charge.sel(problem="hyperbola", way="Adam 0.01")[3])
    assert optimizers.charges([W[None] for W in F])[0] == pytest.approx(charge, abs=1e-3)


# The bias of the step


@pytest.mark.slow
def test_effective_ranks_over_time_against_the_mode_by_mode_recursion():
    ds = step_size_bias.simulate(
        seed=3, depths=(2,), ratios=(0.5,), times=30, runs=4, scale=0.3, steps=2000, grid=(0.1, 0.5)
    )
    assert (ds.found_share >= 0.75).all()
    # w_i ← w_i + η w_i (s_i − w_i²) from α in every mode
    s, eta = step_size_bias.SPECTRUM, 0.5 / step_size_bias.SPECTRUM[0]
    w, last = np.full(s.size, step_size_bias.START), int(ds.step[0, 0, -1])
    for _ in range(last):
        w = w + eta * w * (s - w * w)
    expected = np.sum(w**2) / np.max(w**2)
    assert float(ds.plateau_rank[0, 0, -1]) == pytest.approx(expected, rel=1e-9)


# Label noise


def test_label_noise_loses_rank_where_minibatches_keep_it():
    """Varre et al.; descent against a loop in NumPy on the samples themselves."""
    sigma, at = label_noise.regression(0, 40, 2, 0.01, 3.0, 5, 6000)
    gd, sgd, noisy = sigma[:, :, -1]
    assert (np.minimum(gd, sgd)[:, -1] > 0.5 * sigma[0, :, 0, -1]).all()
    assert (noisy[:, 2:] < 0.85 * gd[:, 2:]).all()
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(5, 40)), rng.normal(size=(2, 5))
    A, B = rng.normal(size=(2, 10, 5))[0], rng.normal(size=(2, 2, 10))[0]
    for _ in range(at[-1]):
        R = (B @ A - truth) @ X @ X.T / 40
        A, B = A - 0.01 * B.T @ R, B - 0.01 * R @ A.T
    np.testing.assert_allclose(gd[0], np.linalg.svd(A)[1], rtol=1e-8)


# Warm-up


def test_what_trains_with_and_without_warm_up_against_a_loop():
    target, start = warm_up.truth(1), warm_up.starts(2, 1.0, 3, 1)
    energy = dl.Completion.from_dense(target)
    sharp = warm_up.sharpness(energy, start)
    for k in range(3):  # all entries observed, two layers: the Hessian by differences of gradients
        A, B = start[0][k], start[1][k]

        def slope(x):
            X, Y = x.reshape(2, 4, 4)
            R = Y @ X - target
            return np.concatenate([(Y.T @ R).ravel(), (R @ X.T).ravel()])

        at = np.concatenate([A.ravel(), B.ravel()])
        H = np.stack([(slope(at + h) - slope(at - h)) / 2e-4 for h in 1e-4 * np.eye(32)])
        assert sharp[k] == pytest.approx(np.linalg.eigvalsh((H + H.T) / 2)[-1], rel=1e-5)
    warmed, found = warm_up.train(energy, start, 0.5 / sharp, 20, 300)
    for k in range(3):
        A, B = start[0][k], start[1][k]
        for step in range(320):
            eta = 0.5 / sharp[k] * min(1.0, (step // 2 + 1) / 10)
            R = B @ A - target
            A, B = A - eta * B.T @ R, B - eta * R @ A.T
            if step == 19:
                np.testing.assert_allclose(warmed[0][k], A, atol=1e-12)
        assert found.loss[k] <= 0.5 * np.sum((B @ A - target) ** 2) * (1 + 1e-6) + 1e-12
