"""The thin engine against dense oracles: the objective written out, soft-impute, KKT conditions,
the dense engine, told-the-rank ALS.
"""

import itertools
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from deeplinear import InputError
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import convex as engine
from deeplinear.completion.solver.fit import fit, fold_in
from deeplinear.completion.solver.path import path

DEPTHS = (2, 2.5, 3, 7, math.inf)


def table(rng, m=60, n=40, rank=3, noise=0.2, seen=0.5, weighted=False, dtype=None):
    """Noisy low rank plus biases: (truth, mask, X, weights, observations)."""
    truth = (
        rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n))
        + rng.normal(size=(m, 1))
        + rng.normal(size=n)
        + 2
    )
    mask = rng.random((m, n)) < seen
    X = np.where(mask, truth + noise * rng.normal(size=(m, n)), 0.0)
    weights = mask * (rng.uniform(0.3, 2.0, (m, n)) if weighted else 1.0)
    return truth, mask, X, weights, observe(X, mask, weights if weighted else None, dtype)


def observe(X, mask, weights=None, dtype=None):
    rows, cols = np.nonzero(mask)
    given = None if weights is None else weights[rows, cols]
    return Observations.from_triples(rows, cols, X[rows, cols], X.shape, weights=given, dtype=dtype)


def dense(found):
    return (
        found.left.astype(float) @ found.right.T.astype(float)
        + found.mean
        + found.row_bias[:, None]
        + found.col_bias
    )


def written_out(found, X, weights):
    """The objective of `fit`, from its definition, with a dense SVD."""
    scaled = found.row_scale[:, None] * (found.left.astype(float) @ found.right.T) * found.col_scale
    s = np.linalg.svd(scaled, compute_uv=False)
    beta = found.bias_ridge or 0.0
    biases = (
        np.square(found.row_bias, dtype=float).sum() + np.square(found.col_bias, dtype=float).sum()
    ) / 2
    return (
        0.5 * (weights * (dense(found) - X) ** 2).sum()
        + beta * biases
        + found.penalty.value(s[: found.rank]).sum()
    )


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_objective_is_the_written_out_one_and_never_rises(rng, depth, dtype):
    _, _, X, weights, seen = table(rng, weighted=True, dtype=dtype)
    found = fit(seen, depth=depth, strength=0.2, max_rank=12, tol=1e-9)
    rounding = 1e-12 if dtype == np.float64 else 3e-6
    assert found.left.dtype == dtype
    assert len(found.objective) > 5
    assert all(
        after <= before + rounding * before for before, after in itertools.pairwise(found.objective)
    )
    assert found.objective[-1] == pytest.approx(written_out(found, X, weights), rel=10 * rounding)
    assert found.objective[0] > found.objective[-1] * (1 + 1e-3)


def soft_impute(X, weights, decay, steps=4000):
    """Proximal gradient for ½ Σ w (W − X)² + λ ‖W‖_*: W ← shrink(W + w∘(X − W)/L), with Nesterov's
    extrapolation and restarts.
    """
    W, V, t, largest = np.zeros_like(X), np.zeros_like(X), 1.0, weights.max()
    for _ in range(steps):
        U, s, Vt = np.linalg.svd(V + weights * (X - V) / largest, full_matrices=False)
        new = (U * np.maximum(s - decay / largest, 0)) @ Vt
        faster = (1 + math.sqrt(1 + 4 * t * t)) / 2
        if np.vdot(V - new, new - W) > 0:
            faster = 1.0
        V = new + (t - 1) / faster * (new - W)
        W, t = new, faster
    return W


@pytest.mark.parametrize("weighted", [False, True])
def test_depth_two_reaches_the_global_minimum(rng, weighted):
    _, _, X, weights, seen = table(rng, m=30, n=24, weighted=weighted)
    found = fit(
        seen,
        depth=2,
        decay=3.0,
        biases=False,
        weighted_trace_norm=0,
        tol=1e-13,
        max_sweeps=2000,
        smoothing=0,
    )
    exact = soft_impute(X, weights, 3.0)

    def value(W):
        return 0.5 * (weights * (W - X) ** 2).sum() + 3.0 * np.linalg.svd(W, compute_uv=False).sum()

    assert value(exact) == pytest.approx(value(dense(found)), rel=1e-9)
    np.testing.assert_allclose(dense(found), exact, atol=2e-4)
    assert found.certificate.tangent < 1e-4
    assert found.certificate.normal <= found.certificate.limit * (1 + 1e-4)


