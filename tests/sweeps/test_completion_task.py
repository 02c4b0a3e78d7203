"""The built-in task: one random problem, an ensemble of flows on it, and statistics of the runs
that reached their limit.
"""

from types import SimpleNamespace

import numpy as np
import oracles
import pytest
from scipy.integrate import solve_ivp

import deeplinear as dl
from deeplinear.dynamics import ensembles
from deeplinear.experiments import Sweep, open_sweep, run_sweep
from deeplinear.results.parameters import derive_seed
from deeplinear.sweeps.completion_task import STATISTICS, completion, problem


def test_the_problem_is_random_low_rank_and_shared(rng):
    truth, order = problem(12, 3, seed=4)
    assert np.linalg.matrix_rank(truth) == 3
    assert np.isclose(np.linalg.norm(truth), 12)
    assert sorted(order) == list(range(144))
    again, other = problem(12, 3, seed=4), problem(12, 3, seed=5)
    assert np.array_equal(again[0], truth)
    assert not np.allclose(other[0], truth)


def test_statistics_are_those_of_the_runs_that_ended(monkeypatch, rng):
    """A stand-in for the engine, with a run that did not converge and one that says it did but is
    NaN: both left out, and counted.
    """
    calls = []

    def engine(energy, starts, depth, **options):
        calls.append((energy, starts, depth))
        W = rng.normal(size=starts.shape)
        W[4] = np.nan
        ok = np.array([True, True, False, True, True, True])
        number = np.arange(6.0)
        return SimpleNamespace(W=W, ok=ok, energy=number, error=number / 10, steps=np.arange(6))

    monkeypatch.setattr(ensembles, "ensemble", engine)
    small, large = (
        completion(size=4, observed=7, depth=3, rank=2, runs=6, scale=scale)
        for scale in (1e-4, 1e-2)
    )
    assert (small["runs_ok"], small["runs_excluded"]) == (4, 2)
    assert np.allclose(calls[1][1], 100 * calls[0][1])  # the same starts at another scale
    assert np.isclose(calls[1][1].std(), 1e-2, rtol=0.25)  # 96 numbers: 3.4 standard errors
    assert calls[0][0](problem(4, 2, 0)[0]) == 0  # the energy observes the truth

    rng2 = np.random.default_rng(20231)
    rng2.normal(size=(6, 4, 4))
    W = rng2.normal(size=(6, 4, 4))[[0, 1, 3, 5]]
    truth = problem(4, 2, 0)[0]
    error = [np.sqrt(((w - truth) ** 2).sum() / (truth**2).sum()) for w in W]
    p = [s / s.sum() for s in np.linalg.svd(W, compute_uv=False)]
    rank = [np.exp(-(q * np.log(q)).sum()) for q in p]
    for name, values in (
        ("relative_error", error),
        ("effective_rank", rank),
        ("steps", [0, 1, 3, 5]),
    ):
        expected = [
            np.mean(values),
            np.std(values),
            np.min(values),
            np.median(values),
            np.max(values),
        ]
        assert np.allclose(large[name], expected, rtol=1e-12), name


def test_a_task_without_any_good_run_has_no_numbers(monkeypatch, tmp_path):
    def engine(energy, starts, depth, **options):
        nothing = np.full(len(starts), np.nan)
        good = np.full(len(starts), depth == 2)
        return SimpleNamespace(
            W=np.where(depth == 2, starts, np.nan),
            ok=good,
            energy=nothing,
            error=nothing,
            steps=nothing,
        )

    monkeypatch.setattr(ensembles, "ensemble", engine)
    sweep = Sweep("completion", grid={"depth": [3]}, fixed={"size": 3, "observed": 4, "runs": 5})
    report = run_sweep(sweep, tmp_path / "s.zarr", workers=0)
    assert (report.computed, report.empty, report.excluded) == (1, 1, 5)
    ds = open_sweep(tmp_path / "s.zarr")
    assert int(ds.runs_ok[0]) == 0
    assert np.isnan(ds.relative_error).all()
    assert ds.status.values.tolist() == [3]


def test_a_sweep_of_real_flows(tmp_path):
    """2×2, rank 1, three entries seen, starts of order 1 (so that no end is slow): against SciPy on
    theory's power sum at N = 3.
    """
    grid = {"depth": [3, np.inf], "seed": [4, 7]}
    sweep = Sweep(
        "completion", grid=grid, fixed={"size": 2, "observed": 3, "scale": 1.0, "runs": 2}
    )
    report = run_sweep(sweep, tmp_path / "s.zarr", workers=0)
    assert report.failures == {}
    ds = open_sweep(tmp_path / "s.zarr").set_index(task=["depth", "seed"]).unstack("task")
    assert ds.statistic.values.tolist() == list(STATISTICS)
    assert int(ds.runs_ok.sum()) == 8
    assert float(ds.energy.sel(statistic="max").max()) < 1e-10
    assert float(ds.endpoint_error.sel(statistic="max").max()) < 1e-4

    for seed in (4, 7):
        truth, order = problem(2, 1, seed)
        seen = np.zeros(4, bool)
        seen[order[:3]] = True
        seen = seen.reshape(2, 2)

        def velocity(t, w, truth=truth, seen=seen):
            W = w.reshape(2, 2)
            return -oracles.operator(W, np.where(seen, W - truth, 0), 3).ravel()

        errors = []
        for W0 in np.random.default_rng(derive_seed("start", 2, seed)).normal(size=(2, 2, 2)):
            W = (
                solve_ivp(velocity, (0, 300), W0.ravel(), method="LSODA", rtol=1e-10, atol=1e-13)
                .y[:, -1]
                .reshape(2, 2)
            )
            assert np.abs(np.where(seen, W - truth, 0)).max() < 1e-6  # the oracle is at its limit
            errors.append(np.linalg.norm(W - truth) / np.linalg.norm(truth))
        found = ds.relative_error.sel(depth=3, seed=seed)
        assert np.isclose(found.sel(statistic="min"), min(errors), atol=1e-5)
        assert np.isclose(found.sel(statistic="max"), max(errors), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"observed": 10}, "observed must be at most size² = 9, got 10"),
        ({"rank": 4}, "rank must be at most size = 3"),
        ({"runs": 0}, "runs must be a whole number"),
        ({"size": 2.5}, "size must be a whole number"),
        ({"depth": 0.5}, "depth must be ≥ 1"),
    ],
)
def test_parameters_that_make_no_sense(wrong, said):
    with pytest.raises(dl.InputError, match=said):
        completion(**{"size": 3, "observed": 4, "depth": 3, **wrong})


@pytest.mark.parametrize("wrong", [{"observed": 10}, {"depth": 0.5}, {"scale": -1.0}])
def test_they_are_refused_before_the_store_is_laid_out(wrong, tmp_path):
    grid = {"seed": [0, 1], **{name: [value] for name, value in wrong.items()}}
    fixed = {"size": 3, "observed": 4, "depth": 3}
    fixed = {name: value for name, value in fixed.items() if name not in wrong}
    with pytest.raises(dl.InputError, match=r"grid: no task for .*seed = 0.* must"):
        dl.experiments.run_sweep(
            dl.experiments.Sweep("completion", grid=grid, fixed=fixed),
            tmp_path / "store.zarr",
            workers=0,
        )
    assert not any(tmp_path.iterdir())
