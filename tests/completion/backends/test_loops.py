"""Observations and the compiled loops against dense NumPy."""

import itertools
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import scipy.sparse

from deeplinear import InputError
from deeplinear.completion.backends import loops
from deeplinear.completion.backends.threads import workers
from deeplinear.completion.data.observations import Observations, blocks

TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}


def problem(rng, dtype=np.float64, weighted=False, m=23, n=17, density=0.6):
    """Entries with an empty row and an empty column, dense copies, and generic sides Z, Y of padded
    width.
    """
    seen = rng.random((m, n)) < density
    seen[5], seen[:, 3] = False, False
    rows, cols = np.nonzero(seen)
    shuffle = rng.permutation(len(rows))
    rows, cols = rows[shuffle], cols[shuffle]
    X = np.where(seen, rng.normal(size=(m, n)), 0.0).astype(dtype)
    weights = np.where(seen, rng.uniform(0.3, 2.0, (m, n)) if weighted else 1.0, 0.0).astype(dtype)
    observations = Observations.from_triples(
        rows, cols, X[rows, cols], (m, n), weights=weights[rows, cols] if weighted else None
    )
    Z, Y = (rng.normal(size=(side, loops.width(4))).astype(dtype) for side in (m, n))
    return observations, X, weights, Z, Y


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
class TestLoops:
    def test_pull_back_is_the_residual_times_a_matrix(self, rng, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        other = rng.normal(size=(len(Y), 5)).astype(dtype)
        R = weights * (X - 0.3 - Z @ Y.T)
        out = np.empty((len(Z), 5), dtype)
        energy = loops.residual_matmul(
            0, len(Z), *seen.by_row.arrays, dtype(0.3), Z, Y, other, out, 0
        )
        np.testing.assert_allclose(
            out, R @ other, rtol=0, atol=TOLERANCE[dtype] * abs(R @ other).max()
        )
        assert energy == pytest.approx(0.5 * (R * (X - 0.3 - Z @ Y.T)).sum(), rel=TOLERANCE[dtype])

    def test_random_signs_are_the_same_from_both_sides(self, rng, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        R = weights * (X - Z @ Y.T)
        left, right = np.empty((len(Z), len(Y)), dtype), np.empty((len(Y), len(Z)), dtype)
        loops.residual_matmul(
            0, len(Z), *seen.by_row.arrays, dtype(0), Z, Y, np.eye(len(Y), dtype=dtype), left, 7
        )
        loops.residual_matmul(
            0, len(Y), *seen.by_col.arrays, dtype(0), Y, Z, np.eye(len(Z), dtype=dtype), right, 7
        )
        np.testing.assert_allclose(left, right.T, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
        np.testing.assert_allclose(abs(left), abs(R), rtol=0, atol=TOLERANCE[dtype] * abs(R).max())
        share = (np.sign(left) == np.sign(R))[seen.triples()[0], seen.triples()[1]].mean()
        assert 0.35 < share < 0.65  # about 200 fair coins: four standard deviations

    def test_solve_with_many_steps_is_ridge_regression(self, rng, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        width = Z.shape[1]
        ridge, extra = (
            rng.uniform(0.2, 1.0, width).astype(dtype),
            rng.uniform(0.1, 0.4, width).astype(dtype),
        )
        scale = rng.uniform(0.5, 2.0, len(Z)).astype(dtype)
        free = np.ones(width, dtype)
        free[2] = 0  # stays where it is
        new, pull, bend = Z.copy(), np.zeros(width), np.zeros(width)
        energy = loops.solve(
            0, len(Z), *seen.by_row.arrays, dtype(0.3), new, Y, ridge, extra, scale, free, 60, pull, bend
        )  # fmt: skip
        gap = X - 0.3 - Z @ Y.T
        assert energy == pytest.approx(0.5 * (weights * gap**2).sum(), rel=TOLERANCE[dtype])
        np.testing.assert_allclose(
            pull,
            (Z * ((weights * gap) @ Y)).sum(axis=0),
            rtol=0,
            atol=30 * TOLERANCE[dtype] * abs(pull).max(),
        )
        np.testing.assert_allclose(
            bend, (Z**2 * (weights @ Y**2)).sum(axis=0), rtol=30 * TOLERANCE[dtype]
        )
        some = free > 0
        for i in range(len(Z)):
            A = (Y[:, some].T * weights[i]) @ Y[:, some] + np.diag((ridge * scale[i] + extra)[some])
            right = (weights[i] * (X[i] - 0.3 - Z[i, 2] * Y[:, 2])) @ Y[:, some]
            np.testing.assert_allclose(
                new[i, some], np.linalg.solve(A, right), rtol=0, atol=200 * TOLERANCE[dtype]
            )
        np.testing.assert_array_equal(new[:, 2], Z[:, 2])

    def test_every_step_lowers_the_ridge_objective(self, rng, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        ridge = np.full(Z.shape[1], 0.3, dtype)
        one, none = np.ones(Z.shape[1], dtype), np.zeros(Z.shape[1], dtype)

        def value(P):
            P = P.astype(float)
            return 0.5 * (weights * (X - P @ Y.T) ** 2).sum() + 0.15 * (P**2).sum()

        values = [value(Z)]
        for steps in (1, 2, 3):
            new = Z.copy()
            spare = np.zeros((2, Z.shape[1]))
            loops.solve(
                0, len(Z), *seen.by_row.arrays, dtype(0), new, Y, ridge, none, np.ones(len(Z), dtype), one, steps, *spare
            )  # fmt: skip
            values.append(value(new))
        assert all(after < before for before, after in itertools.pairwise(values))


def test_single_entries(rng):
    Z, Y = rng.normal(size=(5, 8)), rng.normal(size=(4, 8))
    rows, cols, out = np.array([0, 4, 2]), np.array([3, 0, 1]), np.empty(3)
    loops.at(0, 3, rows, cols, 0.7, Z, Y, out)
    np.testing.assert_allclose(out, 0.7 + (Z[rows] * Y[cols]).sum(axis=1), rtol=1e-14)


def test_blocks_cover_all_lines_once(rng):
    counts = rng.integers(0, 50_000, 300)
    counts[17] = 1_000_000
    ranges = blocks(np.r_[0, np.cumsum(counts)])
    assert [lo for lo, _ in ranges] == [0, *(hi for _, hi in ranges[:-1])]
    assert ranges[-1][1] == 300
    assert len(ranges) > 20
    assert blocks(np.zeros(4, int)) == [(0, 3)]


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_number_of_threads_is_checked(threads):
    with pytest.raises(InputError, match="threads must be a positive integer"), workers(threads):
        pass


def test_a_second_process_compiles_nothing(tmp_path):
    code = (
        "import numpy as np; from deeplinear.completion.data import compress; "
        "from deeplinear.completion.data.observations import Observations; "
        "Observations.from_triples([0, 1], [1, 0], [1.0, 2.0], (2, 2)); "
        "s = compress.transpose.stats; print(sum(s.cache_hits.values()), sum(s.cache_misses.values()))"
    )
    environment, outputs = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}, []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        outputs.append(done.stdout.split())
    assert outputs == [["0", "1"], ["1", "0"]]
