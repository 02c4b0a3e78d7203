"""The experiments on endpoints and volumes, against closed forms and synthetic samples whose answer
is known.

Random quantities: seeds are fixed, tolerances are at least four standard errors unless said
otherwise.
"""

import functools
import math

import numpy as np
import oracles
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize

import deeplinear as dl
from deeplinear.errors import InputError
from deeplinear.experiments import statistics
from deeplinear.experiments.figures import (
    _hyperbola,
    _law_hyperbola,
    _law_minimizers,
    _minimizers,
    cmv_fig4,
    cmv_fig5,
    cmv_fig8,
    cmv_start_size,
)

C = 0.92


@pytest.fixture(scope="module")
def figure4():
    return cmv_fig4.simulate(seed=3, depths=(5, 20, math.inf), runs=3000, scale=1e-3)


def standard_error_of_quantile(values, q, draws=300):
    index = np.random.default_rng(1).integers(values.size, size=(draws, values.size))
    return np.quantile(values[index], q, axis=1).std()


@pytest.mark.parametrize(
    ("depth", "q", "reported"),
    [
        (5, 0.5, 0.919),
        (5, 0.01, 0.829),
        (5, 0.99, 0.959),
        (20, 0.5, 0.919),
        (20, 0.01, 0.768),
        (20, 0.99, 1.103),
    ],
)
def test_quantiles_of_the_published_experiment(figure4, depth, q, reported):
    """Reported quantiles are of 3,000 runs too, so the difference has √2 standard errors; 0.0005 is
    their rounding.
    """
    values = np.abs(figure4.W.sel(depth=depth).values[:, 0, 1])
    tolerance = 4 * math.sqrt(2) * standard_error_of_quantile(values, q) + 5e-4
    assert tolerance < 0.08  # the lower tail at N = 5 is that of the few runs far from rank 1
    assert abs(np.quantile(values, q) - reported) < tolerance


def test_every_run_of_the_published_experiment_ends_near_rank_one_on_its_side(figure4):
    assert figure4.ok.all()
    assert figure4.same_sign.all()
    assert np.abs(np.diagonal(figure4.W.values, axis1=-2, axis2=-1) - C).max() < 1e-5
    bulk = figure4.effective_rank.quantile(0.9, "run").values
    assert (bulk < 1.03).all()
    assert bulk[0] > bulk[-1]  # N = ∞ is the closest to rank 1 …
    spread = np.nanquantile(np.abs(_hyperbola.position(figure4.W.values)), 0.9, axis=1)
    assert (np.diff(spread) > 0).all()  # … and the widest along the hyperbola
    assert len(cmv_fig4.draw(figure4).axes) >= 3


def charge(W, N):
    """[(WWᵀ)^{1/N}]_11 − [(WᵀW)^{1/N}]_11 by eigendecompositions (N = ∞: of logarithms), which
    share nothing with the library.
    """
    out = []
    for S in (W @ W.swapaxes(-1, -2), W.swapaxes(-1, -2) @ W):
        w, V = np.linalg.eigh(S)
        f = np.log(w) if math.isinf(N) else w ** (1 / N)
        out.append(np.einsum("...j,...j->...", V[..., 0, :] ** 2, f))
    return out[0] - out[1]


def test_the_charge_is_conserved_and_fixes_the_place(figure4):
    start = figure4.start.values
    for N, tolerance in ((5, 1e-4), (20, 1e-3)):
        W = figure4.W.sel(depth=N).values
        q0, q1 = charge(start, N), charge(W, N)
        resolved = (
            np.linalg.svd(W, compute_uv=False)[:, 1] > 1e-5
        )  # eigh of WWᵀ knows σ_2² to 1e−16
        assert resolved.mean() > 0.9
        assert (
            np.quantile(np.abs(q1 - q0)[resolved], 0.99)
            < tolerance * np.quantile(np.abs(q0), 0.9) * 30
        )
        s = np.linalg.svd(W, compute_uv=False)
        tau = _hyperbola.position(W)
        expected = np.array(
            [
                _law_hyperbola.place_of_charge(q, x, N)
                for q, x in zip(q0[:200], s[:200, 1], strict=True)
            ]
        )
        near = s[:200, 1] < 0.02
        assert near.sum() > 150
        assert np.abs(tau[:200] - expected)[near].max() < 0.01


