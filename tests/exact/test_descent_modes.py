"""The equation of one mode under stochastic descent, against that descent itself."""

import mpmath
import numpy as np
import pytest
from cases import SIGNIFICANCE, slow, with_singular_values
from scipy import integrate, stats

import deeplinear as dl


def euler(sigma, target, depth, step, count, substeps, rng, **noise):
    """Euler's steps of the equation, ``substeps`` for each of descent."""
    dt = depth * step / substeps
    for _ in range(count * substeps):
        drift, variance = dl.exact.mode_diffusion(sigma, target, depth, step, **noise)
        sigma = sigma + drift * dt + np.sqrt(variance * dt) * rng.normal(size=sigma.shape)
        sigma = np.maximum(sigma, 0.0)
    return sigma


@pytest.mark.parametrize("depth", [2, slow(3)])
@pytest.mark.parametrize("label_noise", [0.0, slow(1.0)])
def test_minibatches_of_aligned_samples_follow_it(depth, label_noise):
    """Three modes in generic frames, inputs along the right singular vectors, one in each step.

    Means and deviations of 4,000 runs after 40 and 120 steps agree to 5 standard errors and the
    O(η) that steps of η = .01 have.
    """
    rng, runs, eta = np.random.default_rng(0), 4000, 0.01
    goals = np.array([1.5, 1.0, 0.6])
    S = with_singular_values(rng, goals)
    U, _, Vt = np.linalg.svd(S)
    X = np.sqrt(3) * Vt.T
    energy = dl.Regression(X, S @ X, keep_samples=True)
    factors = dl.balanced_factors((U * 0.3) @ Vt, depth, key=1)
    for count in (40, 120):
        found = dl.descend(
            energy,
            [np.repeat(np.asarray(W)[None], runs, 0) for W in factors],
            optimizer=eta,
            steps=count,
            batch=1,
            key=3,
        )
        modes = U.T @ found.W @ Vt.T
        assert abs(modes - modes * np.eye(3)).max() < 1e-9  # they stay aligned, and balanced
        sigma = np.full((runs, 3), 0.3)
        sigma = euler(sigma, goals, depth, eta, count, 4, rng, data_noise=2.0)
        for i in range(3):
            ours, theirs = modes[:, i, i], sigma[:, i]
            spread = ours.std() / np.sqrt(runs)
            assert abs(ours.mean() - theirs.mean()) < 5 * np.sqrt(2) * spread + eta * goals[i]
            assert np.isclose(ours.std(), theirs.std(), rtol=5 / np.sqrt(runs) + 4 * eta)
    if label_noise:  # one mode by itself, whose noise is that of its label
        many = [np.full((runs, 1, 1), 0.3 ** (1 / depth))] * depth
        found = dl.descend(
            dl.Completion.from_dense(np.ones((1, 1))),
            many,
            optimizer=eta,
            steps=120,
            label_noise=1.0,
        )
        ours = found.W.ravel()
        theirs = euler(np.full(runs, 0.3), 1.0, depth, eta, 120, 4, rng, label_noise=1.0)
        assert abs(ours.mean() - theirs.mean()) < 5 * ours.std() * np.sqrt(2 / runs) + eta
        assert np.isclose(ours.std(), theirs.std(), rtol=5 / np.sqrt(runs) + 4 * eta)


@pytest.mark.parametrize("depth", [2, slow(3), slow(4)])
def test_label_noise_ends_in_its_law(depth):
    """Kolmogorov's test on 1,000 runs that have forgotten their start."""
    target, eta, noise = 1.2, 0.004, 4.0
    many = [np.full((1000, 1, 1), 1.0)] * depth
    found = dl.descend(
        dl.Completion.from_dense(np.array([[target]])),
        many,
        optimizer=eta,
        steps=3000,
        label_noise=noise,
        key=11,
    )
    density = lambda x: dl.exact.label_noise_density(x, target, depth, eta, noise)  # noqa: E731
    x = np.linspace(1e-3, 6.0, 20_001)
    law = np.concatenate([[0.0], integrate.cumulative_trapezoid(density(x), x)])
    assert np.isclose(law[-1], 1, atol=1e-6)
    assert stats.kstest(found.W.ravel(), lambda s: np.interp(s, x, law)).pvalue > SIGNIFICANCE
    mean = integrate.trapezoid(x * density(x), x)
    if depth == 2:
        assert np.isclose(mean, target - eta * noise**2 / 2, rtol=1e-5)


@pytest.mark.parametrize("depth", [2, 3, 5.5])
def test_the_law_is_stationary(depth):
    """No current: ½ (a p)′ = b p."""
    x = np.linspace(0.5, 2.0, 2001)
    p = dl.exact.label_noise_density(x, 1.1, depth, 0.01, 2.0)
    drift, variance = dl.exact.mode_diffusion(x, 1.1, depth, 0.01, label_noise=2.0)
    slope = np.gradient(variance * p, x)[5:-5] / 2
    assert np.allclose(slope, (drift * p)[5:-5], atol=2e-4 * abs(slope).max())