def test_a_cap_that_is_too_small_shows_in_the_certificate(rng):
    *_, seen = table(rng, m=30, n=24)
    found = fit(seen, depth=2, decay=3.0, max_rank=2, tol=1e-12, max_sweeps=2000)
    assert found.rank == 2
    assert found.certificate.normal > 1.2 * found.certificate.limit


def test_depth_two_finds_components_that_were_not_there_at_the_start(rng):
    """From a start of rank 1, growth has to find all others: the minimum is the same."""
    _, _, X, weights, seen = table(rng, m=30, n=24)
    options = {
        "depth": 2,
        "decay": 3.0,
        "biases": False,
        "weighted_trace_norm": 0,
        "tol": 1e-12,
        "max_sweeps": 3000,
    }
    small = fit(seen, max_rank=1, **options)
    found = fit(seen, start=small, **options)
    assert found.rank > 3
    np.testing.assert_allclose(dense(found), soft_impute(X, weights, 3.0), atol=5e-4)


@pytest.mark.parametrize("depth", [2, 3, math.inf])
@pytest.mark.parametrize("scaling", [0.0, 0.5])
def test_first_order_conditions_checked_densely(rng, depth, scaling):
    """∂E/∂W̃ = −R̃ with R̃V = U f'(s), R̃ᵀU = V f'(s), R1 = βa, Rᵀ1 = βb, ΣR = 0; the certificate
    says the same.
    """
    _, mask, X, weights, seen = table(rng, seen=0.6, weighted=True)
    mask[:, :5] &= rng.random((60, 5)) < 0.3  # lines of different lengths
    weights = weights * mask
    seen = observe(X, mask, weights)
    found = fit(seen, depth=depth, strength=0.2, weighted_trace_norm=scaling, tol=0, max_sweeps=600)
    R = weights * (X - dense(found))
    scaled = R / found.row_scale[:, None] / found.col_scale
    U, s, Vt = np.linalg.svd(
        found.row_scale[:, None] * (found.left @ found.right.T) * found.col_scale
    )
    r = found.rank
    U, s, V = U[:, :r], s[:r], Vt[:r].T
    np.testing.assert_allclose(s, found.spectrum, rtol=1e-10)
    slope = found.penalty.slope(s)
    size = np.linalg.norm(slope)
    parts = [scaled @ V - U * slope, scaled.T @ U - V * slope]
    assert max(np.linalg.norm(part) for part in parts) < 1e-5 * size
    np.testing.assert_allclose(R.sum(axis=1), found.bias_ridge * found.row_bias, atol=1e-4)
    np.testing.assert_allclose(R.sum(axis=0), found.bias_ridge * found.col_bias, atol=1e-4)
    assert abs(R.sum()) < 1e-4
    assert found.certificate.tangent < 1e-5
    normal = scaled - U @ (U.T @ scaled)
    normal = np.linalg.norm(normal - (normal @ V) @ V.T, 2)
    assert 0.97 * normal < found.certificate.normal <= normal * (1 + 1e-9)
    if scaling:
        assert np.ptp(found.col_scale) > 0.2


def test_certificate_sees_a_fit_that_was_broken_off(rng):
    *_, seen = table(rng)
    assert fit(seen, max_sweeps=1, strength=0.2).certificate.tangent > 1e-3


@pytest.mark.parametrize("depth", [2, 3, math.inf])
def test_the_dense_engine_stays_where_the_thin_one_stopped(rng, depth):
    _, _, X, weights, seen = table(rng, m=30, n=24)
    found = fit(
        seen, depth=depth, strength=0.3, biases=False, weighted_trace_norm=0, tol=0, max_sweeps=800
    )
    assert 0 < found.rank < 15
    start = engine.Fit(found.U, found.s, found.V.T, np.zeros(30), np.zeros(24))
    problem = engine.Problem(X, weights, None)
    certificate = engine.certificate(problem, found.penalty, start)
    assert certificate.tangent < 1e-5
    assert engine.objective(problem, found.penalty, start) == pytest.approx(
        found.objective[-1], rel=1e-10
    )
    for further in itertools.islice(
        engine.descend(problem, found.penalty, start, max_rank=found.rank, tol=0.0), 200
    ):  # to the end, or as far as it goes
        last = further
    assert last.objective[-1] == pytest.approx(found.objective[-1], rel=1e-8)


