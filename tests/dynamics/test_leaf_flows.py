"""Flows and ensembles on isotropic leaves, against unbalanced factors and exact laws."""

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import deeplinear as dl
import deeplinear.dynamics.coordinates as dl_coordinates

# one c_p is the least: singular values cross zero; several: they do not
SMOOTH = [(0.0, 0.7), (0.4, 0.9, 0.0, 1.6)]
KEPT = [(0.0, 0.0, 0.4)]
LONGER = [
    (0.5, 0.0, 1.3),
    (0.1, 0.3, 0.0, 0.5, 0.2),
    (0.0, 1.0, 0.0, 0.5),
    (0.2, 0.0, 0.0, 0.1, 0.0),
]


def seen(M):
    """Half of the squares of a part of the entries, which has no limit alone."""
    mask = (np.arange(M.size).reshape(M.shape) % 4) != 0
    return lambda W: 0.5 * jnp.sum(jnp.where(mask, W - M, 0.0) ** 2)


@pytest.mark.parametrize("c", [SMOOTH[0], *(cases.slow(c) for c in (SMOOTH[1], *KEPT, *LONGER))])
def test_the_flow_of_the_product_is_that_of_unbalanced_factors(rng, c):
    energy, W0 = seen(rng.normal(size=(3, 3))), 0.3 * rng.normal(size=(3, 3))
    steps = {"t1": 2.0, "rtol": 1e-11, "atol": 1e-12}
    factors = dl.leaf_factors(W0, c, key=1)
    with pytest.warns(dl.ImbalanceWarning, match=r"follows gradient_flow with imbalance=\("):
        up = dl.factor_flow(energy, factors, **steps)
    for chart in ("dense", "svd" if c.count(0.0) > 1 else "auto"):
        down = dl.gradient_flow(energy, W0, len(c), imbalance=c, chart=chart, **steps)
        np.testing.assert_allclose(down.W, up.W, atol=1e-9)


@pytest.mark.parametrize(
    ("shape", "c"), [((2, 4), (0.0, 0.7, 0.3)), cases.slow((4, 2), (0.5, 0.2, 0.0))]
)
@pytest.mark.filterwarnings("ignore::deeplinear.ImbalanceWarning")
def test_other_shapes(rng, shape, c):
    energy, W0 = seen(rng.normal(size=shape)), 0.3 * rng.normal(size=shape)
    steps = {"t1": 2.0, "rtol": 1e-11, "atol": 1e-12}
    up = dl.factor_flow(energy, dl.leaf_factors(W0, c, key=1), **steps)
    down = dl.gradient_flow(energy, W0, len(c), imbalance=c, **steps)
    np.testing.assert_allclose(down.W, up.W, atol=1e-9)


def test_two_layers_follow_the_riccati_equation(rng):
    delta, M = 0.6, rng.normal(size=(3, 3))
    W0 = 0.2 * rng.normal(size=(3, 3))
    energy = lambda W: 0.5 * jnp.sum((W - M) ** 2)  # noqa: E731
    for imbalance in (delta, -delta):
        W1, W2 = dl.leaf_factors(W0, imbalance, depth=2, key=0)
        exact = dl.exact.two_layer(W1, W2, M, 1.5)
        found = dl.gradient_flow(energy, W0, 2, imbalance=imbalance, t1=1.5, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found.W, exact.W, atol=1e-9)


def test_large_imbalance_is_the_euclidean_flow(rng):
    """N = 2: λ → δ/2, so that time runs δ/2 times as fast as at N = 1."""
    energy, W0 = seen(rng.normal(size=(3, 3))), 0.3 * rng.normal(size=(3, 3))
    flat = dl.gradient_flow(energy, W0, 1, t1=2.0, rtol=1e-10)
    gaps = []
    for delta in (1e3, 1e4):
        lazy = dl.gradient_flow(energy, W0, 2, imbalance=delta, t1=4.0 / delta, rtol=1e-10)
        gaps.append(float(abs(lazy.W - flat.W).max()))
    assert gaps[0] < 1e-5
    assert gaps[0] / gaps[1] == pytest.approx(100, rel=0.05)  # of second order in 1/δ


def test_zero_is_no_critical_point_where_one_c_is_the_least(rng):
    energy, M = dl.Completion.from_dense(rng.normal(size=(2, 2))), np.zeros((2, 2))
    flow = dl.gradient_flow(energy, M, 3, imbalance=(0.0, 1.0, 0.5))
    assert bool(flow.converged)
    assert float(flow.energy) < 1e-9
    with pytest.raises(dl.CriticalPointError):
        dl.gradient_flow(energy, M, 3, imbalance=(0.0, 0.0, 0.5))


