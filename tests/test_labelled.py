"""Results that are a few numbers: as data, and as text."""

import numpy as np
import pytest

import deeplinear as dl

ENERGY = dl.Completion.from_dense(np.array([[2.0, 1.0], [1.0, np.nan]]))


def few():
    """One of each kind."""
    W = np.array([[2.0, 1.0], [1.0, 0.5]])
    t = np.linspace(0.0, 30.0, 60)
    factors = dl.normal_factors((2, 2, 2), 0.5, key=0)
    return {
        "balancing": dl.balancing_flow(factors, t1=1.0),
        "measured": dl.asymptotics.measured_rate(t, np.exp(-0.5 * t)),
        "predicted": dl.asymptotics.predicted_rate(ENERGY, W, 2),
        "decay": dl.asymptotics.fit_decay(t, dl.asymptotics.predict_decay(t, 0.1, 2.0, 4)),
        "noise": dl.asymptotics.label_noise_limit(ENERGY),
        "two_layer": dl.exact.two_layer(0.1 * np.eye(2), 0.1 * np.eye(2), W, [0.0, 1.0, 4.0]),
        "diffusion": dl.exact.mode_diffusion([0.5, 0.7], 1.0, 2, 0.01, label_noise=1.0),
        "coefficient": dl.learning_coefficient((2, 2, 2), rank=1),
        "staircase": dl.asymptotics.learning_staircase(
            np.array([[0.1, 0.0], [2.0, 0.1], [2.0, 1.0]]), (2, 2, 2)
        ),
        "motion": dl.asymptotics.kernel_motion(np.stack([W + np.eye(2), W + 2 * np.eye(2)]), 2),
    }


@pytest.fixture(scope="module")
def results():
    return few()


def test_every_number_is_there_bit_for_bit(results):
    for name, found in results.items():
        data, frame = found.to_xarray(), found.to_frame()
        for key in data.data_vars:
            if key.startswith("factor_"):
                expected = found.factors[int(key[-1]) - 1]
            else:
                expected = getattr(found, key)
            np.testing.assert_array_equal(data[key], np.asarray(expected), err_msg=name)
            if data[key].ndim == 0:
                np.testing.assert_array_equal(frame[key], np.asarray(expected))
        assert data.attrs["result"] == type(found).__name__
    assert results["decay"].to_xarray().attrs["law"] == "algebraic"
    misfit = results["decay"].to_xarray().attrs["misfit_exponential"]
    assert misfit == results["decay"].misfit["exponential"]


def test_their_text_says_value_and_status(results):
    for name, found in results.items():
        text = repr(found)
        assert text.startswith(type(found).__name__ + "("), name
        assert text.count("\n") < 3
        if hasattr(found, "status"):
            assert dl.Status[int(found.status)] in text
    assert f"value {float(results['predicted'].value):.4g}" in repr(results["predicted"])


def test_checks_and_pooled_estimates():
    from deeplinear.diagnosis import Diagnosis, Finding
    from deeplinear.verify.result import Check, Checks

    checks = Checks((Check("a", True, {}, "It holds."), Check("b", False, {}, "It does not.")))
    assert repr(checks) == "Checks(1 of 2 passed; failed: b)"
    assert checks.to_frame()["passed"].tolist() == [True, False]
    found = Diagnosis((Finding("s", "n", True, "All is well."),))
    assert repr(found) == "Diagnosis(All 1 checks passed.)"
    assert found.to_frame()["summary"].tolist() == ["All is well."]
    pooled = dl.pool([1.0, 2.0, 3.0], [0.5, 0.5, 0.5])
    low, high = pooled.interval()
    assert repr(pooled).startswith(f"Pooled(2 ± 1.4, 95% from {low:.6g} to {high:.6g}; missing")
    many = dl.pool([[1.0, 2.0], [2.0, 4.0]], [[0.5, 0.5], [0.5, 0.5]])
    assert repr(many).startswith("Pooled(2 quantities; missing information up to ")
    np.testing.assert_array_equal(many.to_frame()["standard_error"], many.standard_error)


def test_what_the_flow_conserves_has_a_matrix_for_each_pair_of_layers():
    factors = dl.normal_factors((2, 3, 4, 2), 0.5, key=0)
    found = dl.imbalances(factors)
    data, frame = found.to_xarray(), found.to_frame()
    for p in (1, 2):
        one, two = np.asarray(factors[p - 1]), np.asarray(factors[p])
        np.testing.assert_allclose(data[f"imbalance_{p}"], two.T @ two - one @ one.T, atol=1e-14)
        assert frame.norm[p - 1] == pytest.approx(np.linalg.norm(data[f"imbalance_{p}"]))
    assert data.attrs["isotropic"] == "false"
    leaf = dl.imbalances(dl.leaf_factors(np.eye(2), (1.0, 0.0, 3.0))).to_xarray()
    np.testing.assert_allclose(leaf.leaf, [1.0, 0.0, 3.0], atol=1e-9)
