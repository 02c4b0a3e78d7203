"""The passes of every backend against plain NumPy, and against each other where lines are odd."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

from deeplinear.completion.backends import threads
from deeplinear.completion.backends.base import total, width
from deeplinear.completion.backends.dense import Dense, random_signs
from deeplinear.completion.backends.threads import Loops
from deeplinear.completion.data import observations as observations_module
from deeplinear.completion.data.observations import Observations

KINDS = ("dense", "loops", "devices")
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-12}
# between two backends: sums in another order, in a few steps of conjugate gradients
AGREE = {np.float32: 1e-4, np.float64: 1e-10}


@cache
def open_kind(kind):
    if kind == "dense":
        return Dense()
    if kind == "loops":
        return Loops()
    from deeplinear.completion.backends.devices import Devices

    return Devices("jax", Dense())


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
    Z, Y = (rng.normal(size=(side, width(4))).astype(dtype) for side in (m, n))
    return observations, X, weights, Z, Y


def close(found, exact, tolerance):
    size = abs(np.asarray(exact)).max(initial=0.0)
    np.testing.assert_allclose(found, exact, rtol=0, atol=tolerance * (size or 1.0))


def energy_at(backend, lines, Z, Y, mean):
    none, one = np.zeros(Z.shape[1], Z.dtype), np.ones(len(Z), Z.dtype)
    return backend.solve(lines, Z, Y, Z.dtype.type(mean), none, none, one, none, 0).energy


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
class TestFormulas:
    def test_residual_times_a_matrix(self, rng, kind, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        other = rng.normal(size=(len(Y), 5)).astype(dtype)
        gap = X - 0.3 - Z @ Y.T
        backend = open_kind(kind)
        out = backend.residual_matmul(seen.by_row, Z, Y, other, dtype(0.3), 0)
        assert out.dtype == dtype
        close(out, (weights * gap) @ other, TOLERANCE[dtype])
        energy = energy_at(backend, seen.by_row, Z, Y, 0.3)
        assert energy == pytest.approx(0.5 * (weights * gap**2).sum(), rel=TOLERANCE[dtype])

    def test_sums_of_rows_over_the_entries_of_a_line(self, rng, kind, dtype, weighted):
        seen, _, weights, Z, Y = problem(rng, dtype, weighted)
        backend = open_kind(kind)
        down, up = (
            backend.indicator(lines, len(others))
            for lines, others in ((seen.by_row, Y), (seen.by_col, Z))
        )
        for columns in (1, 3, 16):
            for product, pattern in ((down, weights != 0), (up, weights.T != 0)):
                X = rng.normal(size=(pattern.shape[1], columns))
                assert product(X).dtype == dtype
                close(product(X), pattern @ X, TOLERANCE[dtype])

    def test_both_products_of_the_residual_at_once(self, rng, kind, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        for columns in (8, 5, 4, 2, 1):
            z, y = Z[:, :columns].copy(), Y[:, :columns].copy()
            gap = X - 0.3 - z @ y.T
            call = seen.by_row, seen.by_col, z, y, dtype(0.3)
            left, right, energy = open_kind(kind).pulls(*call)
            assert left.dtype == right.dtype == dtype
            close(left, (weights * gap) @ y, TOLERANCE[dtype])
            close(right, (weights * gap).T @ z, TOLERANCE[dtype])
            assert energy == pytest.approx(0.5 * (weights * gap**2).sum(), rel=TOLERANCE[dtype])
            again = open_kind(kind).pulls(*call, energy=False)
            np.testing.assert_array_equal(again[0], left)
            np.testing.assert_array_equal(again[1], right)

    def test_random_signs_are_the_same_from_both_sides(self, rng, kind, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        R, backend = weights * (X - Z @ Y.T), open_kind(kind)
        one = (np.eye(len(side), dtype=dtype) for side in (Y, Z))
        left = backend.residual_matmul(seen.by_row, Z, Y, next(one), dtype(0), 7)
        right = backend.residual_matmul(seen.by_col, Y, Z, next(one), dtype(0), 7)
        np.testing.assert_allclose(left, right.T, rtol=10 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
        close(left, R * random_signs(*R.shape, 7), TOLERANCE[dtype])
        share = (np.sign(left) == np.sign(R))[seen.triples()[0], seen.triples()[1]].mean()
        assert 0.35 < share < 0.65  # about 200 fair coins: four standard deviations

    @pytest.mark.parametrize("seed", [0, 7])
    @pytest.mark.parametrize("columns", [1, 9, 17, 30, 59])
    @pytest.mark.parametrize("near", [0, 1 << 21])
    def test_products_with_many_matrices(
        self, rng, monkeypatch, kind, dtype, weighted, columns, seed, near
    ):
        """Of every width, near and far, with random signs, at rank 4 and of the biases alone."""
        monkeypatch.setattr(threads, "_NEAR", near)
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        backend = open_kind(kind)
        for used in (6, 2):
            Z[:, used:], Y[:, used:] = 0, 0
            R = weights * (X - 0.3 - Z @ Y.T)
            signed = R * random_signs(*R.shape, seed) if seed else R
            for lines, z, y, exact in ((seen.by_row, Z, Y, signed), (seen.by_col, Y, Z, signed.T)):
                product = backend.products(lines, z, y, dtype(0.3), seed)
                for _ in range(2):
                    other = rng.normal(size=(len(y), columns)).astype(dtype)
                    out = product(other)
                    assert out.dtype == dtype
                    close(out, exact @ other, TOLERANCE[dtype])

    @pytest.mark.parametrize("rank", [4, 10, 30])
    def test_what_a_look_sees(self, rng, kind, dtype, weighted, rank):
        """E, Σ_i z_i (R y)_i, R Y, and a function that multiplies by R; from both sides."""
        seen, X, weights, *_ = problem(rng, dtype, weighted)
        Z, Y = (rng.normal(size=(side, width(rank))).astype(dtype) for side in X.shape)
        R, backend = weights * (X - 0.3 - Z @ Y.T), open_kind(kind)
        energy = 0.5 * (R * (X - 0.3 - Z @ Y.T)).sum(dtype=float)
        for lines, z, y, exact in ((seen.by_row, Z, Y, R), (seen.by_col, Y, Z, R.T)):
            sides = lines, z, y, dtype(0.3)
            kept_look, own, product = backend.keep(*sides)
            for found in (kept_look, backend.look(*sides)):
                assert found.energy == pytest.approx(energy, rel=TOLERANCE[dtype])
                close(found.pull, (z * (exact @ y)).sum(axis=0), TOLERANCE[dtype])
            close(own, exact @ y, TOLERANCE[dtype])
            for columns in (1, 5):
                other = rng.normal(size=(len(y), columns)).astype(dtype)
                close(product(other), exact @ other, TOLERANCE[dtype])

    @pytest.mark.parametrize("steps", [0, 1, 2])
    @pytest.mark.parametrize("ridge", [0.0, 0.7])
    def test_biases_alone_are_ridge_means(self, rng, kind, dtype, weighted, steps, ridge):
        """a_i = Σ w (x − μ − b_j) / (Σ w + β), and the biases of the columns alike."""
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        Z[:, 1], Y[:, 0], Z[:, 2:], Y[:, 2:] = 1, 1, 0, 0
        sides = ((seen.by_row, 0, Z, Y, weights, X), (seen.by_col, 1, Y, Z, weights.T, X.T))
        for lines, column, mine, others, w, x in sides:
            new = mine.copy()
            out = open_kind(kind).solve_biases(lines, new, others, dtype(0.3), column, ridge, steps)
            gap = x - 0.3 - mine @ others.T
            assert out.energy == pytest.approx(0.5 * (w * gap**2).sum(), rel=TOLERANCE[dtype])
            exact = mine.copy()
            some = (lines.counts > 0) & (steps > 0)
            means = (w * (x - 0.3 - others[:, 1 - column])).sum(axis=1)
            exact[some, column] = (means / np.maximum(w.sum(axis=1) + ridge, 1e-30))[some]
            if ridge and steps:
                exact[~some, column] = 0
            close(new, exact, 10 * TOLERANCE[dtype])

    def test_solve_with_many_steps_is_ridge_regression(self, rng, kind, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        ridge = rng.uniform(0.2, 1.0, Z.shape[1]).astype(dtype)
        extra = rng.uniform(0.1, 0.4, Z.shape[1]).astype(dtype)
        scale = rng.uniform(0.5, 2.0, len(Z)).astype(dtype)
        free = np.ones(Z.shape[1], dtype)
        free[2] = 0  # stays where it is
        new = Z.copy()
        energy, pull, bend = open_kind(kind).solve(
            seen.by_row, new, Y, dtype(0.3), ridge, extra, scale, free, 60
        )
        gap = X - 0.3 - Z @ Y.T
        assert energy == pytest.approx(0.5 * (weights * gap**2).sum(), rel=TOLERANCE[dtype])
        close(pull, (Z * ((weights * gap) @ Y)).sum(axis=0), 30 * TOLERANCE[dtype])
        exact = (Z**2 * (weights @ Y**2)).sum(axis=0)
        np.testing.assert_allclose(bend, exact, rtol=30 * TOLERANCE[dtype])
        some = free > 0
        for i in range(len(Z)):
            A = (Y[:, some].T * weights[i]) @ Y[:, some] + np.diag((ridge * scale[i] + extra)[some])
            right = (weights[i] * (X[i] - 0.3 - Z[i, 2] * Y[:, 2])) @ Y[:, some]
            exact = np.linalg.solve(A, right)
            np.testing.assert_allclose(new[i, some], exact, rtol=0, atol=200 * TOLERANCE[dtype])
        np.testing.assert_array_equal(new[:, 2], Z[:, 2])

    @pytest.mark.parametrize("rank", [7, 15, 30])
    def test_a_step_of_wider_sides(self, rng, kind, dtype, weighted, rank):
        """One step along the preconditioned gradient to the bottom, line by line, and what was seen
        before."""
        seen, X, weights, *_ = problem(rng, dtype, weighted)
        Z, Y = (rng.normal(size=(side, width(rank))).astype(dtype) for side in X.shape)
        ridge = rng.uniform(0.2, 1.0, Z.shape[1]).astype(dtype)
        one, none, new = np.ones_like(ridge), np.zeros_like(ridge), Z.copy()
        how = dtype(0.3), ridge, none, np.ones(len(Z), dtype), one, 1
        found = open_kind(kind).solve(seen.by_row, new, Y, *how)
        gap, z, y = X - 0.3 - Z @ Y.T, Z.astype(float), Y.astype(float)
        bend = weights @ y**2
        gradient = (weights * gap) @ y - ridge * z
        direction = gradient / (bend + ridge)
        curve = (weights * (direction @ y.T) ** 2).sum(axis=1) + direction**2 @ ridge
        length = (gradient * direction).sum(axis=1) / curve
        close(new, z + length[:, None] * direction, 10 * TOLERANCE[dtype])
        assert found.energy == pytest.approx(0.5 * (weights * gap**2).sum(), rel=TOLERANCE[dtype])
        close(found.pull, (z * ((weights * gap) @ y)).sum(axis=0), 30 * TOLERANCE[dtype])
        np.testing.assert_allclose(found.bend, (z**2 * bend).sum(axis=0), rtol=TOLERANCE[dtype])

    def test_every_step_lowers_the_ridge_objective_of_every_line(self, rng, kind, dtype, weighted):
        seen, X, weights, Z, Y = problem(rng, dtype, weighted)
        ridge = rng.uniform(0.01, 1.0, Z.shape[1]).astype(dtype)
        one, none = np.ones(Z.shape[1], dtype), np.zeros(Z.shape[1], dtype)

        def value(P):
            P = P.astype(float)
            return 0.5 * (weights * (X - P @ Y.T) ** 2).sum(axis=1) + 0.5 * P**2 @ ridge

        values = [value(Z)]
        for steps in range(1, 4 if kind == "devices" else 6):  # JAX compiles each number of steps
            new = Z.copy()
            scale = np.ones(len(Z), dtype)
            open_kind(kind).solve(seen.by_row, new, Y, dtype(0), ridge, none, scale, one, steps)
            values.append(value(new))
        rounding = 10 * TOLERANCE[dtype]
        for before, after in itertools.pairwise(values):
            assert np.all(after <= before + rounding * (1 + before))
        assert np.all(values[3] < values[0])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("r", [1, 3, 6])
def test_badly_scaled_designs_agree_with_the_normal_equations(rng, weighted, r):
    """Columns of sizes 1 … 10⁻³, on every backend."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        seen, X, weights, Z, Y = problem(rng, weighted=weighted, m=14, n=9, density=0.7)
        Y[:, :r] *= np.logspace(0, -3, r)
        ridge, free = np.zeros(Z.shape[1]), np.zeros(Z.shape[1])
        ridge[:r], free[:r], Z[:, r:] = rng.uniform(0.01, 2, r), 1, 0
        exact = [
            np.linalg.solve(Y[:, :r].T * w @ Y[:, :r] + np.diag(ridge[:r]), (w * x) @ Y[:, :r])
            for x, w in zip(X, weights, strict=True)
        ]
        for kind in KINDS:
            new, one = Z.copy(), np.ones(len(Z))
            open_kind(kind).solve(
                seen.by_row, new, Y, np.float64(0), ridge, 0 * ridge, one, free, 400
            )
            np.testing.assert_allclose(new[:, :r], exact, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["loops", "devices"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
class TestAgreeWithDense:
    """The same numbers as `Dense`, on lines of all lengths, some of them without entries."""

    def sparse(self, rng, dtype):
        """Rows of 0 … 12 entries, fewer than the width of the sides."""
        m, n = 40, 12
        count = rng.integers(0, n + 1, m)
        mask = rng.random((m, n)).argsort(axis=1) < count[:, None]
        mask[:, 4] = False
        rows, cols = np.nonzero(mask)
        values, weights = rng.normal(size=len(rows)), rng.uniform(0.2, 3.0, len(rows))
        seen = Observations.from_triples(rows, cols, values, (m, n), weights=weights, dtype=dtype)
        Z, Y = (rng.normal(size=(side, width(5))).astype(dtype) for side in (m, n))
        return seen, Z, Y

    def value(self, seen, Z, Y, ridge):
        """What `solve` lowers, line by line."""
        rows, cols, values = seen.triples()
        gap = values - 0.1 - (Z[rows].astype(float) * Y[cols]).sum(axis=1)
        squares = np.bincount(rows, seen.by_row.weights * gap**2, len(Z))
        return 0.5 * squares + 0.5 * ridge * np.square(Z[:, :6], dtype=float).sum(axis=1)

    @pytest.mark.parametrize("ridge", [0.0, 0.7])
    @pytest.mark.parametrize("steps", [0, 1, 2, 5])
    def test_solve(self, rng, kind, dtype, ridge, steps):
        seen, Z, Y = self.sparse(rng, dtype)
        scale = rng.uniform(0.5, 2.0, len(Z)).astype(dtype)
        how = np.full(Z.shape[1], ridge, dtype), np.zeros(Z.shape[1], dtype), scale
        free = (np.arange(Z.shape[1]) < 6).astype(dtype)
        one, other = Z.copy(), Z.copy()
        first = Dense().solve(seen.by_row, one, Y, dtype(0.1), *how, free, steps)
        second = open_kind(kind).solve(seen.by_row, other, Y, dtype(0.1), *how, free, steps)
        for found, exact in zip(second, first, strict=True):
            close(found, exact, AGREE[dtype])
        if dtype == np.float64 or steps < 3:
            close(other, one, AGREE[dtype])
        else:  # rounding moves lines along directions that their few entries hardly determine
            close(*(self.value(seen, Z, Y, ridge * scale) for Z in (other, one)), AGREE[dtype])
        empty = seen.by_row.counts == 0
        assert empty.any()
        if ridge == 0.0 or not steps:
            np.testing.assert_array_equal(other[empty], Z[empty])
        else:  # only the penalty pulls: to 0
            close(other[empty][:, :6], 0.0, AGREE[dtype])

    @pytest.mark.parametrize("seed", [0, 3, 2**31 - 1])
    def test_residual_matmul(self, rng, kind, dtype, seed):
        seen, Z, Y = self.sparse(rng, dtype)
        for lines, z, y in ((seen.by_row, Z, Y), (seen.by_col, Y, Z)):
            X = rng.normal(size=(len(y), 3)).astype(dtype)
            one = Dense().residual_matmul(lines, z, y, X, dtype(0.1), seed)
            other = open_kind(kind).residual_matmul(lines, z, y, X, dtype(0.1), seed)
            close(other, one, AGREE[dtype])
            assert not other[lines.counts == 0].any()

    @pytest.mark.parametrize("shifted", [False, True])
    def test_draw(self, rng, kind, dtype, shifted):
        seen, Z, Y = self.sparse(rng, dtype)
        other, f = Y[:, :4].astype(float), 4
        root = rng.normal(size=(f, f))
        prior, pull = root @ root.T + np.eye(f), rng.normal(size=f)
        shift = rng.normal(size=(len(Z) if shifted else 0, f))
        noise = rng.normal(size=(len(Z), f))
        given = seen.by_row, other, 0.1, 2.5, prior, pull, shift, noise
        for found, exact in zip(open_kind(kind).draw(*given), Dense().draw(*given), strict=True):
            close(found, exact, AGREE[dtype])
        draws, centres, _ = Dense().draw(*given)
        empty = seen.by_row.counts == 0
        exact = np.linalg.solve(prior, (pull + (shift[empty] if shifted else 0.0 * Z[empty, :f])).T)
        close(centres[empty], exact.T, 1e-10)
        assert (draws != centres).all()

    def test_leverage(self, rng, kind, dtype):
        """Of lines ``asked`` that are not the other side; questions in any order, and repeated."""
        seen, Z, Y = self.sparse(rng, dtype)
        other, asked = Y[:, :5].astype(float), rng.normal(size=(7, 5))
        ridge, scale = rng.uniform(0.1, 1.0, 5), rng.uniform(0.5, 2.0, len(Z))
        mine, theirs = rng.integers(0, len(Z), 200), rng.integers(0, 7, 200)
        given = seen.by_row, mine, theirs, other, ridge, scale, asked
        one, two = Dense().leverage(*given), open_kind(kind).leverage(*given)
        close(two, one, AGREE[np.float64])
        rows, cols, _ = seen.triples()
        for t in range(0, 200, 20):
            y = other[cols[rows == mine[t]]]
            w = seen.by_row.weights[rows == mine[t]]
            A = (y.T * w) @ y + np.diag(np.append(ridge[:-1] * scale[mine[t]], ridge[-1]))
            assert two[t] == pytest.approx(asked[theirs[t]] @ np.linalg.solve(A, asked[theirs[t]]))

    def test_leverage_without_a_ridge(self, rng, kind, dtype):
        """Lines that their entries determine agree; of the others nothing is known."""
        seen, Z, Y = self.sparse(rng, dtype)
        other = asked = Y[:, :5].astype(float)
        mine, theirs = np.repeat(np.arange(len(Z)), 12), np.tile(np.arange(12), len(Z))
        given = seen.by_row, mine, theirs, other, np.zeros(5), np.ones(len(Z)), asked
        one, two = Dense().leverage(*given), open_kind(kind).leverage(*given)
        known = seen.by_row.counts[mine] > 6
        np.testing.assert_allclose(two[known], one[known], rtol=1e-6)
        unknown = seen.by_row.counts[mine] == 0
        assert min(one[unknown].min(), two[unknown].min()) > 1e100

    def test_predict(self, rng, kind, dtype):
        _, Z, Y = self.sparse(rng, dtype)
        rows, cols = rng.integers(0, len(Z), 30), rng.integers(0, len(Y), 30)
        found = open_kind(kind).predict(rows, cols, Z, Y, 0.7)
        assert found.dtype == dtype
        close(found, 0.7 + (Z[rows] * Y[cols]).sum(axis=1), 10 * TOLERANCE[dtype])


def test_loops_refuse_sides_that_end_between_their_steps(rng):
    seen, *_, Z, Y = problem(rng)
    for columns in (1, 2, 4, 9):
        narrow = [np.ones((len(side), columns)) for side in (Z, Y)]
        with pytest.raises(IndexError, match=f"width of the sides, {columns}, is no multiple"):
            Loops().look(seen.by_row, *narrow, np.float64(0))


def test_threads_share_memory_for_residuals(rng):
    """Many take and give back at once; none has what another one uses."""
    seen, X, weights, Z, Y = problem(rng)
    lines, backend, other = seen.by_row, Loops(), rng.normal(size=(len(Y), 3))

    def work(k):
        mean = np.float64(k % 5)
        found = backend.products(lines, Z, Y, mean, 0)(other)
        return np.abs(found - (weights * (X - mean - Z @ Y.T)) @ other).max()

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(2000))) < 1e-10