def test_tau_is_the_norm_of_the_residual_with_random_signs(rng):
    """Against 40 dense draws of signs: within four standard deviations of their mean, and
    scale-free.
    """
    _, mask, X, weights, seen = table(rng, m=150, n=120, seen=0.3)
    found = fit(seen, max_sweeps=1, weighted_trace_norm=0)
    bare = fit(seen, max_sweeps=200, tol=0, max_rank=0)
    R = weights * (X - dense(bare))
    with threadpool_limits(1):
        draws = [np.linalg.norm(R * rng.choice([-1.0, 1.0], R.shape), 2) for _ in range(40)]
    assert abs(found.tau - np.mean(draws)) < 4 * np.std(draws) + 0.02 * np.mean(draws)
    larger = fit(observe(1000 * X, mask), max_sweeps=5, strength=0.3)
    plain = fit(seen, max_sweeps=5, strength=0.3)
    np.testing.assert_allclose(dense(larger), 1000 * dense(plain), rtol=1e-6)


def low_rank(seed, entries, *, noise=0.0, side=500, rank=5):
    """Gaussian factors and uniformly drawn entries, drawn again until every line holds ``rank`` of
    them (fewer determine nothing).
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(side, rank)) @ rng.normal(size=(rank, side))
    while True:
        rows, cols = np.divmod(rng.choice(side * side, entries, replace=False), side)
        if (
            min(np.bincount(rows, minlength=side).min(), np.bincount(cols, minlength=side).min())
            >= rank
        ):
            break
    values = truth[rows, cols] + noise * rng.normal(size=entries)
    return truth, Observations.from_triples(rows, cols, values, truth.shape)


def recovery_error(seed, factor, depth, strength=1e-8, sweeps=1000):
    truth, seen = low_rank(seed, int(factor * 5 * (500 + 500 - 5)))
    found = fit(
        seen, depth=depth, strength=strength, max_rank=25, biases=False, max_sweeps=sweeps, tol=1e-7
    )
    return float(np.linalg.norm(dense(found) - truth) / np.linalg.norm(truth)), found.rank


@pytest.mark.parametrize("depth", [3, math.inf])
def test_exact_recovery_at_one_and_a_half_times_the_degrees_of_freedom(depth):
    error, rank = recovery_error(0, 1.5, depth)
    assert rank == 5
    assert error < 1e-4


def test_the_nuclear_norm_recovers_nothing_there():
    assert recovery_error(0, 1.5, 2, 1e-3, 200)[0] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 4, math.inf])
def test_exact_recovery_ten_of_ten(depth):
    assert all(recovery_error(seed, 1.5, depth)[0] < 1e-3 for seed in range(10))


def told_the_rank(seen, truth, rank=5, ridge=1e-3, sweeps=15):
    """Plain alternating least squares with the true rank: RMSE against the truth."""
    rng = np.random.default_rng(1)
    sides = [rng.normal(size=(side, rank)) for side in truth.shape]
    for _ in range(sweeps):
        for k, lines in ((0, seen.by_row), (1, seen.by_col)):
            other = sides[1 - k]
            for i in range(truth.shape[k]):
                part = slice(lines.indptr[i], lines.indptr[i + 1])
                design = other[lines.indices[part]]
                sides[k][i] = np.linalg.solve(
                    design.T @ design + ridge * np.eye(rank), design.T @ lines.values[part]
                )
    return float(np.sqrt(np.mean((sides[0] @ sides[1].T - truth) ** 2)))


def test_noise_as_well_as_if_the_rank_were_known():
    truth, seen = low_rank(3, 50_000, noise=0.1)
    oracle = told_the_rank(seen, truth)
    rows, cols, values = seen.triples()
    held = np.random.default_rng(9).random(len(values)) < 0.1
    train = Observations.from_triples(rows[~held], cols[~held], values[~held], truth.shape)
    for depth in (3, math.inf):
        chosen = path(
            train,
            [depth],
            validation=(rows[held], cols[held], values[held]),
            max_rank=25,
            biases=False,
        ).best
        found = fit(seen, depth=depth, strength=chosen.strength, max_rank=25, biases=False)
        assert found.rank == 5
        assert np.sqrt(np.mean((dense(found) - truth) ** 2)) < 1.02 * oracle


class TestHeldOut:
    def test_the_best_iterate_is_returned(self, rng):
        _truth, mask, X, _, _ = table(rng, noise=1.0, seen=0.6)
        held = mask & (rng.random(mask.shape) < 0.2)
        rows, cols = np.nonzero(held)
        found = fit(
            observe(X, mask & ~held),
            strength=0.05,
            validation=(rows, cols, X[rows, cols]),
            max_rank=20,
            patience=4,
        )
        assert found.status == "stopped early"
        errors = np.array(found.validation)
        assert found.sweep == errors.argmin() + 1 == len(errors) - 4
        again = np.sqrt(np.mean((found.predict(rows, cols) - X[rows, cols]) ** 2))
        assert again == pytest.approx(errors.min(), rel=1e-12)
        assert math.isnan(found.certificate.tangent)

    def test_the_path_is_as_good_as_its_best_fit_alone(self, rng):
        _, mask, X, _, _ = table(rng, m=200, n=150, noise=0.7, seen=0.3)
        held = mask & (rng.random(mask.shape) < 0.2)
        rows, cols = np.nonzero(held)
        given = {"validation": (rows, cols, X[rows, cols]), "max_rank": 20}
        train = observe(X, mask & ~held)
        found = path(train, [2, 3], **given)
        assert {one.depth for one in found.fits} == {2.0, 3.0}
        assert found.best.depth == 3.0
        assert found.of_depth(2).best.depth == 2.0
        alone = fit(train, depth=3, strength=found.best.strength, **given)
        assert min(found.scores) < 1.01 * min(alone.validation)
        assert min(found.scores) < 0.97 * np.std(X[rows, cols])

    def test_bad_validation(self, rng):
        *_, seen = table(rng)
        for bad, message in (
            (([0], [0], []), "one length"),
            (([0], [99], [1.0]), "validation cols must lie between"),
            (([0], [0], [np.nan]), "finite"),
        ):
            with pytest.raises(InputError, match=message):
                fit(seen, validation=bad)
        with pytest.raises(InputError, match="validation must be given"):
            path(seen, [3])


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("left", "right", "spectrum", "row_bias", "col_bias", "objective")
    )


def test_threads_change_nothing(rng, monkeypatch):
    from deeplinear.completion.data import observations as module

    monkeypatch.setattr(module, "BLOCK", 200)
    *_, seen = table(rng)
    assert len(seen.by_row.blocks) > 5
    assert same(fit(seen, threads=1), fit(seen, threads=3))


def test_warm_start_with_new_rows_and_columns(rng):
    truth, mask, X, _, _ = table(rng, seen=0.7, noise=0.05)
    early = mask.copy()
    early[50:], early[:, 35:] = False, False
    first = fit(observe(X[:50, :35], early[:50, :35]), strength=0.1)
    cold = fit(observe(X, mask), strength=0.1, tol=1e-9)
    warm = fit(observe(X, mask), strength=0.1, tol=1e-9, start=first)
    assert warm.rank == cold.rank
    assert warm.objective[-1] == pytest.approx(cold.objective[-1], rel=1e-4)
    assert np.sqrt(np.mean((dense(warm) - truth) ** 2)) < 0.3
    with pytest.raises(InputError, match="start must not be larger"):
        fit(observe(X[:50], mask[:50]), start=warm)


@pytest.mark.parametrize("scaling", [0.0, 0.5])
def test_fold_in_gives_back_the_rows_of_a_stationary_fit(rng, scaling):
    _, mask, X, _, seen = table(rng)
    found = fit(seen, strength=0.2, tol=0, max_sweeps=500, weighted_trace_norm=scaling)
    folded = fold_in(found, observe(X[7:12], mask[7:12]))
    np.testing.assert_allclose(dense(folded), dense(found)[7:12], atol=1e-6)
    columns = fold_in(found.T, observe(X, mask).T)
    np.testing.assert_allclose(dense(columns).T, dense(found), atol=1e-6)
    with pytest.raises(InputError, match="columns of the fit"):
        fold_in(found, observe(X[:, :9], mask[:, :9]))


def test_prediction_and_svd(rng):
    *_, seen = table(rng)
    found = fit(seen, strength=0.2)
    rows, cols = rng.integers(0, 60, 50), rng.integers(0, 40, 50)
    np.testing.assert_allclose(found.predict(rows, cols), dense(found)[rows, cols], rtol=1e-12)
    np.testing.assert_allclose(
        (found.U * found.s) @ found.V.T, found.left @ found.right.T, atol=1e-12
    )
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(found.rank), atol=1e-12)
    with pytest.raises(InputError, match="rows must lie between 0 and 59"):
        found.predict([60], [0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 1.5}, "depth must be ≥ 2 for a thin fit"),
        ({"depth": 0.5}, "depth must be ≥ 1"),
        ({"strength": -1}, "strength must be a finite number ≥ 0"),
        ({"decay": math.nan}, "decay must be a finite number ≥ 0"),
        ({"max_rank": 41}, "max_rank must be at most min.m, n. = 40, got 41"),
        ({"max_sweeps": 0}, "max_sweeps must be an integer ≥ 1"),
        ({"tol": -1e-3}, "tol must be ≥ 0"),
        ({"weighted_trace_norm": 2}, "scaling must lie between 0"),
        ({"threads": 0}, "threads must be a positive integer"),
    ],
)
def test_bad_options(rng, change, message):
    *_, seen = table(rng)
    with pytest.raises(InputError, match=message):
        fit(seen, **change)


def test_degenerate_data():
    empty = Observations.from_triples(np.zeros(0, int), np.zeros(0, int), np.zeros(0), (3, 4))
    with pytest.raises(InputError, match="at least one entry"):
        fit(empty)
    for values in ([4.0], [4.0, 4.0], [0.0, 0.0]):
        k = np.arange(len(values))
        found = fit(Observations.from_triples(k, k, values, (3, 4)))
        assert found.converged
        np.testing.assert_allclose(dense(found), values[0], atol=1e-6)


class TestCheckpoint:
    SCRIPT = """