def test_charges_are_conserved_by_several_components(rng):
    """Three disconnected diagonal entries: two independent charges, at N = 3 and ∞."""
    energy = dl.Completion([0, 1, 2], [0, 1, 2], [1.0, 0.7, 0.5], (3, 3))
    start = 0.1 * rng.normal(size=(16, 3, 3))
    for N, tolerance in ((3, 1e-5), (math.inf, 1e-3)):
        W = dl.ensemble(energy, start, N).W
        before, after = (_minimizers.charges(X, N, np.eye(3, dtype=bool)) for X in (start, W))
        assert np.abs(before.sum(-1)).max() < 1e-12
        assert np.std(before) > 0.01
        assert np.abs(after - before).max() < tolerance


def depth_two_limit(W0):
    """ρ of the limit [[1, ρ], [ρ, 1]] · 0.92 at N = 2 from an infinitely small start: see
    cmv_start_size.
    """
    U, s, Vt = np.linalg.svd(W0)
    P = U + np.swapaxes(Vt, -1, -2)
    S = (P * s[:, None, :]) @ np.swapaxes(P, -1, -2)
    return S[:, 0, 1] / np.sqrt(S[:, 0, 0] * S[:, 1, 1])


@pytest.fixture(scope="module")
def small_start():
    return cmv_start_size.simulate(seed=5, depths=(2, 5), scales=(1e-3, 1e-5), runs=3000)


def test_depth_two_reaches_rank_one_no_more_often_than_the_exact_flow(small_start):
    case = small_start.sel(depth=2, scale=1e-5)
    assert (
        case.ok.mean() > 0.998
    )  # two of 3,000 lose the sign of det W below the arithmetic, and say so
    case = case.isel(run=case.ok.values)
    rho = depth_two_limit(case.start.values)
    W = case.W.values
    off = np.maximum(np.abs(W[:, 0, 1] - C * rho), np.abs(W[:, 1, 0] - C * rho))
    assert np.median(off) < 3e-5
    assert (
        np.quantile(off, 0.99) < 1e-3
    )  # ε is not 0, which is felt where U + V or one of its columns nearly vanishes
    assert off.max() < 0.1
    positive = np.linalg.det(case.start.values) > 0
    near = case.effective_rank.values < 1 + 1e-3
    exact = np.array([_hyperbola.effective_rank(C * np.array([[[1, r], [r, 1]]]))[0] for r in rho])
    assert not (near & (exact > 1 + 2e-3)).any()
    assert near.mean() <= (exact < 1 + 1e-3).mean() + 0.002
    assert near[~positive].mean() > 0.995  # det W(0) < 0: the limit is singular
    assert near[positive].mean() < 0.02
    assert 0.4 < positive.mean() < 0.6


def test_spread_shrinks_with_the_start_as_the_charge_says(small_start):
    """Quantiles of |τ| at N = 5 scale like ε^{2/N} between starts with the same directions."""
    tau = np.abs(_hyperbola.position(small_start.W.sel(depth=5).values))
    ratio = np.nanmedian(tau[0]) / np.nanmedian(tau[1])
    assert ratio == pytest.approx(100 ** (2 / 5), rel=0.1)
    assert "N = 5: exponent of the spread, last two sizes (2/N = 0.4)" in cmv_start_size.summary(
        small_start
    )


@pytest.mark.slow
def test_depth_two_against_single_flows(small_start):
    """The same starts by `gradient_flow`, whose chart (U, log σ, V) keeps the sign of det
    exactly.
    """
    case = small_start.sel(depth=2, scale=1e-3)
    for i in range(4):
        flow = dl.gradient_flow(_hyperbola.problem(), case.start.values[i], 2, stop_energy=1e-16)
        assert np.abs(np.asarray(flow.W) - case.W.values[i]).max() < 1e-5


