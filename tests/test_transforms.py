"""Functions under transformations of JAX: the derivative, or one sentence that says what to do."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import deeplinear as dl
from deeplinear.transforms import forward_only, reverse_only

W = np.array([[2.0, 0.3], [-0.4, 1.5]])
Z = np.array([[0.3, 1.0], [-0.2, 0.4]])
ENERGY = dl.Completion.from_dense(np.array([[1.0, np.nan], [0.5, 2.0]]))
FACTORS = dl.balanced_factors(W, 3)

LOOKING = {
    "ensemble": lambda A: dl.ensemble(ENERGY, A[None], 3.0).W,
    "ball_volume": lambda A: dl.ball_volume(A, 3.0, 0.1, samples=50).log_volume,
    "aligned_distance": lambda A: dl.geodesic.aligned_distance(W, A, 3.0),
    "aligned_path": lambda A: dl.geodesic.aligned_path(W, A, 3.0, 0.5),
    "fit_decay": lambda A: dl.asymptotics.fit_decay(A[0], A[1]).exponent,
    "measured_rate": lambda A: dl.asymptotics.measured_rate(A[0], A[1]).value,
    "Completion": lambda A: dl.Completion([0], [1], A[0, :1], (2, 2))(W),
    "Completion.from_dense": lambda A: dl.Completion.from_dense(A)(W),
    "Sensing": lambda A: dl.Sensing(A[None], np.ones(1))(W),
    "kernel_check": lambda A: dl.verify.kernel_check(dl.kernel, tol=A[0, 0]),
    "gradient_check": lambda A: dl.verify.gradient_check(ENERGY, A),
    "hessian_check": lambda A: dl.verify.hessian_check(ENERGY, A),
    "submersion": lambda A: dl.verify.submersion(A, 3),
    "volume": lambda A: dl.verify.volume(A, 3),
    "upstairs_downstairs": lambda A: dl.verify.upstairs_downstairs(ENERGY, A, 3, 1.0),
    "conservation": lambda A: dl.verify.conservation(ENERGY, A, 3, 1.0),
    "all_checks": lambda A: dl.verify.all_checks(ENERGY, A, 3),
}


@pytest.mark.parametrize("name", LOOKING)
def test_functions_that_look_at_values_say_so_where_there_are_none(name):
    function = LOOKING[name]
    sentence = rf"^{name} looks at the values of its arguments: call it outside jit, vmap and grad"
    for transform in (jax.jit, jax.jacfwd, jax.jacrev):
        with pytest.raises(dl.InputError, match=sentence):
            transform(function)(W)
    with pytest.raises(dl.InputError, match=sentence):
        jax.vmap(function)(np.stack([W, Z]))


FORWARD_ONLY = {
    "exp": lambda A: dl.geodesic.exp(A, Z, 3.0, rtol=1e-6).W,
    "brownian": lambda A: dl.brownian(A, 3.0, t1=0.1, dt=0.05, key=0).W,
    "langevin": lambda A: dl.langevin(ENERGY, A, 3.0, 10.0, t1=0.1, dt=0.05, key=0).W,
    "factor_langevin": lambda A: (
        dl.factor_langevin(ENERGY, [A, *FACTORS[1:]], 10.0, t1=0.1, dt=0.05, key=0).W
    ),
    "gradient_flow": lambda A: (
        dl.gradient_flow(ENERGY, A, 3, t1=0.5, chart="dense", adjoint=diffrax.ForwardMode()).W
    ),
}


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_reverse_mode_where_there_is_none(name):
    with pytest.raises(NotImplementedError, match=r"reverse mode.* take jax.jvp or jax.jacfwd"):
        jax.jacrev(FORWARD_ONLY[name])(W)


@pytest.mark.parametrize(
    "flow",
    [
        lambda A: dl.gradient_flow(ENERGY, A, 3, t1=0.5, chart="dense").W,
        lambda A: dl.factor_flow(ENERGY, [A, *FACTORS[1:]], t1=0.5).W,
    ],
)
def test_forward_mode_where_there_is_none(flow):
    with pytest.raises(NotImplementedError, match=r"^forward mode needs adjoint="):
        jax.jacfwd(flow)(W)


def test_what_has_forward_mode_only_is_unchanged_by_the_mark():
    def plain(x):
        return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[
            1
        ]

    def marked(x):
        return forward_only({"a": plain(x), "b": 1}, "no")["a"]

    x, x2 = np.linspace(0.1, 1.0, 3), np.linspace(-1.0, 1.0, 6).reshape(2, 3)
    for transform in (jax.jit, jax.jacfwd, lambda f: jax.jit(jax.jacfwd(jax.jacfwd(f)))):
        np.testing.assert_array_equal(transform(marked)(x), transform(plain)(x))
        vmapped = jax.vmap(transform(marked))(x2)
        np.testing.assert_array_equal(vmapped, jax.vmap(transform(plain))(x2))
    reverse = [jax.jacrev, lambda f: jax.jit(jax.jacrev(f))]
    if jax.__version_info__ >= (0, 10):  # before, JAX fails at this loop in a way of its own
        reverse.append(jax.hessian)
    for transform in reverse:
        with pytest.raises(NotImplementedError, match=r"^no"):
            transform(marked)(x)


def test_other_errors_of_types_are_not_replaced():
    with pytest.raises(TypeError, match="of another kind"), reverse_only("no"):
        raise TypeError("of another kind")
