"""Samples of the Gibbs law: exact laws (Kolmogorov–Smirnov at 1e−3 after Bonferroni), mean
energies, and what the status says.

Last draws of many chains are independent samples.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import KEY, SIGNIFICANCE, Distance, LogEnergy, slow
from scipy import stats

import deeplinear as dl
from deeplinear.dynamics.slices import PolarCoordinates, RootCoordinates

MANY = {"chains": 2000, "samples": 4, "warmup": 60, "thin": 4}


def assert_law(*tests):
    """That none of the p values is below the significance, divided by their number."""
    values = [t.pvalue for t in tests]
    assert min(values) > SIGNIFICANCE / len(values), values


def last(run):
    return np.asarray(run.W[:, -1])


def half_square(W):
    return 0.5 * jnp.sum(W**2)


# Flat coordinates


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
def test_root_coordinates_are_those_of_the_root(rng, shape):
    W = rng.normal(size=(5, *shape))
    coordinates = RootCoordinates(shape, jnp.asarray(2.5))
    z = coordinates.of(W, rng)
    np.testing.assert_allclose(z.reshape(W.shape), dl.root(W, 2.5), atol=1e-12)
    np.testing.assert_allclose([coordinates.point(x).dense() for x in z], W, atol=1e-12)


def test_polar_coordinates_and_their_flat_volume(rng):
    """W of z and back; and √det g^∞ |∂W/∂z| is constant along H, with O fixed by G."""
    d = 3
    coordinates = PolarCoordinates((d, d))
    W = rng.normal(size=(4, d, d))
    z = coordinates.of(W, rng)
    np.testing.assert_allclose([coordinates.point(x).dense() for x in z], W, atol=1e-12)

    skew = np.zeros((3, d, d))
    for a, (i, j) in enumerate(((0, 1), (0, 2), (1, 2))):
        skew[a, i, j], skew[a, j, i] = 1.0, -1.0

    def moved(x, z):  # H by its coordinates, O by right rotations
        H, O = x[:6], jax.scipy.linalg.expm(jnp.tensordot(x[6:], jnp.asarray(skew), 1))
        return coordinates.point(z.at[:6].add(H)).dense() @ O

    totals = []
    for x in z:
        x = jnp.asarray(x)
        h = 1e-5
        columns = [(moved(h * e, x) - moved(-h * e, x)).ravel() / (2 * h) for e in np.eye(9)]
        density = float(dl.log_volume(coordinates.point(x).dense(), math.inf))
        totals.append(density + np.linalg.slogdet(np.array(columns))[1])
    np.testing.assert_allclose(totals, totals[0], atol=1e-6)


# Exact laws


@pytest.mark.parametrize(("depth", "shape"), [slow(1, (2, 2)), slow(2.5, (3, 2)), slow(4, (2, 2))])
def test_weight_decay_alone_is_the_prior(depth, shape):
    beta, decay = 2.0, 0.3
    run = dl.sample_gibbs(None, depth, beta, shape=shape, weight_decay=decay, key=5, **MANY)
    R = np.asarray(dl.root(last(run), depth)).reshape(2000, -1) * math.sqrt(beta * decay * depth)
    exact = dl.sample_prior(depth, shape, beta, decay, key=6, samples=100_000)
    s = [np.linalg.svd(X, compute_uv=False) for X in (last(run), exact)]
    assert_law(
        *(stats.kstest(column, "norm") for column in R.T),
        *(stats.ks_2samp(s[0][:, i], s[1][:, i]) for i in range(2)),
    )
    warmer = stats.kstest((1.1 * R).ravel(), "norm")  # of 8,000 values and more
    assert warmer.pvalue < SIGNIFICANCE / (R.shape[1] + 2)


@pytest.mark.parametrize("depth", [slow(1.5), slow(3)])
def test_one_matrix_entry_against_quadrature(depth):
    """d = 1: density |w|^{1/N − 1} e^{−β(w − 1)²/2}, in the root of w."""
    beta = 3.0
    run = dl.sample_gibbs(Distance(jnp.ones((1, 1))), depth, beta, shape=(1, 1), key=KEY, **MANY)
    r = np.linspace(-3.5, 3.5, 20_001)
    weight = np.exp(-beta / 2 * (np.sign(r) * np.abs(r) ** depth - 1) ** 2)
    cdf = np.cumsum(weight) / weight.sum()
    root = np.asarray(dl.root(last(run), depth)).ravel()
    assert_law(stats.kstest(root, lambda x: np.interp(x, r, cdf)))


@pytest.mark.parametrize(("depth", "entropic"), [slow(2, False), (3.5, False), slow(3, True)])
def test_singular_values_of_2x2_matrices_against_quadrature(depth, entropic):
    """E = ½‖W‖²: density (y_1² − y_2²) e^{−β(y_1^{2N} + y_2^{2N})/2} in y = σ^{1/N}, times e^S."""
    beta = 2.0
    run = dl.sample_gibbs(
        half_square, depth, beta, shape=(2, 2), entropic=entropic, key=KEY, **MANY
    )
    y = np.linspace(0, 2.2, 2201)[1:] - 0.0005
    big, small = y[:, None], y[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        density = np.where(small < big, big**2 - small**2, 0.0)
        if entropic:
            ratio = (big ** (2 * depth) - small ** (2 * depth)) / (big**2 - small**2)
            density = np.where(small < big, density * np.sqrt(ratio), 0.0)
    density *= np.exp(-beta / 2 * (big ** (2 * depth) + small ** (2 * depth)))
    roots = np.exp(np.asarray(run.log_singular_values[:, -1]) / depth)
    tests = []
    for i, axis in enumerate((1, 0)):
        cdf = np.cumsum(density.sum(axis)) / density.sum()
        tests.append(stats.kstest(roots[:, i], lambda x, cdf=cdf: np.interp(x, y, cdf)))
    assert_law(*tests, stats.binomtest(int((np.linalg.det(last(run)) > 0).sum()), 2000))


def weighted_law(values, weights):
    order = np.argsort(values)
    return lambda x: np.interp(x, values[order], np.cumsum(weights[order]) / weights.sum())


def assert_same_matrices(W, exact, weights, other):
    """All entries, singular values and the determinant, as those of weighted samples; ``other``
    weights, of another law, are told apart.
    """
    d = W.shape[1]
    parts = [lambda X, i=i, j=j: X[:, i, j] for i in range(d) for j in range(d)]
    parts += [lambda X, i=i: np.linalg.svd(X, compute_uv=False)[:, i] for i in range(d)]
    parts += [np.linalg.det]
    tests = lambda w: [stats.kstest(f(W), weighted_law(f(exact), w)) for f in parts]  # noqa: E731
    assert_law(*tests(weights))
    assert min(t.pvalue for t in tests(other)) < SIGNIFICANCE / len(parts)


M = np.array([[0.6, 0.5], [0.3, -0.3]])


@pytest.mark.slow
def test_an_energy_without_symmetry_and_weight_decay(rng):
    """E = ½‖W − M‖² with decay: weighted Gaussian roots are the oracle."""
    depth, beta, decay = 2.5, 4.0, 0.2
    run = dl.sample_gibbs(
        Distance(jnp.asarray(M)), depth, beta, shape=(2, 2), weight_decay=decay, key=KEY, **MANY
    )
    R = rng.normal(size=(1_000_000, 2, 2)) / math.sqrt(beta * decay * depth)
    U, p, Vt = np.linalg.svd(R)
    exact = (U * p[:, None, :] ** depth) @ Vt
    weights = np.exp(-beta / 2 * ((exact - M) ** 2).sum((1, 2)))
    assert_same_matrices(last(run), exact, weights, np.ones_like(weights))


def uniform_frames(rng, size, d):
    Q, T = np.linalg.qr(rng.normal(size=(size, d, d)))
    return Q * np.sign(np.diagonal(T, axis1=1, axis2=2))[:, None, :]


@pytest.mark.slow
def test_infinite_depth(rng):
    """E = ½ Σ log² σ + ½‖W − M‖²: log σ of the Gaussian orthogonal ensemble and uniform frames, of
    both signs of det, weighted with e^{−(β/2)‖W − M‖²}.
    """
    beta, size, d = 2.0, 600_000, 2
    energy = lambda W: LogEnergy()(W) + half_square(W - M)  # noqa: E731
    run = dl.sample_gibbs(energy, math.inf, beta, shape=(d, d), key=KEY, **MANY)
    H = rng.normal(size=(size, d, d)) / math.sqrt(beta)
    l = np.linalg.eigvalsh((H + H.transpose(0, 2, 1)) / 2)[:, ::-1]
    U, V = (uniform_frames(rng, size, d) for _ in range(2))
    exact = (U * np.exp(l)[:, None, :]) @ V
    weights = np.exp(-beta / 2 * ((exact - M) ** 2).sum((1, 2)))
    assert_same_matrices(last(run), exact, weights, np.ones_like(weights))


@pytest.mark.parametrize(("depth", "entropic"), [slow(2.5, False), slow(3, True)])
def test_langevin_goes_to_the_same_law(depth, entropic):
    energy = Distance(jnp.asarray(M))
    plan = {"t1": 24.0, "dt": 0.05, "key": KEY, "chains": 2000, "entropic": entropic}
    walk = dl.langevin(energy, np.eye(2), depth, 3.0, **plan)
    assert np.asarray(walk.converged).all()
    run = dl.sample_gibbs(energy, depth, 3.0, shape=(2, 2), entropic=entropic, key=KEY, **MANY)
    pairs = [(np.asarray(walk.W), last(run))]
    parts = [lambda X, i=i, j=j: X[:, i, j] for i in range(2) for j in range(2)]
    parts += [lambda X, i=i: np.linalg.svd(X, compute_uv=False)[:, i] for i in range(2)]
    assert_law(*(stats.ks_2samp(f(a), f(b)) for a, b in pairs for f in parts))


# Mean energies: −∂ log Z/∂β


def standard_error(run):
    E = np.asarray(run.energy)
    return E.std() / math.sqrt(run.effective_samples)


def test_the_mean_energy_of_weight_decay_is_that_of_its_partition_function():
    depth, shape, beta, decay, h = 3, (3, 2), 2.0, 0.3, 1e-5

    def energy(W):
        s = jnp.linalg.svd(W, compute_uv=False)
        return decay * depth / 2 * jnp.sum(jnp.exp(2 / depth * jnp.log(s)))

    run = dl.sample_gibbs(energy, depth, beta, shape=shape, key=KEY)
    log_Z = lambda b: dl.log_partition_function(depth, shape, b, decay)  # noqa: E731
    expected = -(log_Z(beta + h) - log_Z(beta - h)) / (2 * h)
    assert run.converged
    assert np.mean(run.energy) == pytest.approx(expected, abs=4 * standard_error(run))
    assert 4 * standard_error(run) < 0.05 * expected


@pytest.mark.parametrize(
    ("depth", "shape", "entropic"),
    [(2.5, (2, 3), False), slow(3, (3, 3), True), (1, (2, 2), False)],
)
def test_equipartition_of_energies_that_are_homogeneous(depth, shape, entropic):
    """W → cW scales dvol by c^{mn/N}, e^S by c^{(1−1/N)k(k−1)/2} and E = ½‖W‖² by c²: Z ∝ β^{−p/2}
    with p their sum, and the mean energy is p/(2β).
    """
    beta, k = 3.0, min(shape)
    p = math.prod(shape) / depth + entropic * (1 - 1 / depth) * k * (k - 1) / 2
    run = dl.sample_gibbs(half_square, depth, beta, shape=shape, entropic=entropic, key=2)
    assert run.converged
    assert np.mean(run.energy) == pytest.approx(p / (2 * beta), abs=4 * standard_error(run))
    assert 4 * standard_error(run) < 0.15 * p / (2 * beta)


# What the result says


def test_the_result_is_consistent():
    energy = dl.Completion([0, 1], [0, 1], [1.0, 0.5], (2, 2))
    run = dl.sample_gibbs(energy, 3, 20.0, weight_decay=0.1, key=1, chains=8, samples=50, thin=2)
    assert run.W.shape == (8, 50, 2, 2)
    s = np.linalg.svd(run.W, compute_uv=False)
    np.testing.assert_allclose(run.singular_values, s, atol=1e-12)
    np.testing.assert_allclose(run.energy, jax.vmap(jax.vmap(energy))(run.W), rtol=1e-12)
    assert run.evaluations >= 1
    again = dl.sample_gibbs(energy, 3, 20.0, weight_decay=0.1, key=1, chains=8, samples=50, thin=2)
    np.testing.assert_array_equal(run.W, again.W)
    other = dl.sample_gibbs(energy, 3, 20.0, weight_decay=0.1, key=2, chains=8, samples=50, thin=2)
    assert (np.asarray(run.W) != other.W).any()


def test_chains_that_do_not_agree_are_not_called_converged():
    short = dl.sample_gibbs(half_square, 3, 1.0, shape=(2, 2), key=0, chains=2, samples=20)
    assert short.status == dl.Status.not_mixed  # too few draws
    # two far wells, in one of which each chain stays
    A, B = np.array([[9.0, 2.0], [1.0, 3.0]]), np.array([[-2.0, 5.0], [-6.0, 0.5]])
    wells = lambda W: 50 * jnp.minimum(jnp.sum((W - A) ** 2), jnp.sum((W - B) ** 2))  # noqa: E731
    starts = np.repeat([A, B], 8, 0)
    options = {"key": 0, "chains": 16, "samples": 400, "warmup": 0}
    apart = dl.sample_gibbs(wells, 1, 4.0, W0=starts, **options)
    assert apart.r_hat > 1.5
    assert apart.status == dl.Status.not_mixed


@pytest.mark.parametrize("depth", [3, slow(math.inf)])
def test_laws_without_a_finite_total_do_not_converge(depth):
    """Nothing keeps the unobserved entries from infinity; at N = ∞ nothing log σ from −∞."""
    energy = dl.Completion([0, 1], [0, 1], [0.9, 0.9], (2, 2))
    run = dl.sample_gibbs(energy, depth, 50.0, key=0)
    assert run.status == dl.Status.not_mixed
    assert run.r_hat > 1.05


def test_starts_are_kept_to(rng):
    W0 = rng.normal(size=(4, 2, 2))
    for depth in (2.5, math.inf):
        still = lambda W: 1e14 * jnp.sum((W - W0[0]) ** 2)  # noqa: E731
        starts = np.repeat(W0[:1], 4, 0)
        run = dl.sample_gibbs(still, depth, 1.0, W0=starts, key=0, chains=4, samples=4, warmup=0)
        np.testing.assert_allclose(run.W, np.broadcast_to(W0[0], run.W.shape), atol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        ({"depth": 0.5}, dl.DepthError, r"^depth must be"),
        ({"beta": -1.0}, dl.InputError, r"^beta must be one positive number"),
        ({"shape": None}, dl.InputError, r"^shape must be \(m, n\)"),
        ({"shape": (2, 3), "depth": math.inf}, dl.DepthError, r"^depth must be finite for W of"),
        ({"energy": None}, dl.InputError, r"^energy must be a function of W where weight_decay"),
        ({"weight_decay": -0.1}, dl.InputError, r"^weight_decay must be one positive"),
        ({"chains": 1}, dl.InputError, r"^chains must be an integer ≥ 2"),
        ({"samples": 3}, dl.InputError, r"^samples must be an integer ≥ 4"),
        ({"W0": np.zeros((3, 2, 2))}, dl.InputError, r"^W0 must have shape \(32, 2, 2\)"),
        ({"energy": lambda W: jnp.nan * W.sum()}, dl.InputError, r"^energy must be finite at"),
    ],
)
def test_sentences(call, error, sentence):
    whole = {"energy": half_square, "depth": 2, "beta": 1.0, "shape": (2, 2), "key": 0, **call}
    with pytest.raises(error, match=sentence):
        dl.sample_gibbs(**whole)