def density_2x2(w12, w21, N):
    """√det g^N with both diagonal entries 0.92, from kernels that are quotients in high
    precision.
    """
    s = np.linalg.svd(np.array([[C, w12], [w21, C]]), compute_uv=False)
    own = (s[0] * s[1]) ** -(1 if math.isinf(N) else 1 - 1 / N)
    return own / float(oracles.kernel(s[0], s[1], N))


def test_the_map_of_log_volume():
    ds = cmv_fig5.simulate(seed=0, depths=(5, math.inf), runs=3000, scale=1e-2, grid=12)
    for i, N in enumerate(ds.depth.values):
        for a, b in ((0, 0), (3, 9), (11, 4)):
            expected = math.log(density_2x2(ds.w12.values[b], ds.w21.values[a], N))
            assert ds.log_volume.values[i, a, b] == pytest.approx(expected, abs=1e-9)
        assert ds.along.values[i].argmax() == ds.sizes["tau"] // 2  # brightest at the corner
    assert len(cmv_fig5.draw(ds).axes) >= 4


@pytest.mark.parametrize("N", [2.5, 5])
def test_the_volume_law_is_the_volume_within_a_small_distance_of_rank_one(N):
    """∫ √det g over σ_2 < δ, per dτ: dw12 dw21 = d(det) dτ, the singularity at det = 0 resolved by
    det = x^N.
    """
    delta = 1e-6

    def within(tau):
        s1 = 2 * C * math.cosh(tau)

        def integrand(x):  # det = x^N > 0; σ_1, σ_2 from norm and determinant
            det = x**N
            side = C**2 - det
            norm = 2 * C**2 + side * 2 * math.cosh(2 * tau)
            big = (math.sqrt(norm + 2 * det) + math.sqrt(norm - 2 * det)) / 2
            own = -(1 - 1 / N) * math.log(det)
            return math.exp(own) / float(oracles.kernel(big, det / big, N, 30)) * N * x ** (N - 1)

        return quad(integrand, 0, (delta * s1) ** (1 / N), epsrel=1e-8)[0]

    expected = np.diff(_law_hyperbola.log_volume_law(np.array([0.0, 1.0]), N))[0]
    # Corrections are of the order (σ_2/σ_1)^{2/N}
    assert math.log(within(1.0) / within(0.0)) == pytest.approx(expected, abs=3 * delta ** (2 / N))


def rank_two(rng):
    return _minimizers.random_problem(3, 2, 6, rng)


def test_random_minimizers_fit_the_data_at_their_rank(rng):
    for d, r, k in ((3, 2, 6), (4, 2, 9), (4, 3, 13)):
        problem = _minimizers.random_problem(d, r, k, rng)
        W = _minimizers.random_minimizers(problem, 20, 1.0, rng)
        assert (W[:, problem.mask] == problem.data[problem.mask]).all()
        s = np.linalg.svd(W, compute_uv=False)
        assert (s[:, r] < 1e-8 * s[:, 0]).all()
        assert _minimizers.free_directions(W, problem).shape == (20, problem.free, d, d)
        assert np.linalg.norm(W[0] - W[1]) > 0.01


def test_free_directions_are_those_of_the_minimizers(rng):
    """A small step along them leaves rank r to second order, and the observed entries not at
    all.
    """
    problem = _minimizers.random_problem(4, 2, 9, rng)
    W = _minimizers.random_minimizers(problem, 5, 1.0, rng)
    Z = _minimizers.free_directions(W, problem)
    assert np.abs(Z[..., problem.mask]).max() < 1e-12
    lost = [np.linalg.svd(W[:, None] + h * Z, compute_uv=False)[..., 2].max() for h in (1e-2, 1e-3)]
    assert lost[0] > 1e-6
    assert lost[0] / lost[1] == pytest.approx(100, rel=0.2)


