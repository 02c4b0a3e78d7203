"""The experiments on the literature, against closed forms and slow independent computations."""

import itertools
import math

import jax
import numpy as np
import oracles
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar

xr = pytest.importorskip("xarray")

import deeplinear as dl  # noqa: E402
from deeplinear.experiments.figures import (  # noqa: E402
    _recovery,
    achl_depth,
    depth_limit,
    free_energy,
    glrl_incremental,
    phase_diagram,
    rc_norms,
    sy_coupling,
)


def settings(module, **changes):
    return {**module.FULL, **module.SMOKE, **changes}


# Razin, Cohen


def test_smallest_entry_is_what_a_constrained_search_finds():
    for loss in (1e-1, 1e-2, 1e-4):
        # w12 = w21 = 1 − a, w22 = √(2(E − a²)): searched, not solved
        found = minimize_scalar(
            lambda a, E=loss: (1 - a) ** 2 / math.sqrt(2 * (E - a * a)),
            bounds=(0, 0.99 * math.sqrt(loss)),
            method="bounded",
            options={"xatol": 1e-14},
        )
        assert rc_norms.smallest_entry(np.array([loss]))[0] == pytest.approx(found.fun, rel=1e-9)
        # and no matrix with det ≥ 0 and that loss has a smaller entry
        x = np.random.default_rng(0).normal(size=(20000, 3))
        x *= np.sqrt(2 * loss / np.sum(x**2, 1))[:, None]
        w12, w21, w22 = 1 + x[:, 0], 1 + x[:, 1], x[:, 2]
        assert (np.abs(w12 * w21 / w22) > found.fun * (1 - 1e-9)).all()


@pytest.mark.slow
def test_norms_diverge_as_published():
    ds = rc_norms.simulate(
        seed=1, **settings(rc_norms, depths=(2.0, 3.0, 4.0), runs=1, last_loss=1e-4, levels=5)
    )
    here = ds.sel(loss=1e-4, method="nearest").isel(run=0)
    assert int(ds.failed.sum()) == 0
    # published for depths 3 and 4: 70.7; the least that det > 0 allows: 70.6965
    assert (np.abs(np.abs(here.w11.values) - [70.70, 70.70, 70.75]) < [0.01, 0.01, 0.1]).all()
    assert (np.abs(ds.w11) >= ds.bound * (1 - 1e-6)).all()
    assert (np.abs(ds.w11).diff("loss") > 0).all()  # it grows as the loss falls
    assert here.effective_rank.max() < 1 + 1e-5
    assert (
        float(here.log_sigma.sel(depth=2, index=2)) < -2000
    )  # where dense arithmetic has no sign of det


# Free energy


def phi_of_matrix(W, N, beta, decay, m):
    """Φ from its definition, on a dense matrix, with the oracle's kernel."""
    s = np.linalg.svd(W, compute_uv=False)
    energy = 0.5 * ((W[0, 0] - m) ** 2 + (W[1, 1] - m) ** 2)
    return (
        energy
        + decay * N / 2 * np.sum(s ** (2 / N))
        - 0.5 * math.log(float(oracles.kernel(s[0], s[1], N, 15))) / beta
    )


@pytest.mark.parametrize(("N", "beta"), [(3.0, 3.0), (3.0, 40.0), (5.0, 20.0)])
def test_no_matrix_has_a_lower_free_energy(N, beta, rng):
    decay, m = 0.1, 0.92
    phi, log_s1 = (x[0, 0] for x in free_energy.profiles(np.array([N]), np.array([beta]), decay, m))
    best = int(np.argmin(phi))
    assert best == 0  # rank 1
    w12, w21 = free_energy.off_diagonal(np.exp(log_s1[0]), m)
    d = min(m, np.exp(log_s1[0]) / 2)
    corner = np.array([[d, w12], [w21, d]])
    assert np.linalg.svd(corner, compute_uv=False) == pytest.approx(
        [math.exp(log_s1[0]), 0], abs=1e-7
    )
    assert phi_of_matrix(corner + 1e-13, N, beta, decay, m) == pytest.approx(phi[0], abs=1e-4)
    # a search over all four entries gets near it and not below
    start = [corner.ravel() + 0.05 * rng.normal(size=4), rng.normal(size=4)]
    runs = [
        minimize(
            lambda w: phi_of_matrix(w.reshape(2, 2), N, beta, decay, m),
            w,
            method="Nelder-Mead",
            options={"maxfev": 1500},
        )
        for w in start
    ]
    assert min(run.fun for run in runs) > phi[0] - 1e-9
    assert runs[0].fun < phi[0] + 0.02


