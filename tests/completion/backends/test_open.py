"""Which backend is chosen, how long it holds threads, and what it does not load."""

import subprocess
import sys

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from deeplinear import InputError
from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.backends.open import (
    DENSE_CELLS,
    DENSE_RATIO,
    SMALL_CELLS,
    is_dense,
    open_backend,
)
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data.observations import Observations


class Sized:
    """Observations of which only the size is looked at."""

    def __init__(self, m, n, nnz):
        self.shape, self.nnz = (m, n), nnz


@pytest.mark.parametrize(
    ("m", "n", "nnz", "dense"),
    [
        (512, 512, 1, True),  # small: no compiler is worth it
        (512, 513, 1, False),
        (1000, 8 * DENSE_RATIO, 8000, True),  # a table
        (1000, 1000, 1_000_000 // DENSE_RATIO, True),
        (1000, 1000, 1_000_000 // DENSE_RATIO - 1, False),  # too few entries
        (1 << 13, 1 << 13, 1 << 26, True),
        (1 << 13, (1 << 13) + 1, 1 << 26, False),  # too large
    ],
)
def test_tables_and_small_data_are_dense(m, n, nnz, dense):
    assert (SMALL_CELLS, DENSE_CELLS) == (512**2, 1 << 26)
    assert is_dense(Sized(m, n, nnz)) == dense


def test_the_backend_of_each_device():
    from deeplinear.completion.backends.devices import Devices

    small = Observations.from_triples([0, 1], [1, 0], [1.0, 2.0], (2, 2))
    large = Observations.from_triples([0, 1], [1, 0], [1.0, 2.0], (1000, 1000))
    for seen, kind in ((small, Dense), (large, Loops)):
        with open_backend(seen, 1) as backend:
            assert type(backend) is kind
            assert backend.pool is None
        with open_backend(seen, 2, "jax") as backend:
            assert type(backend) is Devices
            assert type(backend.cpu) is kind
            assert backend.pool is backend.cpu.pool is not None


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_number_of_threads_is_checked(threads):
    seen = Observations.from_triples([0, 1], [1, 0], [1.0, 2.0], (2, 2))
    with (
        pytest.raises(InputError, match="threads must be a positive integer"),
        open_backend(seen, threads),
    ):
        pass


def test_overlapping_fits_give_blas_its_threads_back():
    seen = Observations.from_triples([0, 1], [1, 0], [1.0, 2.0], (2, 2))

    def now():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = now()
        first, second = open_backend(seen, 1), open_backend(seen, 1)
        first.__enter__()
        second.__enter__()
        assert set(now()) == {1}
        first.__exit__(None, None, None)
        assert set(now()) == {1}
        second.__exit__(None, None, None)
        assert now() == before
        assert set(before) == {2}
        with pytest.raises(ZeroDivisionError), open_backend(seen, 2):
            raise ZeroDivisionError
        assert now() == before


SMALL = """
import sys, warnings
import numpy as np
import deeplinear as dl
warnings.simplefilter("ignore")
users, items = ["a", "a", "b", "b", "c", "c"], ["x", "y", "x", "z", "y", "z"]
model = dl.DeepMatrixCompletion(strength=0.3).fit((users, items, [1.0, 2.0, 3.0, 4.0, 5.0, 4.0]))
model.predict(["a"], ["z"])
rng = np.random.default_rng(0)
X = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 50))
X[rng.random(X.shape) < 0.3] = np.nan
assert np.isfinite(dl.DeepLinearImputer(strength=0.1).fit_transform(X)).all()
print("numba" in sys.modules)
"""


def test_small_data_load_no_compiler():
    done = subprocess.run([sys.executable, "-c", SMALL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