def test_predictors_against_the_library(rng):
    """Stratum volume and entropy up to their constants; norms by NumPy."""
    problem = rank_two(rng)
    W = _minimizers.random_minimizers(problem, 8, 1.0, rng)
    for N in (3, 7.5):
        here = _minimizers.predictors(W, N, problem)
        assert np.ptp(here["stratum volume"] - np.asarray(dl.log_stratum_volume(W, N, 2))) < 1e-9
        assert np.ptp(here["entropy"] - np.asarray(dl.entropy(W, N))) < 1e-9
        assert np.ptp(here["entropy"]) > 0.1
        s = np.linalg.svd(W, compute_uv=False)
        assert np.allclose(here["-Schatten 2/N"], -(s[:, :2] ** (2 / N)).sum(-1))
    assert np.allclose(here["-nuclear norm"], [-np.linalg.norm(X, "nuc") for X in W])
    assert np.allclose(here["-Frobenius norm"], -np.linalg.norm(W, axis=(1, 2)))
    assert np.allclose(here["-effective rank"], -np.asarray(dl.effective_rank(W)))


@pytest.mark.parametrize("N", [2.0, 3.0, 7.5, math.inf])
def test_flatness_and_induced_volume_of_completions(rng, N):
    """Against the library's flatness, and the metric along the completions of rank r."""
    problem = _minimizers.random_problem(4, 2, 9, rng)
    W = _minimizers.random_minimizers(problem, 6, 1.0, rng)
    here = _minimizers.predictors(W, N, problem)
    deep = min(N, 1e8)
    flat = [float(dl.asymptotics.flatness(X, deep, problem.mask)) for X in W]
    assert np.ptp(here["flatness"] - flat) < 1e-6
    free, tangent = _minimizers.free_directions(W, problem), _minimizers.tangent(W, 2)
    if math.isinf(N):  # no finite metric along all of them
        return
    length = []
    for X, Z, T in zip(W, free, tangent, strict=True):
        A = np.einsum("tij,ijkl,ukl->tu", T, dl.Operator(X, N).as_matrix().reshape((4,) * 4), T)
        C = np.einsum("pij,tij->pt", Z, T)
        length.append(0.5 * np.linalg.slogdet(C @ np.linalg.solve(A, C.T))[1])
    assert np.ptp(here["induced volume"] - length) < 1e-8
    assert np.ptp(length) > 0.1


def test_the_jacobian_on_the_hyperbola():
    """J = √(w12² + w21²)/σ_1, so that vol_1/J ds is the law vol_1 σ_1 dτ of the first half."""
    problem = _minimizers.FixedRankProblem(C * np.eye(2), np.eye(2, dtype=bool), 1)
    tau = np.array([-1.3, 0.0, 0.4])
    W = np.array([[[C, C * math.exp(t)], [C * math.exp(-t), C]] for t in tau])
    speed = np.sqrt((W[:, 0, 1] ** 2) + W[:, 1, 0] ** 2)
    assert np.allclose(np.exp(_minimizers.log_jacobian(W, problem)), speed / (2 * C * np.cosh(tau)))
    law = _minimizers.predictors(W, 5, problem)["volume"] + np.log(speed)
    assert np.ptp(law - _law_hyperbola.log_volume_law(tau, 5)) < 1e-12


@pytest.mark.parametrize("N", [2.0, 3.0, 7.5])
def test_flatness_and_induced_volume_on_the_hyperbola(N):
    """Against the operator: det of the observed block, and the length of the curve in g^N."""
    m, step = _law_hyperbola.OBSERVED, 1e-5

    def at(tau):
        return np.array([[m, m * np.exp(tau)], [m * np.exp(-tau), m]])

    tau = np.array([0.0, 0.6, 1.7])
    flat, length = [], []
    for t in tau:
        op = dl.Operator(at(t), N)
        A = np.asarray(op.as_matrix())
        flat.append(-0.5 * np.linalg.slogdet(A[np.ix_([0, 3], [0, 3])])[1])
        direction = ((at(t + step) - at(t - step)) / (2 * step)).ravel()
        length.append(0.5 * np.log(direction @ np.linalg.pinv(A, rcond=1e-9) @ direction))
    for law, expected in (
        (_law_hyperbola.log_flatness_law, flat),
        (_law_hyperbola.log_induced_law, length),
    ):
        np.testing.assert_allclose(np.diff(law(tau, N)), np.diff(expected), atol=1e-7)