def test_profile_at_a_full_rank_ratio_is_the_search_over_matrices_of_that_ratio():
    N, beta, decay, m = 4.0, 10.0, 0.1, 0.92
    phi, _ = free_energy.profiles(np.array([N]), np.array([beta]), decay, m)
    for i in (80, 160):
        ratio = free_energy.RATIOS[i] ** N

        def at(v, ratio=ratio):
            c, s, e, f = np.cos(v[1]), np.sin(v[1]), np.cos(v[2]), np.sin(v[2])
            W = (
                np.array([[c, -s], [s, c]])
                @ np.diag(np.exp(v[0]) * np.array([1, ratio]))
                @ np.array([[e, -f], [f, e]])
            )
            return phi_of_matrix(W, N, beta, decay, m)

        found = min(
            minimize(at, v, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).fun
            for v in ([0.5, 0.3, 0.2], [0, 1, -1])
        )
        assert phi[0, 0, i] == pytest.approx(found, abs=1e-6)


def test_the_minimizer_leaves_the_corner_at_the_predicted_temperature():
    N, decay, m = np.array([3.0, 5.0]), 0.1, 0.92
    beta_c = free_energy.onset(N, decay, m)
    for factor in (0.8, 0.5):
        _, log_s1 = free_energy.profiles(N, factor * beta_c, decay, m)
        predicted = ((1 - 1 / N) / (decay * factor * beta_c)) ** (N / 2)
        np.testing.assert_allclose(np.exp(np.diagonal(log_s1[..., 0])), predicted, rtol=1e-6)
    _, log_s1 = free_energy.profiles(N, 1.2 * beta_c, decay, m)
    assert (np.exp(np.diagonal(log_s1[..., 0])) <= 2 * m).all()


def test_free_energy_at_depth_2_does_not_see_the_ratio():
    phi, _ = free_energy.profiles(np.array([2.0]), np.array([1.0, 30.0]), 0.1, 0.92)
    assert np.ptp(phi, axis=-1).max() < 1e-12
    phi, _ = free_energy.profiles(np.array([3.0]), np.array([1.0, 30.0]), 0.1, 0.92)
    assert np.ptp(phi, axis=-1).min() > 1e-3


def test_exact_law_against_weighted_samples(rng):
    """Importance sampling in the entries of W, which knows nothing of the reduced coordinates."""
    N, beta, decay, m = 3.0, 2.0, 0.3, 0.92
    edges = np.linspace(0, 1, 11)
    exact = free_energy.exact_density(N, beta, decay, m, edges)
    samples = 400_000
    scale = rng.choice([0.3, 1.0, 3.0, 9.0], size=samples)
    W = scale[:, None, None] * rng.normal(size=(samples, 2, 2))
    square = np.sum(W**2, (1, 2))
    mixture = sum(np.exp(-square / (2 * c * c)) / c**4 for c in (0.3, 1.0, 3.0, 9.0))
    s = np.linalg.svd(W, compute_uv=False)
    energy = 0.5 * ((W[:, 0, 0] - m) ** 2 + (W[:, 1, 1] - m) ** 2) + decay * N / 2 * np.sum(
        s ** (2 / N), 1
    )
    lam = (s[:, 0] ** 2 - s[:, 1] ** 2) / (N * (s[:, 0] ** (2 / N) - s[:, 1] ** (2 / N)))
    # e^{−βE} · e^{S} · √det g, S = ½ log λ_12, √det g = (λ_11 λ_22)^{−1/2} λ_12^{−1}
    weight = np.exp(-beta * energy) * np.prod(s, 1) ** -(1 - 1 / N) * lam**-0.5 / mixture
    x = (s[:, 1] / s[:, 0]) ** (1 / N)
    part = np.stack(
        [np.where((x >= a) & (x < b), weight, 0.0) for a, b in itertools.pairwise(edges)]
    )
    estimate = part.sum(1) / weight.sum()
    error = np.sqrt(np.sum((part - estimate[:, None] * weight) ** 2, 1)) / weight.sum()
    assert error.max() < 0.02
    assert np.abs((estimate - exact) / error).max() < 4  # ten bins, four standard errors
    assert np.abs(estimate - exact).max() < 0.04


@pytest.mark.slow
def test_langevin_samples_follow_the_exact_law():
    N, decay, m, chains = 3.0, 0.3, 0.92, 400
    x, ok = free_energy.sample(N, 2.0, decay, m, chains, 30.0, 0.05, jax.random.key(3))
    assert ok.all()
    edges = np.linspace(0, 1, 41)
    counts, _ = np.histogram(x, edges)

    def distance(beta):
        exact = free_energy.exact_density(N, beta, decay, m, edges)
        return np.abs(np.cumsum(counts) / chains - np.cumsum(exact)).max()

    limit = 1.63 / math.sqrt(chains)  # 1 per cent of exact samples lie beyond
    assert distance(2.0) < limit < distance(16.0)


