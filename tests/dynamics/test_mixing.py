"""R̂ and effective sample sizes against processes whose autocorrelation is known."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.dynamics.mixing import effective_samples, split_r_hat


def autoregression(rng, rho, chains, samples):
    """x_t = ρ x_{t−1} + noise, stationary, of variance 1: ESS/n = (1 − ρ)/(1 + ρ) for its mean."""
    x = np.empty((chains, samples))
    x[:, 0] = rng.normal(size=chains)
    noise = np.sqrt(1 - rho**2) * rng.normal(size=(chains, samples))
    for t in range(1, samples):
        x[:, t] = rho * x[:, t - 1] + noise[:, t]
    return x


def indicator_size(rho, q):
    """ESS/n of 1{x ≤ the q quantile} of that process, by its bivariate normal laws."""
    from scipy.stats import multivariate_normal, norm

    a, tau = norm.ppf(q), 1.0
    for t in range(1, 200):
        r = rho**t
        if r < 1e-6:
            break
        both = multivariate_normal.cdf([a, a], cov=[[1, r], [r, 1]])
        tau += 2 * (both - q * q) / (q - q * q)
    return 1 / tau


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_samples_of_autoregressions(rng, rho):
    """To 12 per cent, three standard errors of the estimate over these 40,000 draws."""
    x = autoregression(rng, rho, 20, 2000)
    expected = x.size * min((1 - rho) / (1 + rho), indicator_size(rho, 0.05))
    assert effective_samples(x) == pytest.approx(expected, rel=0.12)
    assert split_r_hat(x) < 1.02


def test_effective_samples_tell_how_far_means_are_off(rng):
    """The variance of the mean over 400 experiments is 1/ESS."""
    runs = np.stack([autoregression(rng, 0.6, 4, 300) for _ in range(400)], -1)
    size = np.mean(effective_samples(runs))
    # the tails decide, and are worth less than the mean; its own size is n(1 − ρ)/(1 + ρ) = n/4
    assert 1 / runs.mean((0, 1)).var() == pytest.approx(1200 / 4, rel=0.25)
    assert size == pytest.approx(1200 * min(0.25, indicator_size(0.6, 0.05)), rel=0.25)


def test_r_hat_sees_what_plain_chains_hide(rng):
    x = rng.normal(size=(4, 1000))
    assert split_r_hat(x) < 1.01
    drift = x + np.linspace(0, 2, 1000)  # all chains alike: only halves differ
    assert split_r_hat(drift) > 1.1
    spread = (
        x * np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    )  # equal means: only the folded draws differ
    assert split_r_hat(spread) > 1.05
    heavy = rng.standard_cauchy(size=(4, 1000))  # no variance: ranks alone make sense
    assert split_r_hat(heavy) < 1.01
    assert np.argmax(split_r_hat(np.stack([x, drift, x], -1))) == 1


def test_the_plain_formula_on_halves():
    """Of evenly spread normal scores: √((n−1)/n + B/(nV)) from its definition."""
    from scipy.stats import norm, rankdata

    x = np.array([[1.0, 4.0, 2.0, 8.0, 5.0, 7.0], [3.0, 9.0, 6.0, 12.0, 10.0, 11.0]])
    parts = [x[0, :3], x[0, 3:], x[1, :3], x[1, 3:]]

    def plain(parts):
        scores = norm.ppf((rankdata(np.ravel(parts)) - 0.375) / (12 + 0.25)).reshape(4, 3)
        V = np.mean([np.var(p, ddof=1) for p in scores])
        B = 3 * np.var([np.mean(p) for p in scores], ddof=1)
        return np.sqrt((2 * V + B) / 3 / V)

    folded = [np.abs(p - np.median(parts)) for p in parts]
    assert split_r_hat(x) == pytest.approx(max(plain(parts), plain(folded)), rel=1e-12)


def test_what_cannot_be_judged_is_nan():
    x = np.random.default_rng(0).normal(size=(2, 50, 3))
    x[..., 1], x[0, 7, 2] = 1.0, np.nan
    for judge in (split_r_hat, effective_samples):
        assert np.isnan(judge(x)).tolist() == [False, True, True]
    with pytest.raises(dl.InputError, match=r"^draws must be chains × samples with at least 4"):
        split_r_hat(np.ones((2, 3)))