def test_the_induced_volume_at_the_corner():
    """Its slope in log σ_1 is 3/N − 1 there; σ_1 grows like τ²/2."""
    for N in (2.0, 3.0, 20.0, math.inf):
        tau = np.array([0.0, 1e-3])
        rise = np.diff(_law_hyperbola.log_induced_law(tau, N))[0]
        assert rise / np.diff(_law_hyperbola.log_norm(tau))[0] == pytest.approx(3 / N - 1, abs=1e-4)


def test_climbing_reaches_the_least_nuclear_norm(rng):
    """det is linear in w23: the surface is a graph over (w12, w31), and SciPy minimizes there."""
    problem = _minimizers.FixedRankProblem(cmv_fig8.DATA, cmv_fig8.MASK, 2)

    def completed(x):
        W = cmv_fig8.DATA.copy()
        W[0, 1], W[2, 0] = x
        minor = W[0, 0] * W[2, 1] - W[0, 1] * W[2, 0]
        W[1, 2] = np.linalg.det(W) / minor  # det W = det(w23 = 0) − w23 · minor
        return W

    start = _minimizers.random_minimizers(problem, 1, 1.0, rng)
    assert np.linalg.det(completed(start[0, [0, 2], [1, 0]])) == pytest.approx(0, abs=1e-12)
    top, done = _minimizers.climb(
        start, lambda W: _minimizers.predictors(W, 3, problem)["-nuclear norm"], problem
    )
    assert done.all()
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}
    best = minimize(
        lambda x: np.linalg.norm(completed(x), "nuc"),
        top[0, [0, 2], [1, 0]] + 0.05,
        method="Nelder-Mead",
        options=options,
    )
    assert np.linalg.norm(top[0], "nuc") == pytest.approx(best.fun, abs=1e-5)
    assert np.linalg.norm(start[0], "nuc") > best.fun + 0.01


@functools.cache
def distribution_of_volume(power, depth):
    """Nodes on the arc, and there the distribution function of the density ∝ volume^power of τ."""
    nodes = np.linspace(-_law_hyperbola.ARC, _law_hyperbola.ARC, 200001)
    cdf = np.cumsum(
        np.exp(
            power
            * (
                _law_hyperbola.log_volume_law(nodes, depth)
                - _law_hyperbola.log_volume_law(np.zeros(1), depth)
            )
        )
    )
    return nodes, cdf / cdf[-1]


def draws_from_volume(power, depth, size, rng):
    """τ from the density ∝ volume^power on the arc, by its inverse distribution function."""
    nodes, cdf = distribution_of_volume(power, depth)
    return np.interp(rng.random(size), cdf, nodes)


@pytest.mark.parametrize("power", [1.0, 20.0])
def test_the_power_of_the_volume_is_recovered(power, rng):
    """Endpoints that do follow volume^power: 95 % intervals cover it in at least 33 of 40 samples
    (probability 0.9997).
    """
    covered, gains = 0, []
    for _ in range(40):
        tau = draws_from_volume(power, 5, 400, rng)
        gain, (s, low, high) = _law_hyperbola._compare(
            tau[::2], tau[1::2], draws_from_volume(power, 5, 4000, rng), 5
        )
        covered += low <= power <= high
        assert low <= s <= high
        gains.append(gain[:, 0])
    assert covered >= 33
    laws = dict(zip(_law_hyperbola.LAWS, np.mean(gains, 0), strict=True))
    plain, fitted = laws["volume"], laws["volume to the power s"]
    if power == 1:
        assert plain > fitted - 1e-3  # nothing is gained by fitting what is true
        assert plain > 0.05
    else:
        assert fitted > plain + 0.5  # a law that is too flat is told apart


