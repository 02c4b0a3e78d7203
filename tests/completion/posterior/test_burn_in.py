"""What is thrown away of a chain: a number of draws, or all until the noise no longer drifts."""

import numpy as np
import pytest

from deeplinear.completion.posterior.burn_in import LONGEST, BurnIn
from deeplinear.completion.posterior.gibbs import Sample


def chain(logs):
    none = np.zeros((0, 0))
    for log in logs:
        yield Sample(none, none, none, 0.0, float(np.exp(log)), (none, none), (none, none))


def dropped(logs, length="auto"):
    return len(logs) - len(list(BurnIn(length).kept(chain(logs))))


@pytest.mark.parametrize("length", [0, 1, 7])
def test_a_number_is_that_number(length):
    logs = np.arange(10.0)
    kept = list(BurnIn(length).kept(chain(logs)))
    np.testing.assert_allclose([np.log(sample.precision) for sample in kept], logs[length:])
    assert BurnIn(length).most == length


def test_a_chain_at_rest_is_kept_after_two_windows(rng):
    assert dropped(np.zeros(60)) == 20
    found = [dropped(0.1 * rng.normal(size=300)) for _ in range(200)]
    assert np.mean(np.array(found) == 20) > 0.9  # two standard errors: one in twenty is unlucky
    assert max(found) <= LONGEST


@pytest.mark.parametrize("time", [5.0, 15.0])
def test_a_transient_is_thrown_away(rng, time):
    """The mean of a decaying drift between windows, d(1 − e^{−10/T}) …, has fallen to the noise."""
    steps, noise = np.arange(400), 0.02
    found = dropped(3 * np.exp(-steps / time) + noise * rng.normal(size=400))
    left = 3 * np.exp(-(found - 10) / time)
    assert 20 < found < LONGEST
    assert left < 10 * noise


def test_a_drift_without_end_is_cut_off():
    assert dropped(0.1 * np.arange(300)) == LONGEST == BurnIn("auto").most