# N → ∞


def test_volume_and_entropy_approach_their_limit_like_the_first_order_says(rng):
    points = rng.normal(size=(5, 3, 3))
    log_det = np.abs(np.linalg.slogdet(points)[1])
    depths = (256, 512, 1024, 2048)
    for function, factor in (
        (dl.log_volume, 3.0),
        (lambda W, N: dl.entropy(W, N, constant=False), 1.0),
    ):
        gap = depth_limit.volume_gaps(function, points, depths)
        np.testing.assert_allclose(gap[-1] * depths[-1], factor * log_det, rtol=0.02)
        assert depth_limit.rate(np.array(depths), np.median(gap, 1)) == pytest.approx(1, abs=0.03)


@pytest.mark.slow
def test_flows_and_endpoints_approach_their_limit_like_one_over_depth(rng):
    depths = (128, 256, 512, 1024)
    paths, ends = depth_limit.flow_gaps(0.1 * rng.normal(size=(8, 3, 3)), depths, 60, 1e-8)
    for gap in (paths, ends):
        assert np.isfinite(gap).all()
        assert depth_limit.rate(np.array(depths), np.median(gap, 1)) == pytest.approx(1, abs=0.06)


# Li, Luo, Lyu


@pytest.mark.slow
def test_incremental_learning_in_closed_form():
    ds = glrl_incremental.simulate(**settings(glrl_incremental, scales=(1e-3, 1e-5), shown=(1e-3,)))
    assert np.isfinite(ds.closest).all()
    for depth in (2.0, 3.0):
        for scale in (1e-3, 1e-5):
            here = ds.sel(depth=depth, scale=scale, method="nearest")
            for mode, s in enumerate(glrl_incremental.SPECTRUM):
                # dσ/dt = σ^{2−2/N} (s − σ), in y = log σ
                exact, _ = quad(
                    lambda y, s=s, N=depth: math.exp(-y * (1 - 2 / N)) / (s - math.exp(y)),
                    math.log(scale),
                    math.log(s / 2),
                )
                assert float(here.half_time[mode]) == pytest.approx(exact, rel=0.01)
                ratio = float(here.half_time[mode] / here.predicted[mode])
                assert 1 < ratio < 1.15  # the push is s − σ, a little less than s
    # nearest approach to M_1, M_2
    np.testing.assert_allclose(ds.fitted.sel(depth=2.0), ds.exponent.sel(depth=2.0), atol=0.04)
    np.testing.assert_allclose(ds.fitted.sel(depth=3.0), 1.0, atol=0.1)
    assert (
        ds.closest.sel(depth=3.0).median("run") < 0.5 * ds.closest.sel(depth=2.0).median("run")
    ).all()


# Shin, Yun


def test_depth_2_decouples_and_depth_3_does_not(rng):
    one = np.eye(3, dtype=bool)
    observed = np.array([0.8, 1.0, 1.3])
    energy = dl.Completion([0, 1, 2], [0, 1, 2], observed, (3, 3))
    starts = 2e-3 * rng.normal(size=(6, 3, 3))
    exact = np.stack([sy_coupling.decoupled_endpoint(W, observed) for W in starts])
    two, three = (
        dl.ensemble(energy, starts, depth, method="implicit", accuracy=1e-5) for depth in (2, 3)
    )
    assert two.ok.all()
    assert three.ok.all()
    np.testing.assert_allclose(two.W, exact, atol=1e-3)
    assert np.linalg.norm(three.W - exact, axis=(1, 2)).min() > 0.05
    rank = [np.median(dl.effective_rank(found.W)) for found in (two, three)]
    assert rank[1] < 1.25 < 1.5 < rank[0]
    # a diagonal start stays diagonal at any depth
    diagonal = np.abs(starts) * one
    for depth in (2, 3):
        found = dl.ensemble(energy, diagonal, depth, method="implicit")
        assert np.abs(found.W[:, ~one]).max() < 1e-12
        np.testing.assert_allclose(found.W[:, one], np.tile(observed, (6, 1)), atol=1e-5)


