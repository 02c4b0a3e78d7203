"""The Monte Carlo volume of low loss, against exact laws, plain sampling and wrong exponents."""

import itertools

import numpy as np
import pytest
from cases import slow
from scipy.integrate import quad
from scipy.stats import ncx2, norm

import deeplinear as dl
from deeplinear.verify import volume_scaling
from deeplinear.verify.low_loss import _draw_layer, _log_volumes


def mean_volumes(widths, rank, particles, runs, reach=1.0):
    """ε, the mean volume over independent runs with one true matrix each, its standard error."""
    found = [
        _log_volumes(widths, rank, particles, reach, np.random.default_rng([5, i]))
        for i in range(runs)
    ]
    volume = np.exp([v for _, v in found])
    return found[0][0], volume.mean(0), volume.std(0, ddof=1) / np.sqrt(runs)


def test_a_product_of_two_numbers_by_quadrature():
    eps, volume, error = mean_volumes((1, 1, 1), 0, 300, 16)
    for k in range(2, eps.size, 9):
        root = np.sqrt(eps[k])
        inside, _ = quad(
            lambda u, r=root: (
                (2 * norm.cdf(r / np.exp(u)) - 1) * 2 * norm.pdf(np.exp(u)) * np.exp(u)
            ),
            -40,
            3,
            limit=400,
            points=[np.log(root)],
        )
        assert abs(volume[k] - inside) < 4 * error[k], eps[k]


def test_one_layer_is_a_ball_under_a_normal_law():
    for i in range(4):
        rng = np.random.default_rng([9, i])
        eps, log_volume = _log_volumes((2, 2), 1, 3000, 2.0, rng)
        again = np.random.default_rng([9, i])  # the same true matrix
        _ = [again.normal(size=(2, 1)) for _ in range(2)]
        square = again.uniform(1, 2, 1)[0] ** 2
        exact = ncx2.logcdf(eps, 4, square)
        seen = eps < 30
        # 3,000 particles, some of them lost at each of up to 70 steps
        assert np.abs(log_volume - exact)[seen].max() < 0.35
        assert np.abs(log_volume - exact)[seen].mean() < 0.15


@pytest.mark.parametrize(("widths", "rank"), [((2, 2, 2), 1), slow((2, 1, 2, 3), 1)])
def test_large_volumes_by_plain_sampling(widths, rank):
    rng = np.random.default_rng(3)
    eps, volume, error = mean_volumes(widths, rank, 200, 20)
    share = np.zeros((20, eps.size))
    for i in range(20):  # the same true matrices
        again = np.random.default_rng([5, i])
        U, V = (np.linalg.qr(again.normal(size=(d, rank)))[0] for d in (widths[-1], widths[0]))
        target = (U * again.uniform(1, 2, rank)) @ V.T
        W = rng.normal(size=(40_000, widths[1], widths[0]))
        for n, d in itertools.pairwise(widths[1:]):
            W = rng.normal(size=(40_000, d, n)) @ W
        share[i] = np.mean(np.sum((W - target) ** 2, (1, 2))[:, None] < eps, 0)
    k = np.flatnonzero((share.mean(0) > 3e-3) & (share.mean(0) < 0.5))
    assert k.size > 3
    noise = np.sqrt(error[k] ** 2 + share[:, k].mean(0) / 800_000)
    assert (np.abs(volume - share.mean(0))[k] < 4 * noise).all()


def test_a_layer_is_drawn_from_its_law(rng):
    """Mean and covariance against the normal equations of the whole layer."""
    A, B, target = rng.normal(size=(3, 2)), rng.normal(size=(2, 4)), rng.normal(size=(3, 4))
    count, beta = 60_000, 0.7
    stack = [np.broadcast_to(X, (count, *X.shape)) for X in (B, np.zeros((2, 2)), A)]
    X = _draw_layer(stack, 1, target, beta, rng).reshape(count, -1)
    K = np.kron(A, B.T)  # A X B, row by row
    precision = np.eye(4) + 2 * beta * K.T @ K
    covariance = np.linalg.inv(precision)
    mean = covariance @ (2 * beta * K.T @ target.ravel())
    size = np.sqrt(np.diag(covariance))
    assert (np.abs(X.mean(0) - mean) < 5 * size / np.sqrt(count)).all()
    off = np.abs(np.cov(X.T) - covariance) / np.outer(size, size)
    assert off.max() < 8 / np.sqrt(count)


CASES = [
    ((2, 2, 2), 0),
    ((2, 2, 2), 1),  # multiplicity 2
    ((1, 1, 1, 1), 0),  # multiplicity 3
    ((3, 2, 4), 1),
    ((3, 4), 2),
]


@pytest.mark.parametrize(("widths", "rank"), CASES)
def test_the_exponent_is_the_learning_coefficient(widths, rank):
    lam, m = dl.learning_coefficient(widths, rank)
    check = volume_scaling(widths, rank, particles=200, repeats=8, seed=1)
    assert check, check
    assert check.figures["standard error"] < 0.03
    for wrong in (lam - 0.25, lam + 0.25):
        figures = check.figures
        assert abs(figures["slope"] - wrong) > 0.05 + 3.5 * figures["standard error"]
    assert not volume_scaling(widths, rank, coefficient=(lam + 0.5, m), particles=50, repeats=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "rank"), [((5, 5, 5), 1), ((3, 3, 3, 3), 1), ((4, 2, 3, 4), 1), ((2,) * 5, 1)]
)
def test_the_exponent_of_larger_networks(widths, rank):
    assert volume_scaling(widths, rank, seed=2)


def test_sentences():
    for change in ({"particles": 1}, {"repeats": 2}, {"tol": 0.0}, {"rank": 3}):
        with pytest.raises(dl.InputError):
            volume_scaling(**{"widths": (2, 2, 2), "rank": 1, **change})