import sys, time, numpy as np
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import checkpoint
from deeplinear.completion.solver.fit import fit
checkpoint.SHARE = 1e9
rng = np.random.default_rng(5)
rows, cols = np.nonzero(rng.random((60, 40)) < 0.5)
X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 40)) + 0.3 * rng.normal(size=(60, 40))
seen = Observations.from_triples(rows, cols, X[rows, cols], (60, 40))
slow = (lambda found: print(found.n_sweeps, flush=True) or time.sleep(0.05)) if len(sys.argv) > 2 else None
some = rows[:50], cols[:50], X[rows, cols][:50]
found = fit(seen, strength=0.01, tol=0, max_sweeps=60, patience=60, validation=some, checkpoint=sys.argv[1], callback=slow)
print("done", found.n_sweeps, *found.objective, *found.left.ravel()[:20], *found.validation)
"""

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-c", self.SCRIPT, *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def test_a_killed_fit_resumes_to_the_same_numbers(self, tmp_path):
        undisturbed = self.run(str(tmp_path / "a"))
        assert undisturbed.startswith("done 63 ")
        file = tmp_path / "b"
        process = subprocess.Popen(
            [sys.executable, "-c", self.SCRIPT, str(file), "slow"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for line in process.stdout:
            if int(line) >= 20:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.wait()
        assert file.exists()
        with np.load(file) as saved:
            text = bytes(saved["scalars"]).decode()
        assert '"total": 63' not in text
        assert self.run(str(file)) == undisturbed

    def test_another_problem_or_a_damaged_file_is_refused(self, rng, tmp_path):
        *_, seen = table(rng)
        file = tmp_path / "fit"
        fit(seen, checkpoint=file, max_sweeps=3)
        with pytest.raises(InputError, match="belongs to other data or other options"):
            fit(seen, checkpoint=file, max_sweeps=3, strength=0.3)
        file.write_bytes(file.read_bytes()[:500])
        with pytest.raises(InputError, match="cannot be read"):
            fit(seen, checkpoint=file, max_sweeps=3)

    def test_finished_fits_end_at_once(self, rng, tmp_path):
        *_, seen = table(rng)
        first = fit(seen, checkpoint=tmp_path / "fit", strength=0.2)
        begin = time.perf_counter()
        again = fit(seen, checkpoint=tmp_path / "fit", strength=0.2)
        assert time.perf_counter() - begin < 5
        assert same(first, again)