def test_decoupled_endpoint_solves_the_flow_of_the_factors():
    """Against classical Runge–Kutta on the factors."""
    W0 = np.array([[0.3, -0.2], [0.1, 0.25]])
    observed = np.array([1.0, 0.7])
    U, s, Vt = np.linalg.svd(W0)
    factors = [np.sqrt(s)[:, None] * Vt, U * np.sqrt(s)]
    end = oracles.train(factors, lambda W: np.diag(np.diag(W) - observed), 60.0, 6000)
    np.testing.assert_allclose(end, sy_coupling.decoupled_endpoint(W0, observed), atol=1e-9)


# Recovery


def nuclear_norm(seen, steps=4000):
    """min ‖W‖_* with W = M on the mask, by Douglas–Rachford splitting."""
    Z = np.zeros_like(seen.truth)
    for _ in range(steps):
        X = np.where(seen.mask, seen.truth, Z)
        U, s, Vt = np.linalg.svd(2 * X - Z)
        Z = Z + (U * np.maximum(s - 0.5, 0)) @ Vt - X
    return np.where(seen.mask, seen.truth, Z)


@pytest.mark.parametrize("entries", [70, 110])
def test_explicit_depth_2_is_the_nuclear_norm(entries):
    seen = _recovery.RecoveryProblem.random(np.random.default_rng(4), 12, 2, entries)
    ours, other = _recovery.explicit(seen, 2, max_rank=12), nuclear_norm(seen)
    assert np.linalg.norm(ours - other) < (5e-2 if entries == 70 else 1e-3) * np.linalg.norm(
        other
    )  # it converges slowly where it fails
    assert np.linalg.norm(ours, "nuc") == pytest.approx(np.linalg.norm(other, "nuc"), rel=2e-3)
    assert (seen.error(other) < 1e-3) == (
        entries == 110
    )  # the first is not recovered: the test is not about the truth


def test_tiny_phase_diagram():
    ds = phase_diagram.simulate(
        **settings(phase_diagram, size=20, ranks=(2,), shares=(0.1, 0.5, 0.7), trials=4)
    )
    fraction = phase_diagram.recovered(ds)
    assert np.isnan(fraction.sel(share=0.1)).all()  # fewer entries than unknowns
    three, nuclear = (
        fraction.sel(way=_recovery.method_label(depth)).isel(rank=0) for depth in (3, 2)
    )
    assert float(three.sel(share=0.7)) == 1.0
    assert float(nuclear.sel(share=0.5)) < float(three.sel(share=0.5))
    # what is recovered is the truth to rounding of the continuation, not just below the line
    assert float(ds.error.sel(way="N = 3", share=0.7).max()) < 1e-5


def test_boundary_interpolates_to_one_half():
    fraction = xr.DataArray(
        [[0.0, 0.25, 0.75, 1.0], [0.0, 0.0, 0.0, 0.25], [1.0, 1.0, 1.0, 1.0]],
        dims=("rank", "share"),
        coords={"share": [0.1, 0.2, 0.3, 0.4]},
    )
    found = phase_diagram.boundary(fraction)
    assert found[0] == pytest.approx(0.25)
    assert math.isnan(found[1])
    assert found[2] == 0.1


# Arora, Cohen, Hu, Luo


@pytest.mark.slow
def test_depth_recovers_and_separates():
    ds = achl_depth.simulate(
        **settings(
            achl_depth,
            size=16,
            rank=2,
            entries=(110,),
            shown_entries=110,
            scales=(1e-4,),
            last_error=1e-5,
        )
    )
    assert (ds.failed == 0).all()
    two, three = (ds.isel(entries=0, scale=0).sel(depth=depth) for depth in (2, 3))
    assert float(three.error) < 0.5 * float(two.error)
    assert float(three.effective_rank) < float(two.effective_rank)
    gaps = [achl_depth.separation(x.time.values, x.sigma.values, 2) for x in (two, three)]
    assert 0 < gaps[0] < gaps[1]


@pytest.mark.slow
def test_training_ends_at_its_error_and_its_path_is_the_same_flow():
    seen = achl_depth.problem(0, 16, 2, 140)
    end, path = _recovery.train(seen, 3, 1e-3, error=1e-3, seed=0, moments=120)
    assert np.mean((np.asarray(end.W) - seen.truth)[seen.mask] ** 2) == pytest.approx(
        1e-3, rel=1e-3
    )
    np.testing.assert_allclose(path.W[-1], end.W, atol=2e-2)  # both at rtol = 1e−3
    assert path.W.shape == (120, 16, 16)


def test_more_entries_contain_the_fewer():
    few, many = (achl_depth.problem(3, 10, 2, n) for n in (20, 60))
    np.testing.assert_array_equal(few.truth, many.truth)
    assert few.mask.sum() == 20
    assert (many.mask | ~few.mask).all()