def test_residuals_are_kept_apart(rng):
    """Memory goes from a product that is gone to a new one, never from one that is in use."""
    seen, X, weights, Z, Y = problem(rng)
    lines, backend, other = seen.by_row, Loops(), rng.normal(size=(len(Y), 3))
    products, exact = [], []
    for k in range(5):
        mean = np.float64(k)
        products.append(backend.keep(lines, Z, Y, mean).product)
        exact.append((weights * (X - mean - Z @ Y.T)) @ other)
        if k == 2:
            del products[0], exact[0]
        for found, right in zip(products, exact, strict=True):
            close(found(other), right, 1e-12)
    del products, found
    assert len(backend._spare) == 2
    again = [backend.products(lines, Z, Y, np.float64(0.5), seed) for seed in (0, 1, 2)]
    assert not backend._spare
    close(again[0](other), (weights * (X - 0.5 - Z @ Y.T)) @ other, 1e-12)
    single = problem(rng, np.float32)[0].by_row  # of another type
    assert backend.keep(single, *(x.astype(np.float32) for x in (Z, Y)), np.float32(0)).product


@pytest.mark.parametrize("kind", [Dense, Loops])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_nothing(rng, monkeypatch, kind, dtype):
    """Bit by bit, with several blocks of lines."""
    from deeplinear.completion.backends import base, dense

    monkeypatch.setattr(observations_module, "BLOCK", 60)
    monkeypatch.setattr(base, "_CELLS", 100)
    monkeypatch.setattr(dense, "_SMALL", 64)
    seen, _, _, Z, Y = problem(rng, dtype, True)
    assert len(seen.by_row.blocks) > 3
    X = rng.normal(size=(len(Y), 3)).astype(dtype)
    other, noise = Y[:, :4].astype(float), rng.normal(size=(len(Z), 4))
    prior, pull, shift = np.eye(4), np.zeros(4), np.zeros((0, 4))
    mine, theirs = rng.integers(0, len(Z), 50), rng.integers(0, len(Y), 50)
    ridge, one = np.full(Z.shape[1], 0.3, dtype), np.ones(len(Z), dtype)
    free = np.ones(Z.shape[1], dtype)

    def everything(backend):
        new = Z.copy()
        passed = backend.solve(seen.by_row, new, Y, dtype(0), ridge, 0 * ridge, one, free, 3)
        return [
            new,
            *passed,
            backend.residual_matmul(seen.by_row, Z, Y, X, dtype(0), 5),
            backend.products(seen.by_row, Z, Y, dtype(0), 5)(X),
            *backend.pulls(seen.by_row, seen.by_col, Z, Y, dtype(0)),
            backend.products(seen.by_row, Z, Y, dtype(0), 5)(X[:, :1]),
            *backend.keep(seen.by_row, Z, Y, dtype(0))[0],
            backend.keep(seen.by_row, Z, Y, dtype(0)).own,
            *backend.look(seen.by_row, Z, Y, dtype(0)),
            *backend.draw(seen.by_row, other, 0.0, 2.0, prior, pull, shift, noise),
            backend.leverage(
                seen.by_row, mine, theirs, other, np.ones(4), one.astype(float), other
            ),
            backend.predict(mine, theirs, Z, Y, 0.1),
        ]

    alone = everything(kind())
    with ThreadPoolExecutor(3) as pool:
        for found, exact in zip(everything(kind(pool)), alone, strict=True):
            np.testing.assert_array_equal(found, exact)


def test_the_order_of_blocks_is_the_order_of_the_sums():
    with ThreadPoolExecutor(3) as pool:
        backend = Dense(pool)
        assert backend.run([(0, 2), (2, 5), (5, 6)], lambda lo, hi: hi - lo) == [2, 3, 1]
    parts = [(1.0, np.ones(2), np.zeros(2)), (2.0, np.ones(2), np.ones(2))]
    energy, pull, bend = total(parts)
    assert (energy, pull.tolist(), bend.tolist()) == (3.0, [2.0, 2.0], [1.0, 1.0])
