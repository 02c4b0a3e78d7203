"""Arguments at the door: integers, random keys and precisions, the same in every function."""

import math
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.checks import check_integer, check_key, one_precision
from deeplinear.energies import check_energy

W = np.array([[2.0, 1.0], [0.5, 1.0]])
SINGLE = W.astype(np.float32)
Z = np.array([[0.3, 1.0], [-0.2, 0.4]])
ENERGY_VALUES = np.array([[1.0, 2.0], [3.0, 4.0]])
ENERGY = dl.Completion.from_dense(ENERGY_VALUES)


@pytest.mark.parametrize("value", [True, np.True_, 1.0, "1", None, 0, -1, math.nan])
def test_integers_are_integers(value):
    with pytest.raises(dl.InputError, match=r"^n must be an integer ≥ 1, got"):
        check_integer(value, "n")


@pytest.mark.parametrize(
    "call",
    [
        lambda x: dl.gradient_flow(ENERGY, W, 2, t1=1.0, max_steps=x),
        lambda x: dl.brownian(W, 2, t1=1.0, dt=0.1, key=0, chains=x),
        lambda x: dl.brownian(W, 2, t1=1.0, dt=0.1, key=0, max_steps=x),
        lambda x: dl.balanced_factors(W, 2, width=x),
        lambda x: dl.balanced_factors(W, x),
        lambda x: dl.gradient_flow(ENERGY, W, x, t1=1.0),
        lambda x: dl.ball_volume(W, 2, 0.1, samples=x),
        lambda x: dl.log_stratum_volume(W, 2, rank=x),
        lambda x: dl.geodesic.exp(W, Z, 2, max_steps=x),
        lambda x: dl.geodesic.log(W, W, 2, max_steps=x),
        lambda x: dl.Metric(2).pymanopt(x),
        lambda x: dl.asymptotics.predicted_rate(ENERGY, W, 2, dense_limit=x),
        lambda x: dl.verify.submersion(W, x),
        lambda x: dl.verify.upstairs_downstairs(ENERGY, W, 2, 1.0, saves=x),
    ],
)
def test_true_is_no_number_of_anything(call):
    with pytest.raises(dl.InputError):
        call(True)


KEYED = {
    "balanced_factors": lambda key: dl.balanced_factors(W, 3, key)[0],
    "brownian": lambda key: dl.brownian(W, 2, t1=0.1, dt=0.1, key=key).W,
    "random_tangent": lambda key: dl.random_tangent(key, W, 2),
    "ball_volume": lambda key: dl.ball_volume(W, 2, 0.1, samples=50, key=key).log_volume,
    "gradient_check": lambda key: dl.verify.gradient_check(ENERGY, W, key=key).figures["slope"],
    "submersion": lambda key: dl.verify.submersion(W, 2, key=key).figures["length"],
}


@pytest.mark.parametrize("name", KEYED)
def test_an_integer_is_the_key_of_that_seed(name):
    call = KEYED[name]
    expected = call(jax.random.key(7))
    for key in (7, np.int64(7), jax.random.PRNGKey(7)):
        np.testing.assert_array_equal(call(key), expected)
    if name in ("balanced_factors", "random_tangent"):  # checked by their annotations in tests
        return
    for key in (True, 1.5, "seed", -1, 2**64, jax.random.split(jax.random.key(0)), np.zeros(2)):
        with pytest.raises(dl.InputError, match=r"^key must be one JAX random key"):
            call(key)


def test_keys_are_checked_by_one_function():
    assert check_key(3) == jax.random.key(3)
    with pytest.raises(dl.InputError, match=r"^seed must be one JAX random key"):
        check_key(None, "seed")


def test_arrays_of_one_precision():
    tree = (jnp.ones(2, jnp.float32), {"a": jnp.ones(3)})
    assert {x.dtype for x in jax.tree.leaves(one_precision(tree))} == {np.dtype(float)}
    assert one_precision(tree[0]) is tree[0]


