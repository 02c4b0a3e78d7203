"""The experiments on leaves, against closed forms and the library's other ways to the same."""

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.experiments.figures import (
    exact_lambda_sweep,
    leaves_rich_lazy,
    leaves_volume_law,
    opposing_staircases,
)


def test_large_imbalance_is_lazy_where_widths_allow_it():
    ds = exact_lambda_sweep.simulate(
        seed=1, shapes=((3, 3), (2, 4), (4, 2)), deltas=(-5.0, 0.0, 5.0), times=40
    )
    end = ds.kernel_distance.isel(time=-1)
    assert (ds.loss.isel(time=-1) < 1e-2).all()
    square, wide, tall = (end.sel(shape=s).values for s in ("3×3", "2×4", "4×2"))
    assert max(square[0], square[2]) < 0.2 * square[1]
    # lazy for one sign of δ only where inputs and outputs differ in number; the other moves most
    assert wide[2] < 0.2 * wide[1] < wide[0]
    assert tall[0] < 0.2 * tall[1] < tall[2]


@pytest.mark.slow
def test_rich_and_lazy_endpoints():
    ds = leaves_rich_lazy.simulate(
        seed=0, depths=(3,), deltas=(0.0, 1e-3, 3.0), runs=60, scale=1e-2, grid=12
    )
    assert ds.ok.all()
    balanced, near, lazy = np.median(ds.rank_kept.values[0], -1)
    assert balanced < 0.1
    assert near == pytest.approx(balanced, abs=0.02)
    assert lazy > 0.99
    # the volume's excess is that of the formula of the roots
    W = np.full((2, 2), leaves_rich_lazy.OBSERVED)
    c = (0.0, 3.0, 6.0)
    expected = dl.log_volume(W, 3, imbalance=c) - dl.log_volume(
        leaves_rich_lazy.OBSERVED * np.eye(2), 3, imbalance=c
    )
    assert float(ds.excess[0, 2]) == pytest.approx(float(expected), abs=1e-12)
    assert np.isinf(ds.excess[0, 0])


def test_predictors_are_those_of_the_library(rng):
    mask = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]], bool)
    W = rng.normal(size=(2, 4, 3, 3))
    found = leaves_volume_law.predictors(W, mask, 2, 0.3)
    assert found.shape == (2, 4, len(leaves_volume_law.PREDICTORS))
    X = W[1, 2]
    flatness = float(dl.asymptotics.flatness(X, 2, mask, imbalance=0.3))
    induced = dl.asymptotics.log_induced_volume(X, 2, mask, imbalance=0.3)
    expected = [flatness + induced, flatness, induced]
    np.testing.assert_allclose(found[1, 2, :3], expected, atol=1e-10)
    assert found[1, 2, 3] == pytest.approx(-np.linalg.norm(X, "nuc"))


def test_alternatives_are_as_long(rng):
    mask = np.array([[1, 0], [0, 1]], bool)
    W = rng.normal(size=(3, 2, 2))
    others = leaves_volume_law._as_long(W, mask, 50, rng)
    assert (others[..., mask] == W[:, None][..., mask]).all()
    lengths = np.linalg.norm(others[..., ~mask], axis=-1)
    np.testing.assert_allclose(lengths, np.linalg.norm(W[:, ~mask], axis=-1)[:, None] + 0 * lengths)


@pytest.mark.slow
def test_both_staircases_step_together():
    ds = opposing_staircases.simulate(
        **{**opposing_staircases.FULL, "depths": (3,), "scales": (1e-3,), "runs": 3, "times": 600}
    )
    here = ds.isel(depth=0, scale=0)
    assert here.fall.notnull().all()
    assert (here.fall.diff("step") > 0).all()
    lag = np.abs(here.rise - here.fall) / here.fall
    assert float(lag.median()) < 0.05
    # λ only rises but for runs that overshoot, and the loss never does
    assert (here.loss.diff("moment") <= 1e-9).all()
    final = dl.learning_coefficient((5, 5, 5, 5), 4).value
    np.testing.assert_array_equal(here.coefficient[:, -1], final)
    np.testing.assert_allclose(ds.plateau, [0.76125, 0.26125, 0.08125, 0.02, 0], atol=1e-12)


def test_when_the_loss_steps():
    levels = opposing_staircases.plateaus()
    loss = np.repeat(levels, 10)[None] * 1.001 + 1e-9
    ts = np.arange(1.0, loss.shape[1] + 1)
    np.testing.assert_array_equal(opposing_staircases.falling(ts, loss), [[11, 21, 31, 41]])
    falls = opposing_staircases.falling(ts, loss)
    assert opposing_staircases.at_rest(ts, loss, falls) == pytest.approx(40 / 41)
    rank = np.array([[0, 0, 1, 1, 3, 4]])
    np.testing.assert_array_equal(opposing_staircases.rising(np.arange(6.0), rank), [[2, 4, 4, 5]])