def test_without_noise_it_is_the_flow_of_aligned_modes():
    t, h = 0.7, 1e-4
    for depth in (1, 2, 3, 4.5):
        here, there = (dl.exact.aligned(0.2, 1.0, depth, t + x) for x in (-h, h))
        drift, variance = dl.exact.mode_diffusion(
            dl.exact.aligned(0.2, 1.0, depth, t), 1.0, depth, 0.1
        )
        assert variance == 0
        assert np.isclose(drift, (there - here) / (2 * h), rtol=1e-5)


def test_refusals():
    with pytest.raises(dl.DepthError):
        dl.exact.mode_diffusion(1.0, 1.0, np.inf, 0.1)
    with pytest.raises(dl.DepthError):
        dl.exact.label_noise_density(1.0, 1.0, 1.5, 0.1, 1.0)
    for wrong in ({"step": -1.0}, {"label_noise": -1.0}, {"sigma": -1.0}):
        with pytest.raises(dl.InputError, match=next(iter(wrong))):
            dl.exact.mode_diffusion(
                **{"sigma": 1.0, "target": 1.0, "depth": 2, "step": 0.1, **wrong}
            )
    with pytest.raises(dl.InputError, match="falls to 0"):
        dl.exact.label_noise_density(1.0, 0.1, 2, 0.1, 3.0)


def density_by_quadrature(x, s, depth, noise):
    """p(x) of label noise, normalized by mpmath with 40 digits."""
    with mpmath.workdps(40):
        x, s, N, noise = map(mpmath.mpf, (x, s, depth, noise))
        if N == 2:
            shape = s / noise - mpmath.mpf(1) / 2
            log_p = (shape - 1) * mpmath.log(x) - x / noise
            return float(mpmath.exp(log_p - mpmath.loggamma(shape) - shape * mpmath.log(noise)))

        def log_weight(y):
            hill = mpmath.exp(2 * y / N) / 2 + s * mpmath.exp((2 / N - 1) * y) / (N - 2)
            return (3 / N - 2) * y - 2 / noise * hill

        top = mpmath.findroot(lambda y: mpmath.diff(log_weight, y), mpmath.log(s) - noise)
        width = 1 / mpmath.sqrt(-mpmath.diff(log_weight, top, 2))
        ends = [top + k * width for k in (-40, -10, -3, 0, 3, 10, 40)]
        total = mpmath.quad(lambda y: mpmath.exp(log_weight(y) - log_weight(top)), ends)
        return float(mpmath.exp(log_weight(mpmath.log(x)) - log_weight(top)) / total / x)


@pytest.mark.parametrize("depth", [2, 2.001, 3, 10])
@pytest.mark.parametrize(
    ("noise", "rtol"), [(0.1, 1e-12), (1e-4, 1e-12), (1e-7, 1e-11), (1e-12, 1e-8)]
)
def test_the_law_of_label_noise_however_weak_it_is(depth, noise, rtol):
    """The law is as narrow as √noise: between the points of a grid it was not seen, and p was ∞."""
    for z in (-1.0, 0.3, 2.0):
        x = 1.2 + z * noise**0.5
        found = dl.exact.label_noise_density(x, 1.2, depth, noise, 1.0)
        np.testing.assert_allclose(found, density_by_quadrature(x, 1.2, depth, noise), rtol=rtol)


@pytest.mark.parametrize(("depth", "noise"), [(2.001, 3.0), (3, 1e3), (3, 1e300), (10, 1e6)])
def test_the_law_of_strong_label_noise_far_down(depth, noise):
    """Its mass is 1, of log σ, where e^{2y/N} is beyond floats beside the place of the mode."""
    middle = np.log(noise / 2 * (2 * depth - 3)) / (2 / depth - 1)
    y = middle + np.linspace(-60, 60, 40001) * max(1.0, 1 / (depth - 2))
    y = y[(y > -700) & (y < 700)]
    p = dl.exact.label_noise_density(np.exp(y), 1.0, depth, noise, 1.0)
    assert np.isfinite(p).all()
    if middle > -600:
        np.testing.assert_allclose(np.trapezoid(p * np.exp(y), y), 1.0, rtol=1e-6)


@pytest.mark.parametrize("arguments", [(1e-200, 1e-100), (1e308, 1e10)])
def test_a_law_of_label_noise_beyond_floats(arguments):
    with pytest.raises(dl.InputError, match="range of floats"):
        dl.exact.label_noise_density(1.0, 1.0, 3, *arguments)


def test_shapes_that_do_not_broadcast():
    with pytest.raises(dl.InputError, match=r"^sigma and target must broadcast"):
        dl.exact.mode_diffusion([1.0, 2.0], [1.0, 2.0, 3.0], 3, 0.1)
