"""The experiments on exact laws, against closed forms."""

import numpy as np
import pytest

xr = pytest.importorskip("xarray")

from deeplinear.experiments.figures import dyson, entropic_equilibria  # noqa: E402


def settings(module, **changes):
    return {**module.FULL, **module.SMOKE, **changes}


@pytest.mark.slow
def test_the_spread_of_dysons_motion_is_the_exact_one():
    """E Σ y² = d START²/N² + d² t/N² in units of the edge 2√(dt)/N: ¼ d and a little; at N = ∞
    (d + 1)/4. Within five standard errors of the few chains.
    """
    d, chains = 5, 40
    ds = dyson.simulate(
        seed=3,
        **settings(dyson, depths=(3.0, np.inf), size=d, chains=chains, steps=50, exact_samples=200),
    )
    assert int((ds.ok == 0).sum()) == 0
    square = (ds.path.isel(time=-1) ** 2).sum("k")
    expected = [d / 4 * (1 + dyson.START**2 / d), (d + 1) / 4]
    error = square.std("chain") / np.sqrt(chains)
    assert (np.abs(square.mean("chain") - expected) < 5 * error).all()
    width = float(ds.bin[1] - ds.bin[0])
    np.testing.assert_allclose(ds.exact.sum("bin") * width, 1.0)
    assert (ds.distance < 0.15).all()


@pytest.mark.slow
def test_flows_end_at_the_entropic_equilibrium_at_the_predicted_rate():
    ds = entropic_equilibria.simulate(seed=0, **settings(entropic_equilibria))
    N, beta, d = ds.depth, ds.beta, ds.attrs["size"]
    np.testing.assert_allclose(ds.sigma**2, (d - 1) * (1 - 1 / N) / (2 * beta), rtol=1e-7)
    np.testing.assert_allclose(ds.end, ds.sigma, rtol=1e-3)
    late = ds.deviation.isel(phase=slice(-3, None))
    slope = np.log(late.isel(phase=-1) / late.isel(phase=0)) / float(late.phase[-1] - late.phase[0])
    assert (np.abs(slope + 1) < 0.02).all()


def test_weight_decay_loses_its_equal_singular_values_where_it_should():
    """rate · β σ^{2/N} = (1 − ν)[ν(d − 1) − d(1 + ν)/6], zero at N = 5 − 6/d."""
    depths = np.array([1.5, 2.0, 3.7])
    for d in (2, 6):
        found = entropic_equilibria.decay_rates([d], [*depths, 5 - 6 / d])[0]
        nu = 1 / depths
        expected = (1 - nu) * (nu * (d - 1) - d * (1 + nu) / 6)
        slowest = np.minimum(expected, (1 - nu) * (d - 1) * nu)
        np.testing.assert_allclose(found[:-1], slowest, rtol=1e-6, atol=1e-8)
        assert found[-1] == pytest.approx(0, abs=1e-7)