@pytest.mark.parametrize(
    ("shape", "c"),
    [
        cases.slow((2, 2), (0.0, 0.5)),
        cases.slow((2, 2), (0.0, 0.0, 0.5)),
        cases.slow((3, 3), (0.3, 0.0)),
        cases.slow((3, 3), (0.0, 0.0, 1.0)),
    ],
)
def test_an_ensemble_ends_where_each_flow_does(rng, shape, c):
    energy = seen(rng.normal(size=shape))
    found = dl.ensemble(energy, dl.normal_start(shape, 0.1), len(c), runs=6, imbalance=c)
    assert found.ok.all()
    assert found.imbalance.tolist() == [x - min(c) for x in c]
    assert "on the leaf (" in repr(found)
    for k in range(3):
        flow = dl.gradient_flow(energy, found.start[k], len(c), imbalance=c, rtol=1e-10)
        assert abs(np.asarray(flow.W) - found.W[k]).max() < 3 * found.error[k] + 1e-7


def by_radau(mask, M, W0, c):
    """The limit of the flow of the factors, by SciPy's implicit Runge–Kutta method."""
    N, d = len(c), len(M)

    def rates(t, flat):
        Ws = flat.reshape(N, d, d)
        below, above = [np.eye(d)], [np.eye(d)]
        for p in range(N):
            below.append(Ws[p] @ below[-1])
            above.append(above[-1] @ Ws[N - 1 - p])
        G = np.where(mask, below[-1] - M, 0.0)
        return -np.stack([above[N - 1 - p].T @ G @ below[p].T for p in range(N)]).ravel()

    start = np.stack(dl.leaf_factors(W0, c, key=0)).ravel()
    found = scipy.integrate.solve_ivp(rates, (0, 1e9), start, "Radau", rtol=1e-9, atol=1e-10)
    assert found.success
    return np.linalg.multi_dot(found.y[:, -1].reshape(N, d, d)[::-1])


def test_a_limit_of_low_rank_is_stiff_and_is_reached():
    """λ^c(0, 0) = c_2 c_3/3 = 7e−5 beside 1: explicit steps alone do not end within 5,000."""
    rng = np.random.default_rng(3)
    M, c = rng.normal(size=(3, 1)) * rng.normal(size=3), (0.0, 0.01, 0.02)
    mask = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]], bool)
    starts = 1e-2 * rng.normal(size=(3, 3, 3))
    found = dl.ensemble(
        dl.Completion.from_dense(np.where(mask, M, np.nan)), starts, 3, imbalance=c, max_steps=1000
    )
    assert found.counts == {"limit": 3}
    exact = np.stack([by_radau(mask, M, W0, c) for W0 in starts])
    assert np.linalg.norm(found.W - exact, axis=(1, 2)).max() < 3e-6 * np.linalg.norm(M)


def test_the_sign_of_det_changes_where_one_c_is_the_least():
    energy = dl.Completion.from_dense(np.array([[-1.0, 0.2], [0.1, 1.0]]))
    start = np.array([[[0.2, 0.0], [0.01, 0.1]]])
    rich = dl.ensemble(energy, start, 2)
    leaf = dl.ensemble(energy, start, 2, imbalance=1.0)
    assert np.linalg.det(leaf.W[0]) < 0 < np.linalg.det(rich.W[0]) + 1e-9
    assert leaf.energy[0] < 1e-9 < rich.energy[0]


def test_sentences(rng):
    W = rng.normal(size=(2, 2))
    energy = lambda W: jnp.sum(W**2)  # noqa: E731
    with pytest.raises(dl.InputError, match=r"^weight_decay must be 0 beside an imbalance"):
        dl.gradient_flow(energy, W, 2, imbalance=1.0, weight_decay=0.1)
    with pytest.raises(dl.InputError, match=r"^chart must be 'dense' or 'auto' for depth 2 on the"):
        dl.gradient_flow(energy, W, 2, imbalance=1.0, chart="svd")
    for method in ("factors", "implicit"):
        with pytest.raises(dl.InputError, match=r"^depth must be .* on the leaf \(0, 1\)"):
            dl.ensemble(energy, W[None], 2, imbalance=1.0, method=method)


def test_factors_on_no_leaf_are_told_so(rng):
    factors = [rng.normal(size=(2, 2)) for _ in range(2)]
    with pytest.warns(dl.ImbalanceWarning, match="on no leaf of it"):
        dl.factor_flow(lambda W: jnp.sum(W**2), factors, t1=0.01)


def test_charts_that_know_no_zero_are_refused_inside_jit_too(rng):
    energy = lambda W: jnp.sum(W**2)  # noqa: E731
    for chart in ("svd", dl_coordinates.SvdCoordinates(), dl_coordinates.ThinCoordinates()):
        with pytest.raises(dl.InputError, match=r"^chart must be 'dense' or 'auto'"):
            jax.jit(
                lambda W: dl.gradient_flow(energy, W, 2, imbalance=0.5, t1=1.0, chart=chart).W  # noqa: B023
            )(rng.normal(size=(2, 2)))
