"""Observations against SciPy: both orders, duplicates, refusals, memory, blocks of lines."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from deeplinear import InputError
from deeplinear.completion.data.observations import Observations, blocks


class TestObservations:
    @pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint32])
    def test_compressed_both_ways_like_scipy(self, rng, kind):
        m, n = 40, 30
        flat = rng.choice(m * n, 500, replace=False)
        rows, cols = (x.astype(kind) for x in np.divmod(flat, n))
        values = rng.normal(size=500)
        seen = Observations.from_triples(rows, cols, values, (m, n))
        reference = scipy.sparse.coo_array((values, (rows, cols)), (m, n))
        for ours, theirs in ((seen.by_row, reference.tocsr()), (seen.by_col, reference.tocsc())):
            theirs.sort_indices()
            np.testing.assert_array_equal(ours.indptr, theirs.indptr)
            np.testing.assert_array_equal(ours.indices, theirs.indices)
            np.testing.assert_array_equal(ours.values, theirs.data)
        assert seen.T.by_row is seen.by_col
        assert seen.T.shape == (n, m)
        np.testing.assert_array_equal(
            scipy.sparse.coo_array((seen.triples()[2], seen.triples()[:2]), (m, n)).toarray(),
            reference.toarray(),
        )

    def test_duplicates(self):
        rows, cols, values, weights = (
            [1, 0, 1, 1],
            [2, 0, 2, 2],
            [1.0, 5.0, 2.0, 6.0],
            [1.0, 1.0, 2.0, 1.0],
        )
        with pytest.raises(InputError, match=r"2 repetition.*row 1, column 2"):
            Observations.from_triples(rows, cols, values, (2, 3))
        mean = Observations.from_triples(rows, cols, values, (2, 3), duplicates="mean")
        assert mean.by_row.values.tolist() == [5.0, 3.0]
        assert mean.by_col.values.tolist() == [5.0, 3.0]
        last = Observations.from_triples(rows, cols, values, (2, 3), duplicates="last")
        assert last.by_row.values.tolist() == [5.0, 6.0]
        assert last.nnz == 2
        weighted = Observations.from_triples(
            rows, cols, values, (2, 3), weights=weights, duplicates="mean"
        )
        assert weighted.by_row.values.tolist() == [5.0, 11 / 4]
        assert weighted.by_row.weights.tolist() == [1.0, 4 / 3]

    def test_stored_zeros_are_observed_and_weight_zero_is_not(self):
        seen = Observations.from_triples(
            [0, 1, 1], [0, 0, 1], [0.0, 1.0, 2.0], (2, 2), weights=[1.0, 0.0, 2.0]
        )
        assert seen.nnz == 2
        assert seen.weight == 3.0
        assert seen.by_row.values.tolist() == [0.0, 2.0]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rows": [0, -1]}, "rows must lie between 0 and 2, got -1 at position 1"),
            ({"cols": [0, 7]}, "cols must lie between 0 and 3, got 7 at position 1"),
            ({"rows": [0.5, 1.0]}, "rows must hold integers"),
            ({"rows": ["a", "b"]}, "rows must hold integers"),
            (
                {"values": [1.0, np.nan]},
                "values must be finite, got 1 NaN or infinite value.s., the first at position 1",
            ),
            ({"values": [np.inf, 1.0]}, "first at position 0"),
            ({"values": ["x", "y"]}, "values must be a vector of real numbers"),
            ({"values": [1.0]}, "must have one length"),
            ({"values": [1.0, 1e300], "dtype": np.float32}, "fit into float32"),
            ({"weights": [1.0, -1.0]}, "weights must be ≥ 0, got -1 at position 1"),
            ({"weights": [1.0]}, "must have one length"),
            ({"shape": (3, 2**32)}, "shape must have two sides"),
            ({"shape": 3}, "shape must be two integers"),
            ({"dtype": np.float16}, "dtype must be float32 or float64"),
            ({"duplicates": "first"}, "duplicates must be"),
        ],
    )
    def test_bad_input(self, change, message):
        good = {"rows": [0, 1], "cols": [1, 0], "values": [1.0, 2.0], "shape": (3, 4)}
        given = good | change
        triple = [given.pop(name) for name in ("rows", "cols", "values", "shape")]
        with pytest.raises(InputError, match=message):
            Observations.from_triples(*triple, **given)

    def test_a_matrix_with_more_cells_than_an_integer_holds(self):
        seen = Observations.from_triples([5], [7], [1.0], (2**21, 2**21))
        assert seen.shape[0] * seen.shape[1] > 2**32
        assert seen.by_col.counts[7] == 1

    @pytest.mark.parametrize("weighted", [False, True])
    def test_memory_stays_below_three_times_the_input(self, rng, weighted):
        """The smallest input types there are: 12 (16 with weights) bytes per entry, everything
        included.
        """
        entries, shape = 300_000, (3_000, 2_000)
        flat = rng.choice(shape[0] * shape[1], entries, replace=False)
        rows, cols = (index.astype(np.uint32) for index in np.divmod(flat, shape[1]))
        values = rng.normal(size=entries).astype(np.float32)
        weights = np.ones_like(values) if weighted else None
        Observations.from_triples(rows, cols, values, shape, weights=weights)  # compiles
        given = sum(array.nbytes for array in (rows, cols, values, weights) if array is not None)
        tracemalloc.start()
        seen = Observations.from_triples(rows, cols, values, shape, weights=weights)
        after, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seen.nnz == entries
        assert after > given  # it was measured
        assert given + peak < 3 * given


def test_blocks_cover_all_lines_once(rng):
    counts = rng.integers(0, 50_000, 300)
    counts[17] = 1_000_000
    ranges = blocks(np.r_[0, np.cumsum(counts)])
    assert [lo for lo, _ in ranges] == [0, *(hi for _, hi in ranges[:-1])]
    assert ranges[-1][1] == 300
    assert len(ranges) > 20
    assert blocks(np.zeros(4, int)) == [(0, 3)]
