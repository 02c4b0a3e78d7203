"""The motion of the tangent kernel, against operators written out as matrices."""

import jax
import numpy as np
import pytest
from cases import slow

import deeplinear as dl
from deeplinear.asymptotics import kernel_motion


def cosines(kernels):
    """1 − cos of the angle to the first, and the ratio of norms, of explicit matrices."""
    first = kernels[0]
    sizes = np.array([np.linalg.norm(K) for K in kernels])
    inner = np.array([np.sum(K * first) for K in kernels])
    return 1 - inner / sizes / sizes[0], sizes / sizes[0]


@pytest.mark.parametrize(
    ("depth", "imbalance", "shape"),
    [
        slow(1, 0.0, (3, 2)),
        (2.5, 0.0, (3, 3)),
        slow(4, 0.0, (2, 4)),
        slow(np.inf, 0.0, (3, 3)),
        slow(3, 0.2, (3, 3)),
        (2, (0.0, 0.7), (2, 3)),
    ],
)
def test_against_the_operator_as_a_matrix(depth, imbalance, shape, rng):
    W = rng.normal(size=(4, *shape))
    W[3, :, 0] = 0.0  # a rank less, where the shape is square
    found = kernel_motion(W, depth, imbalance=imbalance)
    kernels = [dl.Operator(X, depth, imbalance=imbalance).as_matrix() for X in W]
    for values, expected in zip(found, cosines(np.asarray(kernels)), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-12)
    # on the residuals of an energy
    mask = np.ones(shape, bool)
    mask[0, 0] = mask[-1, -1] = False
    found = kernel_motion(W, depth, mask, imbalance=imbalance)
    kept = np.flatnonzero(mask)
    for values, expected in zip(
        found, cosines([np.asarray(K)[np.ix_(kept, kept)] for K in kernels]), strict=True
    ):
        np.testing.assert_allclose(values, expected, atol=1e-12)


def test_weights_and_measurements(rng):
    W, A = rng.normal(size=(3, 2, 3)), rng.normal(size=(4, 2, 3))
    weights = np.array([1.0, 2.0, 0.5, 3.0])
    energies = (
        dl.Sensing(A, rng.normal(size=4), weights=weights),
        dl.Completion([0, 0, 1], [0, 2, 1], [1.0, 1.0, 1.0], (2, 3), weights=[1.0, 2.0, 5.0]),
    )
    for energy in energies:
        kernels = [dl.asymptotics.tangent_kernel(energy, X, 3).as_matrix() for X in W]
        for values, expected in zip(
            kernel_motion(W, 3, energy), cosines(np.asarray(kernels)), strict=True
        ):
            np.testing.assert_allclose(values, expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore::deeplinear.errors.ImbalanceWarning")
@pytest.mark.parametrize("delta", [-0.6, 0.4])
def test_two_layers_against_explicit_factors(delta, rng):
    """Also where inputs and outputs differ in number: J Jᵀ of the factors, by differentiation."""
    factors = dl.leaf_factors(rng.normal(size=(2, 4)), delta, depth=2, key=1)
    target = rng.normal(size=(2, 4))
    times = np.array([0.0, 0.3, 2.0])
    run = dl.exact.two_layer(*factors, target, times)
    found = kernel_motion(run)
    kernels = []
    for t in times:
        at = factors
        if t:
            flow = dl.factor_flow(dl.Completion.from_dense(target), factors, t1=t, rtol=1e-9)
            at = flow.factors
        J = jax.jacobian(lambda F: (F[1] @ F[0]).ravel())(tuple(at))
        J = np.concatenate([np.asarray(x).reshape(8, -1) for x in J], 1)
        kernels.append(J @ J.T / 2)
    for values, expected in zip(found, cosines(kernels), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-7)


def test_along_a_flow():
    energy = dl.Completion.from_dense(np.array([[1.0, 0.2], [0.1, 0.5]]))
    W0 = np.array([[0.02, 0.01], [-0.01, 0.03]])
    times = np.array([0.0, 1.0, 5.0, 20.0])
    rich = dl.gradient_flow(energy, W0, 2, t1=20.0, saveat=times)
    lazy = dl.gradient_flow(energy, W0, 2, imbalance=50.0, t1=20.0, saveat=times)
    far = kernel_motion(rich, 2)
    near = kernel_motion(lazy, 2, imbalance=50.0)
    assert far.distance[0] == 0
    assert near.distance.max() < 1e-4 < 0.02 < far.distance.max()
    expected = kernel_motion(np.asarray(rich.W), 2)
    np.testing.assert_allclose(far.distance, expected.distance, atol=1e-12)
    np.testing.assert_allclose(far.growth, expected.growth, rtol=1e-9)


def test_sentences(rng):
    W = rng.normal(size=(2, 3, 3))
    for call in (
        lambda: kernel_motion(W),
        lambda: kernel_motion(W[0], 2),
        lambda: kernel_motion(np.zeros((2, 3, 3)), 2),
        lambda: kernel_motion(W, 2, np.ones((2, 3), bool)),
        lambda: kernel_motion(W, 2, np.zeros((3, 3), bool)),
    ):
        with pytest.raises(dl.InputError):
            call()
    with pytest.raises(dl.DepthError):
        kernel_motion(W, 0.5)
