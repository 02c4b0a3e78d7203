"""Real numbers at the door: what holds none is refused, in one sentence, by every function."""

import datetime
import decimal
import fractions
import math

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pandas as pd
import pytest

import deeplinear as dl
from deeplinear.reals import as_reals, one_real

W = np.array([[2.0, 1.0], [0.5, 1.0]])
V = np.array([[1.5, 0.7], [0.1, 1.3]])
ENERGY = dl.Completion.from_dense(V)
HIDING = np.ma.array(W, mask=[[False, True], [False, False]])


@pytest.fixture(autouse=True)
def _as_users_call(monkeypatch):
    """Without the annotations, which tests check before a function can: users have none of that."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


NO_NUMBERS = [
    None,
    "a",
    "3",
    b"3",
    1j,
    {},
    object,
    pd.NA,
    pd.NaT,
    np.datetime64("2020-01-01"),
    datetime.timedelta(1),
    np.ma.masked,
    [[1, 2], [3]],
    [1.0, None],
    [1.0, "a"],
    10**400,
]


@pytest.mark.parametrize("x", NO_NUMBERS, ids=repr)
def test_what_holds_no_real_numbers(x):
    with pytest.raises(dl.InputError, match=r"^x must "):
        as_reals(x, "x")
    assert math.isnan(one_real(x))


@pytest.mark.parametrize(
    "x",
    [
        W,
        W.astype(">f8"),
        W.astype(np.longdouble),
        np.asmatrix(W),
        np.ma.array(W),
        pd.DataFrame(W, columns=["a", "a"]),
        W.tolist(),
        [[fractions.Fraction(2), decimal.Decimal(1)], [0.5, 1]],
        jnp.asarray(W),
        W[::-1, ::-1][::-1, ::-1],
    ],
    ids=lambda x: type(x).__name__,
)
def test_one_matrix_in_many_forms(x):
    found = as_reals(x, "x")
    assert found.dtype == np.float64
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, W)
    np.testing.assert_array_equal(dl.norm(x, V, 3), dl.norm(W, V, 3))


def test_booleans_where_they_mean_nothing():
    assert as_reals([True], "x").tolist() == [True]
    for x in (True, np.True_):
        with pytest.raises(dl.InputError, match="real numbers"):
            as_reals(x, "x", booleans=False)
        assert math.isnan(one_real(x))


# One number, or numbers of one shape, in every function that takes them


def given(x):
    """Something wrong also where None means that the argument is left out."""
    return "a" if x is None else x


TIMES = np.linspace(1.0, 50.0, 60)
CALLS = {
    "kernel a": lambda x: dl.kernel(x, 1.0, 3),
    "kernel depth": lambda x: dl.kernel(2.0, 1.0, x),
    "log_volume depth": lambda x: dl.log_volume(W, x),
    "root depth": lambda x: dl.root(W, x),
    "Operator rank_rtol": lambda x: dl.Operator(W, 3, rank_rtol=given(x)),
    "log_partition_function beta": lambda x: dl.log_partition_function(3, (2, 2), x, 1.0),
    "log_partition_function weight_decay": lambda x: dl.log_partition_function(3, (2, 2), 1.0, x),
    "log_partition_function shape": lambda x: dl.log_partition_function(3, x, 1.0, 1.0),
    "free_energy beta": lambda x: dl.free_energy(ENERGY, W, 3, x),
    "normal_start scale": lambda x: dl.normal_start((2, 2), x),
    "normal_start shape": lambda x: dl.normal_start(x, 1.0),
    "normal_factors scale": lambda x: dl.normal_factors((2, 2), x, 0),
    "product factors": lambda x: dl.product(x),
    "Completion rows": lambda x: dl.Completion(x, [0], [1.0], (2, 2)),
    "Completion values": lambda x: dl.Completion([0], [0], x, (2, 2)),
    "Completion shape": lambda x: dl.Completion([0], [0], [1.0], x),
    "Completion weights": lambda x: dl.Completion([0], [0], [1.0], (2, 2), given(x)),
    "Sensing A": lambda x: dl.Sensing(x, [1.0]),
    "Sensing y": lambda x: dl.Sensing(W[None], x),
    "Sensing weights": lambda x: dl.Sensing(W[None], [1.0], given(x)),
    "Regression X": lambda x: dl.Regression(x),
    "gradient_flow weight_decay": lambda x: dl.gradient_flow(ENERGY, W, 3, weight_decay=x),
    "gradient_flow stop_energy": lambda x: dl.gradient_flow(ENERGY, W, 3, stop_energy=given(x)),
    "brownian dt": lambda x: dl.brownian(W, 3, t1=1.0, dt=x, key=0),
    "brownian t1": lambda x: dl.brownian(W, 3, t1=x, dt=0.1, key=0),
    "langevin beta": lambda x: dl.langevin(ENERGY, W, 3, x, t1=1.0, dt=0.1, key=0),
    "ensemble start": lambda x: dl.ensemble(ENERGY, x, 3),
    "ensemble times": lambda x: dl.ensemble(ENERGY, W[None], 3, times=given(x)),
    "geodesic.exp t": lambda x: dl.geodesic.exp(W, V, 3, x),
    "geodesic.exp rtol": lambda x: dl.geodesic.exp(W, V, 3, rtol=given(x)),
    "geodesic.aligned_path t": lambda x: dl.geodesic.aligned_path(W, 2 * W, 2, x),
    "geodesic.spd_path t": lambda x: dl.geodesic.spd_path(W @ W.T, V @ V.T, x),
    "geodesic.cut_time t1": lambda x: dl.geodesic.cut_time(W, V, 2, x),
    "geodesic.conjugate_time t1": lambda x: dl.geodesic.conjugate_time(W, V, 2, x),
    "exact.aligned t": lambda x: dl.exact.aligned(0.1, 1.0, 3, x),
    "exact.aligned depth": lambda x: dl.exact.aligned(0.1, 1.0, x, 1.0),
    "exact.mode_diffusion sigma": lambda x: dl.exact.mode_diffusion(x, 1.0, 3, 0.1),
    "exact.mode_diffusion depth": lambda x: dl.exact.mode_diffusion(0.5, 1.0, x, 0.1),
    "exact.mode_diffusion label_noise": lambda x: dl.exact.mode_diffusion(
        0.5, 1.0, 3, 0.1, label_noise=x
    ),
    "exact.label_noise_density": lambda x: dl.exact.label_noise_density(x, 1.0, 3, 0.1, 1.0),
    "exact.dyson_density x": lambda x: dl.exact.dyson_density(x, 2, 5, 1.0),
    "exact.dyson_edge depth": lambda x: dl.exact.dyson_edge(x, 5, 1.0),
    "exact.two_layer t": lambda x: dl.exact.two_layer(W, V, V, x),
    "exact.two_layer W1": lambda x: dl.exact.two_layer(x, V, V, 1.0),
    "learning_staircase": lambda x: dl.asymptotics.learning_staircase(x, (2, 2, 2)),
    "measured_rate ts": lambda x: dl.asymptotics.measured_rate(x, TIMES),
    "measured_rate limit": lambda x: dl.asymptotics.measured_rate(TIMES, 1 / TIMES, limit=x),
    "fit_decay ts": lambda x: dl.asymptotics.fit_decay(x, 1 / TIMES),
    "pool estimates": lambda x: dl.pool(x, [1.0, 1.0]),
    "pool variances": lambda x: dl.pool([1.0, 2.0], x),
}


@pytest.mark.parametrize("x", NO_NUMBERS, ids=repr)
def test_every_function_says_so(x):
    wrong = {}
    for name, call in CALLS.items():
        try:
            call(x)
            wrong[name] = "no error"
        except dl.InputError as error:
            if not str(error).endswith("."):
                wrong[name] = str(error)
        except Exception as error:
            wrong[name] = repr(error)
    assert wrong == {}


HIDDEN = {
    "norm": lambda: dl.norm(HIDING, V, 3),
    "norm of": lambda: dl.norm(V, HIDING, 3),
    "log_volume": lambda: dl.log_volume(HIDING, 3),
    "product": lambda: dl.product([W, HIDING]),
    "gradient_flow": lambda: dl.gradient_flow(ENERGY, HIDING, 3, t1=0.1),
    "ensemble": lambda: dl.ensemble(ENERGY, np.ma.array(HIDING)[None], 3),
    "Completion": lambda: dl.Completion([0, 1], [0, 1], HIDING[0], (2, 2)),
    "weights": lambda: dl.Completion.from_dense(W, weights=HIDING),
    "Regression": lambda: dl.Regression(HIDING),
    "Sensing": lambda: dl.Sensing(HIDING[None], [1.0]),
    "kernel": lambda: dl.kernel(HIDING[0], 1.0, 3),
    "aligned": lambda: dl.exact.aligned(HIDING[0], 1.0, 3, 1.0),
    "pool": lambda: dl.pool(HIDING[0], [1.0, 1.0]),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_entries_that_a_mask_hides_are_no_data(name):
    """They were taken for the data."""
    with pytest.raises(dl.InputError, match="mask hides some: fill them first"):
        HIDDEN[name]()


def test_small_integers_are_numbers_and_half_precision_is_not():
    image = np.array([[200, 3], [1, 90]])
    for kind in (np.uint8, np.int16, np.uint16, np.int64):
        np.testing.assert_array_equal(dl.norm(image.astype(kind), V, 3), dl.norm(image, V, 3))
    for half in (W.astype(np.float16), jnp.asarray(W, jnp.bfloat16)):
        with pytest.raises(dl.InputError, match="32 or 64 bits"):
            dl.norm(half, V, 3)


def test_a_list_of_traced_numbers_is_a_matrix():
    found = jax.jit(lambda a: dl.norm([[a, 1.0], [0.5, 1.0]], V, 3))(2.0)
    np.testing.assert_allclose(found, dl.norm(W, V, 3), rtol=1e-14)


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (lambda: 1.0, "energy must be a function of W alone"),
        (dl.Completion, "energy must be a function of W alone"),
        (lambda W: None, "energy must return one real number, got NoneType"),
        (lambda W: {}, "energy must return one real number, got dict"),
        (lambda W: "a", "energy must return one real number, got str"),
    ],
)
def test_energies_that_are_none(energy, message):
    with pytest.raises(dl.InputError, match=message):
        dl.gradient(energy, W, 3)


def test_what_an_energy_raises_is_its_own():
    with pytest.raises(ZeroDivisionError):
        dl.gradient(lambda W: 1 / 0, W, 3)


def test_measurements_without_weight_are_none():
    with pytest.raises(dl.InputError, match="at least one > 0"):
        dl.Sensing(W[None], [1.0], [0.0])


def test_a_law_beyond_floats():
    for beta, decay in ((5e-324, 0.3), (1e308, 1e308)):
        with pytest.raises(dl.InputError, match="range of floats"):
            dl.log_partition_function(3, (2, 2), beta, decay)
    # 2π/rate is ∞ where rate < 3.5e−308; its logarithm is not
    found = dl.log_partition_function(1, (1, 1), 1.0, 2.0**-1060)
    assert math.isclose(found, 0.5 * (math.log(2 * math.pi) + 1060 * math.log(2)), rel_tol=1e-14)


TABLE = np.array([[1.0, 2.0], [np.nan, 4.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": fractions.Fraction(5, 2)}, "depth must be"),
        ({"tol": fractions.Fraction(1, 100)}, "tol must be plain numbers: convert to float"),
        ({"min_value": np.array(None)}, "min_value must"),
        ({"max_value": 10**400}, "max_value must"),
        ({"max_value": np.ma.masked}, "max_value must"),
        ({"columns": np.array("x0")}, "columns must be a list"),
    ],
    ids=repr,
)
def test_parameters_of_estimators(options, message):
    with pytest.raises(dl.InputError, match=message):
        dl.DeepLinearImputer(max_iter=3, **options).fit(TABLE)


def test_a_bound_may_be_an_array_of_no_axes():
    found = [
        dl.DeepLinearImputer(max_iter=9, random_state=0, max_value=bound).fit_transform(TABLE)
        for bound in (2.5, np.array(2.5), jnp.asarray(2.5))
    ]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dl.SpectrumDisplay("a"), "singular_values must"),
        (lambda: dl.ErrorsDisplay(["a"], [1.0, 2.0], [1]), "one for each of the 1 names"),
        (lambda: dl.experiments.load_experiment(None), "NAME must be the name of an experiment"),
    ],
)
def test_displays_and_names(call, message):
    with pytest.raises(dl.InputError, match=message):
        call()


def test_numbers_in_arrays_of_objects():
    mixed = np.array([np.float64(1.5), np.int8(2), 3, fractions.Fraction(1, 4)], dtype=object)
    np.testing.assert_array_equal(as_reals(mixed, "x"), [1.5, 2, 3, 0.25])
    for foreign in (None, "3", b"3", 1j, np.complex64(1), np.datetime64("2020"), np.bool_(True)):
        with pytest.raises(dl.InputError, match="x must hold real numbers"):
            as_reals(np.array([1.0, foreign], dtype=object), "x")
