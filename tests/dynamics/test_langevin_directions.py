"""Noise along the fibres and across them: the mean curvature of fibres, and the laws downstairs.

Kolmogorov–Smirnov at 1e−3 after Bonferroni.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, SIGNIFICANCE, Distance, slow
from scipy import stats

import deeplinear as dl
from deeplinear.dynamics.langevin_factors import BalancedProcess, along_fibre

W0 = np.array([[1.2, 0.3], [-0.2, 0.6]])
ENERGY = Distance(jnp.array([[1.0, 0.5], [-0.3, 0.4]]), 2.0)


def assert_law(*tests):
    values = [t.pvalue for t in tests]
    assert min(values) > SIGNIFICANCE / len(values), values


def skew_frames(N, d):
    """Each (a_1, …, a_{N−1}) with one entry of one a_p turned on."""
    for p, i, j in itertools.product(range(N - 1), range(d), range(d)):
        if i < j:
            a = np.zeros((N + 1, d, d))
            a[p + 1, i, j], a[p + 1, j, i] = 1.0, -1.0
            yield a


def action(a, F):
    return np.stack([a[p + 1] @ X - X @ a[p] for p, X in enumerate(F)])


@pytest.mark.parametrize(("N", "d"), [(2, 3), (3, 2), (4, 3)])
def test_mean_curvature_of_fibres_by_their_second_fundamental_form(rng, N, d):
    """The trace of the accelerations ξ²F of e^{tξ}F in an orthonormal frame of the fibre, without
    what is tangent to the fibre or normal to the manifold of balanced factors.
    """
    W = rng.normal(size=(d, d))
    F = np.stack(dl.balanced_factors(W, N, KEY))
    generators = np.stack(list(skew_frames(N, d)))
    L = np.stack([action(a, F).ravel() for a in generators], 1)
    Q, T = np.linalg.qr(L)
    # the generators of an orthonormal frame
    frame = np.einsum("gpij,gk->kpij", generators, np.linalg.inv(T))
    total = sum(action(a, action(a, F)) for a in frame).ravel()
    total -= Q @ (Q.T @ total)
    J = np.asarray(
        jax.jacobian(lambda x: BalancedProcess.constraint(tuple(x)))(jnp.asarray(F))
    ).reshape(-1, F.size)
    total -= J.T @ np.linalg.solve(J @ J.T, J @ total)
    # the metric is N times the Euclidean one: unit vectors are shorter by √N
    found = np.concatenate([np.ravel(x) for x in dl.fibre_curvature(tuple(F))])
    np.testing.assert_allclose(found, total / N, atol=1e-10)


@pytest.mark.parametrize(("N", "d"), [(2, 3), (3, 2), (4, 3)])
def test_the_projection_to_the_fibre(rng, N, d):
    F = tuple(dl.balanced_factors(rng.normal(size=(d, d)), N, KEY))
    x = tuple(jnp.asarray(rng.normal(size=(d, d))) for _ in F)
    L = np.stack([action(a, np.stack(F)).ravel() for a in skew_frames(N, d)], 1)
    expected = L @ np.linalg.lstsq(L, np.stack(x).ravel(), rcond=None)[0]
    found = along_fibre(F, x)
    np.testing.assert_allclose(np.ravel(found), expected, atol=1e-11)
    # W and the balance do not feel it
    move = lambda h: tuple(X + h * Y for X, Y in zip(F, found, strict=True))  # noqa: E731
    slope = (np.asarray(dl.product(move(1e-5))) - np.asarray(dl.product(move(-1e-5)))) / 2e-5
    np.testing.assert_allclose(slope, 0, atol=1e-9)


CASES = [slow(3, 1.6, 0.6), slow(2, 0.0, 1.0), slow(3, 0.0, 1.2), slow(2, 1.8, 0.7)]


@pytest.mark.parametrize(("N", "along", "across"), CASES)
def test_the_law_downstairs(N, along, across):
    """That of `langevin` with β/a² and κ = b²/a²; isotropic noise is told apart."""
    beta, plan = 2.0, {"t1": 0.5, "dt": 0.02, "chains": 4000}
    start = dl.balanced_factors(W0, N, jax.random.key(1))
    up = dl.factor_langevin(ENERGY, start, beta, key=KEY, along=along, across=across, **plan)
    policy = "cross" if N % 2 else "reflect"
    options = {"key": jax.random.key(2), "at_zero": policy, **plan}

    def down(a, b):
        if a == 0:
            return dl.langevin(ENERGY, W0, N, beta, kappa=b**2, **options)
        ratio = (b / a) ** 2
        return dl.langevin(ENERGY, W0, N, beta / a**2, kappa=ratio, entropic=True, **options)

    assert np.asarray(up.converged).all()
    parts = [lambda r, i=i: np.asarray(r.log_singular_values)[:, i] for i in range(2)]
    parts += [lambda r, i=i, j=j: np.asarray(r.W)[:, i, j] for i in range(2) for j in range(2)]
    tests = lambda r: [stats.ks_2samp(f(up), f(r)) for f in parts]  # noqa: E731
    assert_law(*tests(down(along, across)))
    assert min(t.pvalue for t in tests(down(1.0, 1.0))) < SIGNIFICANCE / len(parts)
    assert float(np.max(jax.vmap(dl.imbalance)(up.factors))) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("N", [2, slow(3)])
def test_noise_along_fibres_alone_is_the_entropic_flow(N):
    """Its end, up to fluctuations that vanish with dt: 4 standard errors, and an error ∝ dt."""
    beta, t1, chains = 0.7, 0.6, 100
    start = dl.balanced_factors(W0, N, jax.random.key(1))
    free = lambda W: dl.free_energy(ENERGY, W, N, beta, constant=False)  # noqa: E731
    flow = np.asarray(dl.gradient_flow(free, W0, N, t1=t1, rtol=1e-9).W)
    spread = []
    for dt in (0.02, 0.005):
        run = dl.factor_langevin(
            ENERGY, start, beta, t1=t1, dt=dt, key=KEY, along=1.0, across=0.0, chains=chains
        )
        W = np.asarray(run.W)
        spread.append(np.sqrt(W.var(0).sum()))
    error = W.std(0) / math.sqrt(chains)
    assert (np.abs(W.mean(0) - flow) < 4 * error + 2 * 0.005).all()
    assert spread[1] < 0.7 * spread[0] < 0.1  # half for a quarter of the step
    plain = np.asarray(dl.gradient_flow(ENERGY, W0, N, t1=t1, rtol=1e-9).W)
    assert np.abs(plain - flow).max() > 0.1  # the entropy is felt


def test_sentences():
    start = dl.balanced_factors(W0, 2, KEY)
    for name in ("along", "across"):
        with pytest.raises(dl.InputError, match=rf"^{name} must be one finite number ≥ 0"):
            dl.factor_langevin(ENERGY, start, 1.0, t1=0.1, dt=0.1, key=0, **{name: -1.0})
