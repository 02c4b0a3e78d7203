"""The JAX passes against those of the processor, on one device and on four simulated ones."""

import os
import subprocess
import sys

import numpy as np
import pytest
from cases import slow
from talking_processes import run_together

from deeplinear import InputError
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit

SCRIPT = """
import sys
import numpy as np, jax
from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.backends.devices import Devices
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit

assert len(jax.devices()) == int(sys.argv[1])
rng = np.random.default_rng(0)
m, n = 300, 170
truth = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n)) + rng.normal(size=n)
mask = rng.random((m, n)) < 0.3 * rng.random(m)[:, None]
mask[:2], mask[7] = True, False  # long lines, an empty line
rows, cols = np.nonzero(mask)
values = truth[rows, cols] + 0.3 * rng.normal(size=len(rows))
weights = rng.uniform(0.5, 2, len(rows))
tolerances = {"float64": (np.float64, 1e-11), "float32": (np.float32, 1e-4)}
for dtype, tolerance in [tolerances[sys.argv[2]]]:
    seen = Observations.from_triples(rows, cols, values, (m, n), weights=weights, dtype=dtype)
    options = {"strength": 0.2, "max_rank": 10, "max_sweeps": 6, "tol": 0}
    here, there = fit(seen, **options), fit(seen, device="jax", **options)
    assert there.left.dtype == dtype and here.rank == there.rank == 3
    assert abs(here.tau / there.tau - 1) < tolerance
    np.testing.assert_allclose(there.objective, here.objective, rtol=tolerance)
    W = here.left @ here.right.T
    np.testing.assert_allclose(there.left @ there.right.T, W, atol=tolerance * abs(W).max())
    np.testing.assert_allclose(there.row_bias, here.row_bias, atol=tolerance)
    assert abs(there.certificate.tangent - here.certificate.tangent) < 10 * tolerance
devices = Devices("jax", Dense())
shards, arrays = devices._of(seen.by_row)
assert all(len(array.sharding.device_set) == int(sys.argv[1]) for array in arrays)
held = [int((shard.data > 0).sum()) for shard in arrays[2].addressable_shards]
assert sum(held) == seen.nnz and min(held) > 0.5 * max(held), held
assert not jax.config.jax_enable_x64
print("same")
"""


@pytest.mark.parametrize(
    ("count", "dtype"),
    [
        (4, "float64"),
        slow(1, "float64"),
        slow(4, "float32"),
    ],
)
def test_devices_compute_what_the_processor_does(count, dtype):
    environment = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(count), dtype],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout.strip() == "same", done.stderr


PROCESSES = """
import sys
import numpy as np, jax
number, port, file = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number)
assert jax.process_count() == 2 and len(jax.devices()) == 4 and len(jax.local_devices()) == 2
from deeplinear.completion.backends.dense import Dense
from deeplinear.completion.backends.devices import Devices
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit

rng = np.random.default_rng(0)
m, n = 300, 170
truth = rng.normal(size=(m, 3)) @ rng.normal(size=(3, n)) + rng.normal(size=n)
rows, cols = np.nonzero(rng.random((m, n)) < 0.3 * rng.random(m)[:, None])
values = truth[rows, cols] + 0.3 * rng.normal(size=len(rows))
seen = Observations.from_triples(rows, cols, values, (m, n))
options = {"strength": 0.2, "max_rank": 10, "max_sweeps": 6, "tol": 0}
here, there = fit(seen, **options), fit(seen, device="jax", **options)
assert here.rank == there.rank == 3
np.testing.assert_allclose(there.objective, here.objective, rtol=1e-11)
W = here.left @ here.right.T
np.testing.assert_allclose(there.left @ there.right.T, W, atol=1e-11 * abs(W).max())
devices = Devices("jax", Dense())
_, arrays = devices._of(seen.by_row)
held = sum(int((shard.data > 0).sum()) for shard in arrays[2].addressable_shards)
assert 0.3 * seen.nnz < held < 0.7 * seen.nnz, held  # the other process has the rest
np.savez(file, left=there.left, right=there.right, held=held, nnz=seen.nnz)
print("same")
"""


@pytest.mark.slow
def test_two_processes_compute_what_one_does(tmp_path):
    """Two processes with two devices each, that talk over the loopback interface (gloo)."""
    files = [tmp_path / f"{number}.npz" for number in range(2)]
    ended = run_together(
        PROCESSES,
        lambda number, port: [number, port, files[number]],
        2,
        300,
        XLA_FLAGS="--xla_force_host_platform_device_count=2",
    )
    assert all(out.strip().endswith("same") for _, out, _ in ended), ended
    first, second = (np.load(file) for file in files)
    assert first["held"] + second["held"] == first["nnz"]
    np.testing.assert_array_equal(first["left"], second["left"])
    np.testing.assert_array_equal(first["right"], second["right"])


def test_unknown_and_missing_devices():
    seen = Observations.from_triples([0, 1], [1, 0], [1.0, 2.0], (2, 2))
    with pytest.raises(InputError, match='device must be "cpu", "gpu" or "jax"'):
        fit(seen, device="tpu")
    import jax

    if jax.default_backend() == "cpu":
        with pytest.raises(
            InputError, match=r'device="gpu" is not there .*install deeplinear\[gpu\]'
        ):
            fit(seen, device="gpu")