# A float32 point beside an energy, or a direction, of 64 bits


PROMOTED = {
    "gradient_flow": lambda: dl.gradient_flow(ENERGY, SINGLE, 3, stop_energy=1e-3).W,
    "factor_flow": lambda: (
        dl.factor_flow(ENERGY, dl.balanced_factors(SINGLE, 2), stop_energy=1e-3).W
    ),
    "langevin": lambda: dl.langevin(ENERGY, SINGLE, 2, 1.0, t1=0.1, dt=0.1, key=0).W,
    "factor_langevin": lambda: (
        dl.factor_langevin(ENERGY, dl.balanced_factors(SINGLE, 2), 1.0, t1=0.1, dt=0.1, key=0).W
    ),
    "gradient": lambda: dl.gradient(ENERGY, SINGLE, 2),
    "inner": lambda: dl.inner(SINGLE, Z, Z, 2),
    "inner of a LogSVD": lambda: dl.inner(dl.LogSVD.of(jnp.asarray(SINGLE)), Z, Z, 2),
    "exp": lambda: dl.geodesic.exp(SINGLE, Z, 2).W,
    "christoffel": lambda: dl.curvature.christoffel(SINGLE, Z, Z, 2),
    "free_energy": lambda: dl.free_energy(ENERGY, SINGLE, 2, 1.0),
    "predicted_rate": lambda: dl.asymptotics.predicted_rate(ENERGY, SINGLE, 2).value,
    "tangent_kernel": lambda: dl.asymptotics.tangent_kernel(ENERGY, SINGLE, 2).as_matrix(),
}


@pytest.mark.parametrize("name", PROMOTED)
def test_mixed_precisions_are_promoted(name):
    assert PROMOTED[name]().dtype == np.float64


# The same with nothing but float32 beside the point, in a process that has float64

Z32 = Z.astype(np.float32)
KEPT = {
    "gradient": lambda W, E, Z: dl.gradient(E, W, 3),
    "inner": lambda W, E, Z: dl.inner(W, Z, Z, 3),
    "log_volume": lambda W, E, Z: dl.log_volume(W, 3),
    "entropy": lambda W, E, Z: dl.entropy(W, 3),
    "free_energy": lambda W, E, Z: dl.free_energy(E, W, 3, 1.0),
    "exp": lambda W, E, Z: dl.geodesic.exp(W, Z, 3).W,
    "log": lambda W, E, Z: dl.geodesic.log(W, W + 0.1 * Z, 3).Z,
    "path": lambda W, E, Z: dl.geodesic.path(W, W + 0.1 * Z, 3, 0.5).W,
    "distance": lambda W, E, Z: dl.geodesic.distance(W, W + 0.1 * Z, 3),
    "christoffel": lambda W, E, Z: dl.curvature.christoffel(W, Z, Z, 3),
    "ricci": lambda W, E, Z: dl.curvature.ricci(W, Z, Z, 3),
    "scalar": lambda W, E, Z: dl.curvature.scalar(W, 3),
    "ensemble": lambda W, E, Z: dl.ensemble(E, W[None], 3).W,
    "tangent_kernel": lambda W, E, Z: dl.asymptotics.tangent_kernel(E, W, 3).as_matrix(),
    "predicted_rate": lambda W, E, Z: dl.asymptotics.predicted_rate(E, W, 3, tol=1e-4).value,
}


SLOW = ("log", "path", "ricci", "scalar", "predicted_rate", "ensemble", "distance")


@pytest.mark.parametrize("name", [slow(name) if name in SLOW else name for name in KEPT])
def test_float32_alone_keeps_its_precision_and_its_digits(name):
    found = KEPT[name](SINGLE, dl.Completion.from_dense(ENERGY_VALUES.astype(np.float32)), Z32)
    assert found.dtype == np.float32
    exact = np.asarray(KEPT[name](W, ENERGY, Z))
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3 * np.abs(exact).max())


