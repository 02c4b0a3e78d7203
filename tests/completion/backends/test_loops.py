"""What is particular to the compiled loops: single entries, and the cache on disk."""

import os
import subprocess
import sys

import numpy as np

from deeplinear.completion.backends import loops


def test_single_entries(rng):
    Z, Y = rng.normal(size=(5, 8)), rng.normal(size=(4, 8))
    rows, cols, out = np.array([0, 4, 2]), np.array([3, 0, 1]), np.empty(3)
    loops.at(0, 3, rows, cols, 0.7, Z, Y, out)
    np.testing.assert_allclose(out, 0.7 + (Z[rows] * Y[cols]).sum(axis=1), rtol=1e-14)


COMPILE = """
import numpy as np
from deeplinear.completion.backends import loops
out = np.empty(1)
loops.at(0, 1, np.zeros(1, int), np.zeros(1, int), 0.0, np.ones((1, 8)), np.ones((1, 8)), out)
print(sum(loops.at.stats.cache_hits.values()), sum(loops.at.stats.cache_misses.values()))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    environment, outputs = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", COMPILE],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        outputs.append(done.stdout.split())
    assert outputs == [["0", "1"], ["1", "0"]]