def test_endpoints_that_choose_by_volume_are_found_out(rng):
    """Choices with probability ∝ e^{2f}, f the volume in its own standard deviations: it ranks and
    predicts best, more is not better.
    """
    found = []
    for _ in range(10):
        problem = rank_two(rng)
        pool = _minimizers.random_minimizers(problem, 300, 1.0, rng)
        values = _minimizers.predictors(pool, 3, problem)
        X = np.stack([values[name] for name in _minimizers.PREDICTORS], -1)
        f = X[:, 0] / X[:, 0].std()
        chosen = (2 * f + rng.gumbel(size=(16, 300))).argmax(1)
        found.append(
            _law_minimizers._ProblemResult(
                X[chosen], X[rng.permutation(300)[:100]], 1.0, 0.0, 0.0, np.full(4, np.nan)
            )
        )
    ds = _law_minimizers._table(_law_minimizers.Case(3, 2, 6, 3, 1e-3), found, 12).isel(case=0)
    gains = {str(name): float(ds.choice.sel(model=name)) for name in _minimizers.PREDICTORS}
    assert max(gains, key=lambda name: gains[name]) == "volume"
    assert gains["volume"] > 0.5
    assert float(ds.choice.sel(model="all")) < gains["volume"] + 0.15
    assert float(ds.below_low.sel(predictor="volume")) > 0.7


def test_blind_endpoints_are_found_blind(rng):
    found = []
    for _ in range(24):
        X = rng.normal(size=(116, len(_minimizers.PREDICTORS)))
        found.append(
            _law_minimizers._ProblemResult(X[:16], X[16:], 1.0, 0.0, 0.0, np.full(4, np.nan))
        )
    ds = _law_minimizers._table(_law_minimizers.Case(3, 2, 6, 3, 1e-3), found, 24).isel(case=0)
    inside = (ds.below_low.values <= 0.5) & (ds.below_high.values >= 0.5)
    assert inside.sum() >= 7  # of 9 intervals of 95 %
    assert (ds.choice.values < 0.02).all()


def test_bootstrap_intervals_cover(rng):
    """95 % intervals for the mean of 40 exponential numbers cover 1 in 86–98 % of 300 samples (they
    are a little short).
    """
    hits = 0
    for seed in range(300):
        low, high = statistics.bootstrap_interval(rng.exponential(size=40), draws=400, seed=seed)
        hits += low <= 1 <= high
    assert 0.86 < hits / 300 < 0.98


def test_tilt_beyond_the_reference_and_bad_input():
    assert statistics.tilt([1.0], [0.0, 1.0], [1, 1]) == math.inf
    assert statistics.tilt([0.0], [0.0, 1.0], [1, 1]) == -math.inf
    with pytest.raises(InputError, match="grid"):
        statistics.tilt([1.0], [1.0, 1.0], [1, 1])
    with pytest.raises(InputError, match="folds"):
        statistics.cross_validated_gain([np.zeros((1, 2, 1))] * 3, 4)
    with pytest.raises(InputError, match="values"):
        statistics.bootstrap_interval(np.zeros((2, 2)))
    assert math.isnan(statistics.bootstrap_interval([1.0])[0])


@pytest.mark.slow
def test_figure_8_in_small():
    """The favoured minimizer of most runs is of rank 2, on the data, and above all others in
    volume.
    """
    ds = cmv_fig8.simulate(
        seed=0,
        depth=3,
        runs=60,
        scale=1e-3,
        others=6,
        samples=1000,
        radii=(0.1,),
        reaches=(1,),
        depths=(),
        problems=3,
    )
    assert float(ds.share) > 0.5
    volume = ds.log_volume.values[:, -1]
    assert volume[0] > volume[1:].max()
    assert cmv_fig8.draw(ds).axes
