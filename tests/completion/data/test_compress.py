"""Few entries are compressed by NumPy, many by compiled loops: the same arrays from both."""

import subprocess
import sys

import numpy as np
import pytest

from deeplinear.completion.data import compress
from deeplinear.completion.data.observations import Observations, RepeatedEntriesError


def arrays(seen):
    return (*seen.by_row.arrays, *seen.by_col.arrays)


@pytest.mark.parametrize("duplicates", ["error", "mean", "last"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [np.uint32, np.int64, np.uint64])
def test_both_ways_give_the_same_arrays(rng, monkeypatch, duplicates, weighted, dtype, kind):
    m, n, count = 70, 50, 2500  # in a run at most a handful, so that sums agree bit for bit
    flat = rng.choice(m * n, count, replace=duplicates != "error")
    rows, cols = (x.astype(kind) for x in np.divmod(flat, n))
    values = rng.normal(size=count).astype(dtype)
    weights = rng.integers(0, 3, count).astype(dtype) if weighted else None
    found = []
    for few in (count + 1, 0):
        monkeypatch.setattr(compress, "FEW", few)
        found.append(
            Observations.from_triples(
                rows, cols, values, (m, n), weights=weights, duplicates=duplicates
            )
        )
    for one, other in zip(*map(arrays, found), strict=True):
        assert one.dtype == other.dtype
        if duplicates == "mean" and one.dtype == dtype:  # the order of a sum is the compiler's
            np.testing.assert_allclose(one, other, rtol=4 * np.finfo(dtype).eps)
        else:
            np.testing.assert_array_equal(one, other)


def test_repetitions_are_reported_alike(rng, monkeypatch):
    rows, cols, values = rng.integers(9, size=60), rng.integers(8, size=60), rng.normal(size=60)
    found = []
    for few in (61, 0):
        monkeypatch.setattr(compress, "FEW", few)
        with pytest.raises(RepeatedEntriesError) as caught:
            Observations.from_triples(rows, cols, values, (9, 8))
        found.append((caught.value.count, caught.value.row, caught.value.col))
    assert found[0] == found[1]
    assert found[0][0] > 0


@pytest.mark.parametrize("few", [1, 0])
def test_nothing_observed(monkeypatch, few):
    monkeypatch.setattr(compress, "FEW", few)
    nothing = np.zeros(0, int)
    seen = Observations.from_triples(nothing, nothing, np.zeros(0), (3, 4))
    assert seen.by_row.indptr.tolist() == [0] * 4
    assert seen.by_col.indptr.tolist() == [0] * 5


def test_few_entries_load_no_compiler():
    code = (
        "import sys; from deeplinear.completion.data.entries import read_entries; "
        "read_entries(([1, 2], ['a', 'b'], [1.0, 2.0]), None, 'uiv').observations(); "
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