def test_checks_of_a_single_start_beside_a_double_energy():
    assert dl.verify.gradient_check(ENERGY, SINGLE).passed
    assert dl.verify.hessian_check(ENERGY, SINGLE).passed
    assert dl.verify.submersion(SINGLE, 2, Z).passed


NOT_ENERGIES = {
    "complex": (lambda W: jnp.sum(W * 1j), r"^energy must return one real number"),
    "vector": (lambda W: W[0], r"^energy must return one real number, got shape"),
    "integer": (lambda W: jnp.sum(W > 0), r"^energy must return one real number"),
    "numpy": (lambda W: np.sum(np.asarray(W) ** 2), r"^energy must be written in JAX operations"),
    "branch": (lambda W: W[0, 0] if W[0, 0] > 0 else 0.0, r"^energy must be written in JAX"),
    "coarse": (lambda W: jnp.sum(W.astype(jnp.float32)), r"^energy must compute in the precision"),
    "string": ("no", r"^energy must be a function of W"),
}
USERS = {
    "gradient_flow": lambda energy: dl.gradient_flow(energy, W, 2, t1=1.0),
    "factor_flow": lambda energy: dl.factor_flow(energy, dl.balanced_factors(W, 2), t1=1.0),
    "langevin": lambda energy: dl.langevin(energy, W, 2, 1.0, t1=0.1, dt=0.1, key=0),
    "factor_langevin": lambda energy: dl.factor_langevin(
        energy, dl.balanced_factors(W, 2), 1.0, t1=0.1, dt=0.1, key=0
    ),
    "gradient": lambda energy: dl.gradient(energy, W, 2),
    "free_energy": lambda energy: dl.free_energy(energy, W, 2, 1.0),
    "gradient_check": lambda energy: dl.verify.gradient_check(energy, W),
    "hessian_check": lambda energy: dl.verify.hessian_check(energy, W),
    "conservation": lambda energy: dl.verify.conservation(energy, W, 2, 1.0),
    "upstairs_downstairs": lambda energy: dl.verify.upstairs_downstairs(energy, W, 2, 1.0),
    "all_checks": lambda energy: dl.verify.all_checks(energy, W, 2),
    "predicted_rate": lambda energy: dl.asymptotics.predicted_rate(energy, W, 2),
}


@pytest.mark.parametrize("kind", NOT_ENERGIES)
@pytest.mark.parametrize("user", USERS)
def test_what_is_no_energy_is_refused_in_one_sentence(kind, user):
    energy, message = NOT_ENERGIES[kind]
    if kind == "string" and user in ("gradient", "free_energy"):  # by their annotations in tests
        pytest.skip("checked by its annotation here")
    if kind == "string" and user == "predicted_rate":
        message = r"^energy must be a function of W or an m×n mask"
    with pytest.raises(dl.InputError, match=message):
        USERS[user](energy)


def test_an_energy_may_be_a_constant_or_one_entry():
    for energy in (lambda W: 0.0, lambda W: W[:1, :1]):
        assert check_energy(energy, (2, 2), np.float64) == np.float64
        assert dl.gradient_flow(energy, W, 2, t1=1.0).converged


def test_rounding_to_32_bits_is_told_once():
    """In a process of its own, whose JAX is as a newcomer has it."""
    code = (
        "import warnings, numpy as np, deeplinear as dl\n"
        "W = np.array([[0.3, -0.5], [0.9, 0.2]])\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    dl.log_volume(W.astype(np.float32), 3)\n"
        "    assert not told\n"
        "    dl.log_volume(W, 3), dl.entropy(W, 3)\n"
        "[warning] = told\n"
        "assert warning.category is dl.PrecisionWarning\n"
        "assert 'jax_enable_x64' in str(warning.message)\n"
    )
    plain = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    subprocess.run([sys.executable, "-c", code], check=True, env=plain)
