"""The exported checks: each passes on what is right and fails on what is deliberately wrong."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear import verify


def completion(rng, shape):
    X = np.where(rng.random(shape) < 0.7, rng.normal(size=shape), np.nan)
    X[0, 0] = 1.0
    return dl.Completion.from_dense(X)


# Taylor's remainder


def smooth(W):
    return jnp.sum(jnp.sin(W)) + jnp.sum(W**4)


def test_right_derivatives_pass(rng):
    W, Z = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    for energy in (
        smooth,
        completion(rng, (4, 3)),
        lambda W: jnp.linalg.norm(W, ord="nuc"),
        lambda W: 1e12 * smooth(W),
    ):
        for direction in (None, Z):
            check = verify.gradient_check(energy, W, direction)
            assert check, str(check)
            assert check.figures["slope"] == pytest.approx(2, abs=0.1)
            assert check.figures["window"][0] < 1e-4
            assert verify.hessian_check(energy, W, direction, key=jax.random.key(5))
    assert verify.hessian_check(smooth, W).figures["slope"] == pytest.approx(3, abs=0.1)
    assert (
        verify.hessian_check(completion(rng, (4, 3)), W).figures["slope"] == math.inf
    )  # quadratic: nothing is left
    assert verify.gradient_check(smooth, W.astype(np.float32))


def test_linear_constant_and_minimal_energies_pass(rng):
    W, Q = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    for energy in (lambda W: jnp.vdot(W, Q), lambda W: 3.0 + 0 * W[0, 0], lambda W: W[0, 0] ** 3):
        assert verify.gradient_check(energy, W)
        assert verify.hessian_check(energy, W)
    assert verify.gradient_check(lambda W: jnp.sum((W - W0) ** 2), W0 := W)
    assert verify.gradient_check(smooth, np.zeros((2, 2)))


@pytest.mark.parametrize("frequency", [1e2, 1e4, 1e6, 1e8, 1e10])
def test_energies_that_vary_fast_pass(rng, frequency):
    """sin(ωW) near W = O(1), and sin W near W = O(ω), as far as W itself is known."""
    W = rng.normal(size=(4, 3))
    for energy, at in (
        (lambda X: jnp.sum(jnp.sin(frequency * X)), W),
        (lambda X: jnp.sum(jnp.sin(X)), frequency * W),
    ):
        check = verify.gradient_check(energy, at)
        assert check, str(check)
        assert check.figures["slope"] == pytest.approx(2, abs=0.1)
        assert check.figures["resolution"] < 1e-13 * frequency + 1e-9
        assert verify.hessian_check(energy, at)


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-3, 1e3, 1e8, 1e16, 1e50])
def test_points_of_any_size_pass(rng, size):
    W = size * rng.normal(size=(4, 3))
    for energy in (completion(rng, (4, 3)), lambda X: jnp.sum((X - 1) ** 4)):
        for check in (verify.gradient_check(energy, W), verify.hessian_check(energy, W)):
            assert check, str(check)


def test_what_cannot_be_seen_is_not_passed(rng):
    """An energy that varies faster than W is known, or is rounded beyond recognition."""
    W = rng.normal(size=(4, 3))
    for energy, at in (
        (lambda X: jnp.sum(jnp.sin(X)), 1e16 * W),
        (lambda X: jnp.sum(jnp.sin(1e13 * X)), W),
        (lambda X: 1e17 + jnp.sum(X**2), W),
    ):
        check = verify.gradient_check(energy, at)
        assert not check
        assert "nothing was checked" in str(check)


def scaled(error):
    """`smooth` with a gradient that is wrong by a factor 1 + error."""

    @jax.custom_jvp
    def energy(W):
        return smooth(W)

    energy.defjvp(lambda p, t: (smooth(*p), (1 + error) * jax.jvp(smooth, p, t)[1]))
    return energy


@pytest.mark.parametrize("error", [1e-7, 1e-8, 1e-9, 1e-10, 1e-11])
def test_small_errors_of_a_gradient_are_seen_down_to_the_resolution(rng, error):
    for _ in range(3):
        W = rng.normal(size=(4, 3))
        check = verify.gradient_check(scaled(error), W)
        # what shows along Z is its part of the gradient
        assert check.figures["resolution"] < 1e-11
        if error > 30 * check.figures["resolution"]:
            assert not check
        right = verify.gradient_check(smooth, W)
        assert right
        assert right.figures["difference"] < right.figures["resolution"]


def test_a_small_kink_is_seen(rng):
    W = rng.normal(size=(3, 3))
    W[1, 1] = 0
    for height in (1.0, 1e-3, 1e-5):
        assert not verify.gradient_check(
            lambda X, c=height: jnp.sum(X**2) + c * jnp.sum(jnp.abs(X)), W
        )


def test_an_energy_in_fewer_digits_than_it_says_is_no_wrong_gradient(rng):
    W = rng.normal(size=(3, 3))
    rounded = lambda X: jnp.sum(jnp.sin(X.astype(jnp.float32))).astype(jnp.float64)  # noqa: E731
    assert verify.gradient_check(rounded, W).figures["slope"] != pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("error", [1.0, 1e-3, 1e-5])
def test_a_wrong_gradient_fails_however_little_it_is_wrong(rng, error):
    @jax.custom_vjp
    def energy(W):
        return smooth(W)

    energy.defvjp(lambda W: (smooth(W), W), lambda W, g: ((1 + error) * g * jax.grad(smooth)(W),))
    check = verify.gradient_check(energy, rng.normal(size=(4, 3)))
    assert not check
    assert check.figures["slope"] == pytest.approx(1, abs=0.05)
    assert str(check).startswith("FAILED  gradient: ")
    linear = lambda W: jnp.sum(W - error * 0.5 * jax.lax.stop_gradient(W))  # noqa: E731
    assert not verify.gradient_check(linear, rng.normal(size=(4, 3)))


def test_a_kink_and_nan_fail(rng):
    W = rng.normal(size=(3, 3))
    W[1, 1] = 0
    assert not verify.gradient_check(lambda W: jnp.sum(jnp.abs(W)), W)
    assert not verify.gradient_check(lambda W: jnp.sum(jnp.sqrt(W)), W)
    with pytest.raises(dl.InputError, match=r"^Z must be a direction"):
        verify.gradient_check(smooth, W, np.zeros((3, 3)))


def test_a_wrong_hessian_fails_where_the_gradient_is_right(rng):
    @jax.custom_jvp
    def energy(W):
        return jnp.sum(W**4)

    # the derivative of the gradient sees 4 W³ as 4 W·(W²), the square held fixed
    energy.defjvp(
        lambda p, t: (energy(*p), jnp.sum(4 * p[0] * jax.lax.stop_gradient(p[0] ** 2) * t[0]))
    )
    W = rng.normal(size=(3, 3))
    assert verify.gradient_check(energy, W)
    check = verify.hessian_check(energy, W)
    assert not check
    assert check.figures["slope"] == pytest.approx(2, abs=0.05)


# Kernel


@pytest.mark.parametrize("depth", [1, 2, 2.5, 7, math.inf])
def test_the_kernel_passes_and_others_do_not(depth):
    assert verify.kernel_check(lambda a, b: dl.kernel(a, b, depth), depth)
    other = verify.kernel_check(lambda a, b: dl.kernel(a, b, depth), 3)
    assert not other
    assert other.figures["depth"] > 0.1
    assert verify.kernel_check(lambda a, b: dl.kernel(a, b, depth))  # a kernel, of whichever depth


def test_wrong_kernels_fail_and_say_why():
    wrong = {
        "asymmetry": lambda a, b: a + 2 * b,
        "tie": lambda a, b: jnp.where(
            a == b, a**2, (a**2 - b**2) / (2 * jnp.log(a / b))
        ),  # a quotient, which cancels
        "tie ": lambda a, b: a * b * jnp.where(a == b, 1.0, 2.0),
        "must be positive": lambda a, b: a * b - 1,
    }
    for reason, fn in wrong.items():
        check = verify.kernel_check(fn)
        assert not check
        assert reason.strip() in check.summary
    assert not verify.kernel_check(
        lambda a, b: (a**2 - b**2) / (2 * jnp.log(a / b))
    )  # NaN at a tie


# Submersion and volume


QUICK = [((2, 2), 2), ((3, 3), 3), ((2, 3), 4), ((4, 4), 6)]
GRID = [(shape, depth) for shape in ((2, 2), (3, 3), (4, 4), (2, 3)) for depth in (2, 3, 4, 5, 6)]
REST = [slow(*case) for case in GRID if case not in QUICK]


@pytest.mark.parametrize(("shape", "depth"), [*QUICK, *REST])
def test_horizontal_lifts_at_generic_factors(rng, shape, depth):
    W, Z = rng.normal(size=shape), rng.normal(size=shape)
    check = verify.submersion(W, depth, Z, key=jax.random.key(depth), tol=1e-11)
    assert check, str(check)
    assert set(check.figures) == {"factors", "product", "horizontal", "balanced", "length", "tol"}


def test_a_wrong_metric_and_unbalanced_factors_fail(rng):
    W = rng.normal(size=(3, 3))
    bare = verify.submersion(W, 3, metric=lambda W, Z: dl.inner(W, Z, Z, 3) / 3)  # without the 1/N
    assert not bare
    assert bare.figures["length"] == pytest.approx(2)
    assert max(bare.figures[name] for name in ("product", "horizontal", "balanced")) < 1e-11
    wrong_depth = verify.submersion(W, 3, metric=lambda W, Z: dl.inner(W, Z, Z, 3.01))
    assert not wrong_depth
    F = dl.balanced_factors(W, 3, jax.random.key(1))
    unbalanced = verify.submersion(W, 3, factors=(2 * F[0], F[1], F[2] / 2))
    assert unbalanced.figures["factors"] < 1e-12
    assert not unbalanced
    assert unbalanced.figures["product"] > 0.1
    other = verify.submersion(W, 3, factors=dl.balanced_factors(W + 0.1, 3))
    assert other.figures["factors"] > 0.01
    assert not other
    with pytest.raises(dl.DepthError):
        verify.submersion(W, 2.5)
    with pytest.raises(dl.InputError, match=r"^factors must"):
        verify.submersion(W, 2, factors=F)


@pytest.mark.parametrize("depth", [1, 2, 2.5, 4, math.inf])
def test_the_volume_is_that_of_the_metric_and_of_the_factors(rng, depth):
    for shape in [(3, 3)] if depth == math.inf else [(3, 3), (2, 4)]:
        check = verify.volume(rng.normal(size=shape), depth, tol=1e-10)
        assert check, str(check)
        assert ("factors" in check.figures) == (depth in (1, 2, 4))


@pytest.mark.parametrize(
    "density",
    [
        lambda W: dl.log_volume(W, 3, coordinates="svd"),
        lambda W: dl.log_volume(W, 3) + 1e-6,
        lambda W: -dl.log_volume(W, 3),
    ],
)
def test_a_wrong_volume_fails(rng, density):
    assert not verify.volume(rng.normal(size=(3, 3)), 3, density=density)


# Training


@pytest.mark.slow
def test_upstairs_is_downstairs_from_balanced_factors_alone(rng):
    energy, W0 = completion(rng, (3, 4)), 0.5 * rng.normal(size=(3, 4))
    check = verify.upstairs_downstairs(energy, W0, 3, 2.0, key=jax.random.key(1), tol=1e-7)
    assert check, str(check)
    assert check.figures["differences"].shape == (20,)
    assert check.figures["imbalance"] < 1e-7
    F = dl.balanced_factors(W0, 3, jax.random.key(1))
    with pytest.warns(dl.ImbalanceWarning):
        wrong = verify.upstairs_downstairs(
            energy, W0, 3, 2.0, factors=(1.1 * F[0], F[1], F[2] / 1.1)
        )
    assert not wrong
    assert wrong.figures["difference"] > 1e-4
    with pytest.raises(dl.DepthError):
        verify.upstairs_downstairs(energy, W0, 2.5, 2.0)


REST_OF_DEPTHS = [slow(depth) for depth in (1, 2, 3, 2.5)]


@pytest.mark.parametrize("depth", [slow(math.inf), *REST_OF_DEPTHS])
def test_flows_conserve_what_they_must(rng, depth):
    energy = completion(rng, (3, 3))
    check = verify.conservation(energy, rng.normal(size=(3, 3)), depth, 2.0)
    assert check, str(check)
    expected = (
        {"energy"}
        | ({"sign"} if depth >= 2 else set())
        | ({"imbalance"} if depth in (1, 2, 3) else set())
    )
    assert set(check.figures) == expected | {"tol"}
    low = verify.conservation(energy, rng.normal(size=(3, 1)) @ rng.normal(size=(1, 3)), depth, 2.0)
    assert low, str(low)
    assert ("rank" in low.figures) == (depth > 1)


def test_symmetry_is_checked_where_it_applies(rng):
    B, W0 = rng.normal(size=(2, 3, 3))
    W0 = W0 + W0.T
    symmetric = verify.conservation(dl.Completion.from_dense(B + B.T), W0, 3, 1.0)
    assert symmetric
    assert symmetric.figures["asymmetry"] < 1e-6
    assert "asymmetry" not in verify.conservation(dl.Completion.from_dense(B), W0, 3, 1.0).figures


def test_flows_that_are_none_fail(rng):
    energy, W0 = completion(rng, (3, 3)), rng.normal(size=(3, 3))
    ts = np.linspace(0, 2, 161)
    flow = dl.gradient_flow(energy, W0, 2, t1=2.0, saveat=ts, rtol=1e-8)
    assert verify.conservation(energy, W0, 2, 2.0, flow=flow)
    assert (
        verify.conservation(energy, W0, 3, 2.0, flow=flow).figures["energy"] > 0.01
    )  # another depth
    # Euclidean steps raise the rank and flip the sign of the determinant
    reflected = np.array([W0 - 0.5 * t * 2 * np.outer(u := W0[:, 0], u) @ W0 / (u @ u) for t in ts])
    flipped = verify.conservation(energy, W0, 2, 2.0, flow=SimpleNamespace(ts=ts, W=reflected))
    assert flipped.figures["sign"] == 1
    assert not flipped
    low = np.outer(W0[0], W0[1])
    rising = SimpleNamespace(ts=ts, W=low + 0.1 * ts[:, None, None] * W0)
    assert verify.conservation(energy, low, 2, 2.0, flow=rising).figures["rank"] > 0.01
    skewed = SimpleNamespace(ts=ts, W=np.eye(3) + 0.1 * ts[:, None, None] * W0)
    lopsided = verify.conservation(lambda W: jnp.sum(W**2), np.eye(3), 2, 2.0, flow=skewed)
    assert lopsided.figures["asymmetry"] > 0.01
    with pytest.raises(dl.InputError, match=r"^flow must hold"):
        verify.conservation(energy, W0, 2, 2.0, flow=SimpleNamespace(ts=ts[:3], W=reflected[:3]))


@pytest.mark.slow
def test_all_checks_run_what_applies(rng):
    energy, W0 = completion(rng, (3, 3)), rng.normal(size=(3, 3))
    checks = verify.all_checks(energy, W0, 3)
    names = [
        "gradient",
        "hessian",
        "conservation",
        "upstairs and downstairs",
        "submersion",
        "volume",
    ]
    assert [check.name for check in checks] == names
    assert checks.passed
    assert str(checks).endswith("6 of 6 checks passed.")
    assert checks["volume"].figures["metric"] < 1e-9
    assert len(verify.all_checks(energy, W0, math.inf)) == 4
    assert len(verify.all_checks(energy, np.outer(W0[0], W0[1]), 2.5)) == 3
    broken = verify.all_checks(
        lambda W: energy(W) + jnp.abs(W[0, 0] - W0[0, 0]), W0, math.inf, t1=0.1
    )
    assert not broken
    assert not broken["gradient"]


@pytest.mark.parametrize("depth", [1.5, 2, 3, np.inf])
def test_volume_is_flatness_times_induced_volume(depth):
    rng = np.random.default_rng(3)
    W = rng.normal(size=(3, 3))
    mask = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]], bool)
    energy = dl.Completion.from_dense(np.where(mask, W, np.nan))
    check = dl.verify.flatness(W, depth, energy)
    assert check, str(check)
    assert ("hessian" in check.figures) == (depth in (2, 3))
    heavy = dl.Completion.from_dense(np.where(mask, W, np.nan), np.where(mask, 2.0, 0.0))
    with pytest.raises(dl.InputError, match=r"^energy must be .* weights of 1"):
        dl.verify.flatness(W, depth, heavy)
    skew = dl.Sensing(np.ones((1, 3, 3)), np.array([W.sum()]))
    with pytest.raises(dl.InputError, match=r"^energy must have orthonormal measurements"):
        dl.verify.flatness(W, depth, skew)
