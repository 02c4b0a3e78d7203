"""Training in finite steps: against loops in NumPy and optax; endings, batches, restarts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import slow, with_singular_values
from hypothesis import given, settings
from hypothesis import strategies as st

import deeplinear as dl
import deeplinear.dynamics.descent.run as run_module
from deeplinear.dynamics.descent.endings import STRIDE, period_of

WIDTHS = (4, 5, 3, 3)


def completion(shape, rate=0.7, seed=1, weights=False):
    rng = np.random.default_rng(seed)
    X = np.where(rng.random(shape) < rate, rng.normal(size=shape), np.nan)
    X[0, 0] = 1.3
    return dl.Completion.from_dense(X, rng.uniform(0.5, 2, shape) if weights else None)


def oracle_slopes(energy, factors, decay=0.0):
    """∇L entry by entry of the definition, in NumPy."""
    W = np.linalg.multi_dot(factors[::-1]) if len(factors) > 1 else factors[0]
    G = np.asarray(energy.weights) * (W - np.asarray(energy.target))
    found = []
    for p in range(len(factors)):
        left, right = np.eye(W.shape[0]), np.eye(W.shape[1])
        for F in factors[:p:-1]:
            left = left @ F
        for F in factors[:p]:
            right = F @ right
        found.append(left.T @ G @ right.T + decay * factors[p])
    return found


class TestSteps:
    @pytest.mark.parametrize("widths", [(4, 3), (3, 1, 2), (4, 5, 3, 3), (2, 2, 2, 2, 2)])
    @pytest.mark.parametrize("decay", [0.0, 0.3])
    def test_plain_descent_is_the_loop_of_its_definition(self, widths, decay):
        energy = completion((widths[-1], widths[0]), weights=True)
        factors = [np.asarray(W) for W in dl.normal_factors(widths, 0.5, key=3)]
        found = dl.descend(energy, factors, optimizer=0.03, steps=150, weight_decay=decay)
        for _ in range(150):
            slopes = oracle_slopes(energy, factors, decay)
            factors = [W - 0.03 * G for W, G in zip(factors, slopes, strict=True)]
        for W, V in zip(found.factors, factors, strict=True):
            assert np.allclose(W, V, atol=1e-12)
        slopes = oracle_slopes(energy, factors, decay)
        assert np.isclose(found.gradient, np.sqrt(sum((G**2).sum() for G in slopes)), rtol=1e-9)
        squares = sum((W**2).sum() for W in factors)
        assert np.isclose(found.energy, energy(found.W))
        assert found.steps == 150
        assert np.isclose(found.loss, found.energy + decay / 2 * squares)

    @pytest.mark.parametrize(
        "make",
        [
            lambda: optax.sgd(0.02, momentum=0.9),
            lambda: optax.sgd(0.02, momentum=0.9, nesterov=True),
            lambda: optax.adam(1e-2),
            lambda: optax.rmsprop(3e-3),
            slow(lambda: optax.contrib.muon(1e-2)),
            slow(lambda: optax.adamw(1e-2, weight_decay=0.1)),
            lambda: optax.chain(
                optax.clip_by_global_norm(0.3),
                optax.sgd(optax.warmup_cosine_decay_schedule(0.0, 0.1, 20, 100)),
            ),
        ],
        ids=["momentum", "nesterov", "adam", "rmsprop", "muon", "adamw", "schedule"],
    )
    def test_an_optimizer_of_optax_is_itself(self, make):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        found = dl.descend(energy, factors, optimizer=make(), steps=60)
        optimizer, own = make(), tuple(factors)
        state = optimizer.init(own)
        loss = jax.jit(jax.grad(lambda F: energy(F[2] @ F[1] @ F[0])))
        for _ in range(60):
            updates, state = optimizer.update(loss(own), state, own)
            own = optax.apply_updates(own, updates)
        for W, V in zip(found.factors, own, strict=True):
            assert np.allclose(W, V, atol=1e-9)

    def test_line_searches_get_what_they_ask_for(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        found = dl.descend(energy, factors, optimizer=optax.lbfgs(), steps=1000)
        assert found.status == dl.Status.converged
        assert found.gradient < 1e-8

    def test_an_energy_of_ones_own_and_one_layer(self):
        M = np.random.default_rng(7).normal(size=(2, 3))
        found = dl.descend(
            lambda W: jnp.sum((W - M) ** 2) / 2, [np.zeros((2, 3))], optimizer=0.5, steps=1000
        )
        assert found.status == dl.Status.converged
        assert np.allclose(found.W, M)

    @pytest.mark.slow
    def test_float32_stays(self):
        energy = dl.Completion.from_dense(np.diag([2.0, 1.0]).astype(np.float32))
        factors = [np.asarray(W, np.float32) for W in dl.normal_factors((2, 2, 2), 0.3, key=0)]
        for optimizer in (0.1, optax.adam(1e-2)):
            found = dl.descend(energy, factors, optimizer=optimizer, steps=5000)
            assert found.W.dtype == np.float32
            assert found.status == dl.Status.converged, found
            assert np.allclose(found.W, np.diag([2.0, 1.0]), atol=1e-4)

    def test_no_steps_is_the_start(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        found = dl.descend(energy, factors, optimizer=0.1, steps=0, records=("loss",))
        assert found.status == dl.Status.steps
        assert found.steps == 0
        assert all(map(np.array_equal, found.factors, factors))
        assert found.records["loss"].tolist() == [found.loss]


def targets():
    rng = np.random.default_rng(5)
    return {
        "diagonal": np.diag([2.0, 1.0, 0.5]),
        "generic": with_singular_values(rng, [1.7, 0.9, 0.4]),
        "rectangular": with_singular_values(rng, [1.3, 0.6, 0.2], 3, 4),
    }


class TestEdge:
    @pytest.mark.parametrize("depth", [slow(2), 3, slow(4)])
    @pytest.mark.parametrize("name", ["diagonal", "generic", "rectangular"])
    def test_the_critical_step_parts_convergence_from_a_cycle_of_two(self, depth, name):
        M = targets()[name]
        energy, rng = dl.Completion.from_dense(M), np.random.default_rng(0)
        edge = float(dl.asymptotics.critical_step(M, depth))
        s = np.linalg.svd(M, compute_uv=False)[0]
        assert np.isclose(edge, 2 / (depth * s ** (2 - 2 / depth)), rtol=1e-9)
        near = [
            np.asarray(W) + 1e-3 * rng.normal(size=W.shape)
            for W in dl.balanced_factors(M, depth, key=1)
        ]
        starts = [np.stack([W, W]) for W in near]
        steps = edge * np.array([0.99, 1.01])
        found = dl.descend(energy, starts, optimizer=steps, steps=60_000)
        assert found.status.tolist() == [dl.Status.converged, dl.Status.cycling], found
        assert found.period.tolist() == [0, 2]
        assert np.allclose(found.W[0], M, atol=1e-7)
        # the cycle, by hand: two steps lead back, one does not
        W = [F[1] for F in found.factors]
        once, twice = list(W), None
        for _ in range(2):
            slopes = oracle_slopes(energy, once)
            once, twice = [A - steps[1] * G for A, G in zip(once, slopes, strict=True)], once
        away = max(np.abs(A - B).max() for A, B in zip(W, twice, strict=True))
        back = max(np.abs(A - B).max() for A, B in zip(W, once, strict=True))
        assert away > 1e-3
        assert back < 1e-6 * away

    def test_what_doubles_is_told_by_its_period(self):
        M = np.diag([2.0, 1.0])
        energy, edge = dl.Completion.from_dense(M), float(dl.asymptotics.critical_step(M, 2))
        factors = dl.normal_factors((2, 2, 2), 0.1, key=0)
        starts = [np.stack([W] * 3) for W in factors]
        found = dl.descend(
            energy, starts, optimizer=edge * np.array([1.1, 1.25, 1.3]), steps=20_000
        )
        assert found.period.tolist() == [2, 4, 16]

    def test_the_balancing_gap_decays_past_the_edge_and_is_kept_by_the_flow(self):
        M = np.diag([2.0, 1.0, 0.5])
        energy = dl.Completion.from_dense(M)
        W0 = with_singular_values(np.random.default_rng(3), [0.5, 0.4, 0.3])
        factors = dl.leaf_factors(W0, (0.0, 0.1, 0.25), 2)
        edge = float(dl.asymptotics.critical_step(M, 3))
        gap = float(dl.imbalance(factors))
        with pytest.warns(dl.ImbalanceWarning):
            flow = dl.factor_flow(energy, factors, t1=30.0, rtol=1e-9)
        assert np.isclose(dl.imbalance(flow.factors), gap, rtol=1e-6)
        small = dl.descend(energy, factors, optimizer=edge / 1000, steps=20_000, stop=False)
        assert np.isclose(dl.imbalance(small.factors), gap, rtol=5e-3)
        large = dl.descend(
            energy, factors, optimizer=1.05 * edge, steps=20_000, stop=False,
            records=("imbalance",), record_at=5000,
        )  # fmt: skip
        gaps = large.records["imbalance"]
        assert large.status == dl.Status.cycling
        # the mode that oscillates loses its gap, and the two others keep theirs
        A, B = large.factors[1:]
        left = np.sort(abs(np.linalg.eigvalsh(B.T @ B - A @ A.T)))
        assert left[0] < 1e-3
        assert left[1] > 0.1
        assert gaps[-1] < 0.95 * gap
        assert np.all(np.diff(gaps) <= 1e-9)


class TestEndings:
    def test_a_saddle_is_no_limit(self):
        """Rank 1 is left by 1e−12 only, and every gradient is small for a thousand steps."""
        M = with_singular_values(np.random.default_rng(6), [1.0, 0.8])
        U, _, Vt = np.linalg.svd(M)
        W0 = (U * [1.0, 1e-12]) @ Vt
        factors = dl.balanced_factors(W0, 2, key=0)
        found = dl.descend(dl.Completion.from_dense(M), factors, optimizer=0.05, steps=20_000)
        assert found.status == dl.Status.converged
        assert np.allclose(found.W, M, atol=1e-6)

    def test_small_starts_are_no_limits(self):
        M = np.diag([1.0, 0.7])
        for depth in (2, 3, 4):
            factors = dl.balanced_factors(1e-6 * np.array([[1.0, 0.3], [-0.4, 0.8]]), depth, key=0)
            found = dl.descend(dl.Completion.from_dense(M), factors, optimizer=0.1, steps=1500)
            good = np.allclose(found.W, M, atol=1e-6)
            assert (found.status == dl.Status.converged) == good, found

    def test_divergence_shows_its_numbers(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 1.0, key=4)
        found = dl.descend(
            energy, factors, optimizer=30.0, steps=1000, records=("loss",), record_at=[0, 1, 900]
        )
        assert found.status == dl.Status.diverged
        assert not found.converged
        assert found.steps < 20
        assert found.loss > 1e15 * found.records["loss"][0] or np.isinf(found.loss)
        assert np.isnan(found.records["loss"][2])

    @pytest.mark.parametrize("step", [1.02, 1.3])
    def test_one_layer_diverges_slowly(self, step):
        energy = dl.Completion.from_dense(np.array([[1.0, 2.0]]))
        found = dl.descend(energy, [np.zeros((1, 2))], optimizer=2 * step, steps=100_000)
        assert found.status == dl.Status.diverged
        assert np.isfinite(found.W).all()

    def test_an_energy_that_is_no_number_is_to_blame(self):
        energy = lambda W: jnp.sum(jnp.sqrt(1.0 - W**2)) - 3 * jnp.sum(W)  # noqa: E731
        found = dl.descend(energy, [np.zeros((1, 1))], optimizer=0.1, steps=100)
        assert found.status == dl.Status.not_finite
        with pytest.raises(dl.InputError, match="finite"):
            dl.descend(energy, [np.full((1, 1), 2.0)], optimizer=0.1, steps=100)
        starts = [np.array([[[2.0]], [[np.nan]], [[0.0]]])]
        many = dl.descend(lambda W: jnp.sum(jnp.sqrt(1 + W**2)), starts, optimizer=0.5, steps=500)
        assert many.status[1] == dl.Status.not_finite
        assert many.status[2] == dl.Status.converged
        assert dl.Status.not_finite in dl.descend(energy, starts, optimizer=0.1, steps=5).status

    def test_the_energy_asked_for(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        found = dl.descend(
            energy, factors, optimizer=0.05, steps=5000, stop_energy=1e-3, records=("energy",),
            record_at=1,
        )  # fmt: skip
        assert found.status == dl.Status.energy
        assert found.converged
        assert found.energy <= 1e-3
        assert found.records["energy"][found.steps - 1] > 1e-3

    def test_chaos_is_neither_converged_nor_a_cycle(self):
        energy = dl.Completion.from_dense(np.array([[1.0]]))
        start = [np.array([[0.8]]), np.array([[0.9]])]
        found = dl.descend(energy, start, optimizer=1.64, steps=50_000, records=("W",), record_at=1)
        assert found.status == dl.Status.steps
        assert np.unique(found.records["W"][-5000:].round(9)).size > 4000

    def test_no_stop_takes_all_steps_and_says_how_it_stands(self):
        energy, factors = dl.Completion.from_dense(np.diag([2.0, 1.0])), [np.eye(2) * 0.9] * 2
        for step, status in ((0.4, "converged"), (0.51, "cycling")):
            found = dl.descend(
                energy, [W + 0.01 * np.arange(4).reshape(2, 2) for W in factors],
                optimizer=step, steps=5001, stop=False,
            )  # fmt: skip
            assert dl.Status(int(found.status)).name == status
            assert found.steps == 5001

    @pytest.mark.parametrize("mu", [-0.9, -0.99999, 0.9, 0.99999])
    def test_what_only_converges_is_no_cycle(self, mu):
        """The return map of W_j = μ^j: distances from its start are |μ^j − 1|."""
        j = np.arange(STRIDE + 1)
        d = jnp.asarray(abs(mu**j - 1.0))
        found = period_of(d, jnp.asarray(j > 0), jnp.asarray(STRIDE), d.max(), jnp.asarray(1.0))
        assert found == 0

    def test_a_cycle_that_still_settles_has_no_longer_period(self):
        """Around a cycle of two that attracts like (−.99)^j the 16th step was the first back."""
        j = np.arange(STRIDE + 1)
        for size in (1e-9, 3e-8, 1e-7, 1e-6, 1e-3):
            d = jnp.asarray((j % 2) + size * abs((-0.98) ** (j // 2) - 1))
            back = period_of(d, jnp.asarray(j > 0), jnp.asarray(STRIDE), d.max(), jnp.asarray(1.0))
            assert back in ((0, 2) if size < 1e-8 else (0,))

    @pytest.mark.parametrize("p", [2, 3, 5, 48, 64])
    def test_cycles_of_any_length_up_to_64(self, p):
        j = np.arange(STRIDE + 1)
        d = jnp.asarray(abs(np.sin(np.pi * (j % p) / p)))
        found = period_of(d, jnp.asarray(j > 0), jnp.asarray(STRIDE), d.max(), jnp.asarray(1.0))
        assert found == p


class TestBatches:
    def test_many_runs_are_those_runs(self, monkeypatch):
        """Whatever the number of lanes: refilled lanes carry nothing over."""
        energy = completion((3, 4))
        starts = jax.vmap(lambda k: dl.normal_factors(WIDTHS, 0.5, k))(
            jax.random.split(jax.random.key(7), 11)
        )
        steps = np.geomspace(0.01, 2.0, 11)
        wide = dl.descend(energy, starts, optimizer=steps, steps=1500, records=("loss",))
        monkeypatch.setattr(run_module, "_FILLED", (120, 120))
        narrow = dl.descend(energy, starts, optimizer=steps, steps=1500, records=("loss",))
        for result in (narrow,):
            assert (result.status == wide.status).all()
            assert (result.steps == wide.steps).all()
            assert {"converged", "diverged"} <= set(wide.counts)
            fine = wide.status == dl.Status.converged
            assert np.allclose(result.W[fine], wide.W[fine], atol=1e-10)
        for i in (0, 5):
            one = dl.descend(
                energy, [W[i] for W in starts], optimizer=steps[i], steps=1500, records=("loss",)
            )
            assert one.status == wide.status[i]
            assert one.steps == wide.steps[i]
            assert np.allclose(one.W, wide.W[i], atol=1e-10)
            shown = np.isfinite(one.records["loss"])
            assert (shown == np.isfinite(wide.records["loss"][i])).all()
            assert shown.any()
            assert np.allclose(one.records["loss"][shown], wide.records["loss"][i][shown])
        assert repr(wide).startswith("DescentResult(11 runs, 3×4, depth 3; ")

    @pytest.mark.parametrize("optimizer", [slow("plain"), "adam"])
    @pytest.mark.parametrize("random", [{}, {"batch": 3}, {"label_noise": 0.1}])
    def test_two_halves_are_one_run_bit_for_bit(self, optimizer, random):
        energy = completion((3, 4))
        starts = jax.vmap(lambda k: dl.normal_factors(WIDTHS, 0.5, k))(
            jax.random.split(jax.random.key(7), 3)
        )
        made = 0.05 if optimizer == "plain" else optax.adam(1e-2)
        options = {"optimizer": made, "weight_decay": 0.01, **random}
        whole = dl.descend(energy, starts, steps=700, key=5, **options)
        first = dl.descend(energy, starts, steps=177, key=5, **options)
        second = dl.descend(energy, first, steps=523, **options)
        assert all(map(np.array_equal, whole.factors, second.factors))
        assert (whole.steps == second.steps).all()
        assert (whole.status == second.status).all()
        other = dl.descend(energy, starts, steps=700, key=6, **options)
        assert all(map(np.array_equal, whole.factors, other.factors)) == (random == {})

    def test_what_has_ended_stays_ended(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        first = dl.descend(energy, factors, optimizer=0.05, steps=5000)
        again = dl.descend(energy, first, optimizer=0.05, steps=5000)
        assert first.converged
        assert again.steps == first.steps
        assert again.status == first.status
        assert np.array_equal(first.W, again.W)
        with pytest.raises(dl.InputError, match="optimizer"):
            dl.descend(energy, first, optimizer=optax.adam(1e-3), steps=10)

    def test_what_has_ended_under_another_problem_goes_on(self):
        target = np.diag([2.0, 1.0])
        energy, other = (dl.Completion.from_dense(X) for X in (target, target + 0.3))
        factors = dl.normal_factors((2, 2, 2), 0.1, key=0)
        first = dl.descend(energy, factors, optimizer=0.1, steps=5000)
        moved = dl.descend(other, first, optimizer=0.1, steps=5000)
        assert moved.converged
        np.testing.assert_allclose(moved.W, target + 0.3, atol=1e-6)
        decayed = dl.descend(energy, first, optimizer=0.1, steps=5000, weight_decay=0.2)
        assert decayed.converged
        np.testing.assert_allclose(decayed.singular_values, [1.8, 0.8], atol=1e-6)
        cycle = dl.descend(energy, factors, optimizer=0.51, steps=20_000)
        assert cycle.period == 2
        assert dl.descend(energy, cycle, optimizer=0.51, steps=100).steps == cycle.steps
        for steps, status in ((50, dl.Status.steps), (5000, dl.Status.converged)):
            again = dl.descend(energy, cycle, optimizer=0.1, steps=steps)
            assert again.status == status
            assert again.period == 0
        early = dl.descend(energy, factors, optimizer=0.1, steps=5000, stop_energy=1e-2)
        assert early.status == dl.Status.energy
        later = dl.descend(energy, early, optimizer=0.1, steps=5000, stop_energy=1e-6)
        assert later.energy <= 1e-6
        assert dl.descend(energy, later, optimizer=0.1, steps=5, stop_energy=1e-6).steps == (
            later.steps
        )


class TestDraws:
    @pytest.mark.parametrize("kind", ["completion", slow("sensing"), slow("regression")])
    def test_the_mean_step_is_the_whole_one(self, kind):
        """One step of 20,000 runs: its mean within 5 standard errors, in every entry."""
        rng = np.random.default_rng(2)
        if kind == "completion":
            energy = completion((3, 4), weights=True)
        elif kind == "sensing":
            energy = dl.Sensing(rng.normal(size=(7, 3, 4)), rng.normal(size=7))
        else:
            X = rng.normal(size=(4, 9))
            energy = dl.Regression(X, rng.normal(size=(3, 9)), keep_samples=True)
        runs = 20_000
        start = [rng.normal(size=(3, 4))]
        many = [np.repeat(start[0][None], runs, 0)]
        options = {"optimizer": 0.1, "steps": 1, "stop": False}
        whole = dl.descend(energy, start, **options).W
        for extra in ({"batch": 2}, {"label_noise": 0.7}, {"batch": 1, "label_noise": 0.7}):
            moved = dl.descend(energy, many, **options, **extra).W
            error = moved.std(0) / np.sqrt(runs) + 1e-12
            assert (abs(moved.mean(0) - whole) < 5 * error).all()
            assert moved.std(0).max() > 1e-3

    def test_a_batch_of_all_is_the_whole_and_noise_has_its_size(self):
        energy = completion((3, 4))
        start = [np.random.default_rng(8).normal(size=(3, 4))]
        options = {"optimizer": 0.1, "steps": 3, "stop": False}
        count = int(energy.observed.sum())
        whole = dl.descend(energy, start, **options)
        assert np.allclose(dl.descend(energy, start, batch=count, **options).W, whole.W)
        many = [np.repeat(start[0][None], 20_000, 0)]
        moved = dl.descend(energy, many, optimizer=0.1, steps=1, label_noise=0.5).W
        # one step moves an observed entry by η ν ξ: a variance with standard error √(2/runs)
        ratio = moved.var(0)[np.asarray(energy.observed)] / (0.1 * 0.5) ** 2
        assert (abs(ratio - 1) < 5 * np.sqrt(2 / 20_000)).all()

    def test_minibatches_that_fit_all_data_converge_and_label_noise_never_does(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        some = dl.descend(energy, factors, optimizer=0.03, steps=20_000, batch=3)
        assert some.status == dl.Status.converged
        assert some.energy < 1e-12
        noisy = dl.descend(energy, factors, optimizer=0.03, steps=3000, label_noise=0.01)
        assert noisy.status == dl.Status.steps


class TestRecords:
    def test_each_is_what_its_name_says(self):
        energy, factors = completion((3, 4)), dl.balanced_factors(
            with_singular_values(np.random.default_rng(6), [1.2, 0.7, 0.3], 3, 4), 3, key=2
        )  # fmt: skip
        names = ("loss", "energy", "gradient", "W", "factors", "singular_values")
        names = (*names, "sharpness", "imbalance", "ntk")
        found = dl.descend(
            energy, factors, optimizer=0.02, steps=100, weight_decay=0.1,
            records=(*names, {"first": lambda F: F[0][0, 0], "both": lambda F: F[1]}),
            record_at=[0, 40, 100],
        )  # fmt: skip
        assert set(found.records) == {*names, "first", "both"}
        start = {name: jax.tree.map(lambda x: x[0], x) for name, x in found.records.items()}
        assert all(map(np.array_equal, start["factors"], factors))
        W = np.asarray(dl.product(factors))
        assert np.allclose(start["W"], W)
        assert np.isclose(start["energy"], energy(W))
        squares = sum((np.asarray(F) ** 2).sum() for F in factors)
        assert np.isclose(start["loss"], energy(W) + 0.05 * squares)
        assert np.allclose(start["singular_values"], np.linalg.svd(W, compute_uv=False))
        assert start["imbalance"] < 1e-12
        assert np.allclose(
            start["ntk"], dl.asymptotics.tangent_kernel(energy, W, 3).as_matrix(), atol=1e-10
        )
        top = dl.asymptotics.hessian_spectrum(energy, factors, top=1)[0] + 0.1
        assert np.isclose(start["sharpness"], top, rtol=1e-6)
        end = {name: jax.tree.map(lambda x: x[-1], x) for name, x in found.records.items()}
        assert np.allclose(end["W"], found.W)
        assert np.isclose(end["gradient"], found.gradient)
        assert np.isclose(end["imbalance"], dl.imbalance(found.factors))
        assert end["first"] == found.factors[0][0, 0]
        assert np.array_equal(end["both"], found.factors[1])

    def test_sharpness_without_the_matrix(self):
        energy = completion((9, 8))
        factors = dl.normal_factors((8, 9, 9), 2.0, key=1)
        found = dl.descend(energy, factors, optimizer=0.02, steps=0, records=("sharpness",))
        top = dl.asymptotics.hessian_spectrum(energy, factors)[0]
        assert np.isclose(found.records["sharpness"][0], top, rtol=1e-6)

    def test_records_change_no_step(self):
        energy, factors = completion((3, 4)), dl.normal_factors(WIDTHS, 0.5, key=4)
        plain = dl.descend(energy, factors, optimizer=0.02, steps=300)
        seen = dl.descend(energy, factors, optimizer=0.02, steps=300, records="W", record_at=7)
        assert np.allclose(plain.W, seen.W, atol=1e-13)
        assert plain.steps == seen.steps
        assert seen.record_steps.tolist() == list(range(0, 301, 7))


class TestRefusals:
    energy = completion((3, 4))
    factors = dl.normal_factors(WIDTHS, 0.5, key=4)

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            ({"optimizer": -0.1}, "optimizer"),
            ({"optimizer": 0.0}, "optimizer"),
            ({"optimizer": float("nan")}, "optimizer"),
            ({"optimizer": True}, "optimizer"),
            ({"optimizer": "adam"}, "optimizer"),
            ({"optimizer": optax.adam}, "optimizer"),
            ({"optimizer": np.ones(3)}, "optimizer"),
            ({"optimizer": np.ones((1, 1))}, "optimizer"),
            ({"steps": -1}, "steps"),
            ({"steps": 1.5}, "steps"),
            ({"batch": 0}, "batch"),
            ({"batch": 1000}, "batch must be at most"),
            ({"label_noise": -1.0}, "label_noise"),
            ({"weight_decay": float("inf")}, "weight_decay"),
            ({"records": ("speed",)}, "records"),
            ({"records": ("loss",), "record_at": [5, 99]}, "record_at"),
            ({"records": ("loss",), "record_at": [0.5]}, "record_at"),
            ({"stop_energy": float("nan")}, "stop_energy"),
            ({"rtol": -1.0}, "rtol"),
            ({"key": -3}, "key"),
        ],
    )
    def test_options(self, options, word):
        with pytest.raises(dl.InputError, match=word):
            dl.descend(self.energy, self.factors, **{"optimizer": 0.1, "steps": 10, **options})

    @pytest.mark.parametrize(
        "start",
        [
            [],
            "factors",
            np.ones((2, 3, 4)),
            [np.ones((3, 4)), np.ones((3, 4))],
            [np.ones((2, 3, 4)), np.ones((3, 3, 3))],
            [np.ones((2, 3, 4)), np.ones((3, 3))],
            [np.full((3, 4), np.nan)],
        ],
    )
    def test_starts(self, start):
        with pytest.raises(dl.InputError):
            dl.descend(self.energy, start, optimizer=0.1, steps=10)

    def test_data_to_draw_from(self):
        with pytest.raises(dl.InputError, match="keep_samples"):
            dl.descend(
                dl.Regression(np.eye(4), np.ones((3, 4))), self.factors, optimizer=0.1, steps=1,
                batch=1,
            )  # fmt: skip
        with pytest.raises(dl.InputError, match="label_noise"):
            dl.descend(
                lambda W: jnp.sum(W**2), self.factors, optimizer=0.1, steps=1, label_noise=1.0
            )


@pytest.mark.parametrize("runs", [300, slow(10_000)])
def test_thousands_of_runs_in_one_program(runs):
    energy = dl.Completion([0, 1], [0, 1], [0.9, 0.9], (2, 2))
    starts = jax.vmap(lambda k: dl.normal_factors((2, 2, 2, 2), 1e-1, k))(
        jax.random.split(jax.random.key(1), runs)
    )
    found = dl.descend(energy, starts, optimizer=0.2, steps=5000)
    assert found.counts == {"converged": runs}
    assert np.all(found.energy < 1e-12)


@settings(max_examples=60)
@given(step=st.floats(0.02, 0.8), seed=st.integers(0, 10**6), scale=st.floats(0.01, 1.2))
def test_no_status_is_wrong(step, seed, scale):
    """Whatever the step and the start: 128 more steps in NumPy do what the status says."""
    M = np.array([[1.1, -0.4], [0.3, 0.8]])
    energy = dl.Completion.from_dense(M)
    start = [scale * np.random.default_rng([seed, p]).normal(size=(2, 2)) for p in range(3)]
    found = dl.descend(energy, start, optimizer=step, steps=4000)
    factors, path = [np.asarray(W) for W in found.factors], [np.asarray(found.W)]
    assert np.isclose(found.energy, 0.5 * np.sum((found.W - M) ** 2)) or found.energy > 1e12
    if found.status == dl.Status.diverged:
        assert not found.energy <= 1e15 * (np.sum(M**2) / 2)
        return
    for _ in range(128):
        slopes = oracle_slopes(energy, factors)
        factors = [W - step * G for W, G in zip(factors, slopes, strict=True)]
        path.append(factors[2] @ factors[1] @ factors[0])
    moved = np.array([np.abs(W - path[0]).max() for W in path])
    if found.status == dl.Status.converged:
        assert moved.max() < 1e-6
        assert found.gradient < 1e-6
    elif found.status == dl.Status.cycling:
        p = int(found.period)
        assert moved[p::p].max() < 1e-5 * moved.max()
        assert np.delete(moved, np.s_[::p]).min() > 1e-4 * moved.max()
    else:
        assert found.status == dl.Status.steps
        assert found.steps == 4000
        assert moved.max() > 1e-8 or found.gradient > 1e-8


def test_a_start_that_training_never_leaves_is_refused(rng):
    energy = dl.Completion.from_dense(rng.normal(size=(3, 3)))
    zero, one = np.zeros((3, 3)), rng.normal(size=(3, 3))
    with pytest.raises(dl.errors.CriticalPointError, match="of run 0"):
        dl.descend(energy, [zero, one, zero], optimizer=0.1, steps=10)
    runs = [np.stack([one, zero]), np.stack([one, zero])]
    with pytest.raises(dl.errors.CriticalPointError, match="of run 1"):
        dl.descend(energy, runs, optimizer=0.1, steps=10)
    found = dl.descend(energy, [zero, one], optimizer=0.02, steps=20_000)  # one may
    assert found.energy < 1e-6
