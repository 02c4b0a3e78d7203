"""Learning coefficients, against the recursion over ranks, known cases and volumes."""

import functools
import itertools

import numpy as np
import pytest

import deeplinear as dl


@functools.cache
def singular_part(M):
    """2λ at rank 0: f(a, b) = ab, f(a, b, …) = min_t (a − t)(b − t) + f(t, …)."""
    if len(M) == 2:
        return M[0] * M[1]
    a, b, *rest = M
    return min((a - t) * (b - t) + singular_part((t, *rest)) for t in range(min(a, b) + 1))


@pytest.mark.parametrize(("depth", "largest"), [(1, 7), (2, 7), (3, 5), (4, 4), (5, 3)])
def test_against_the_recursion(depth, largest):
    for widths in itertools.product(range(1, largest + 1), repeat=depth + 1):
        for r in range(min(widths) + 1):
            regular = r * (widths[0] + widths[-1] - r)
            expected = (regular + singular_part(tuple(d - r for d in widths))) / 2
            assert dl.learning_coefficient(widths, r).value == expected, (widths, r)


def test_against_the_theorem_for_two_layers():
    """Aoyagi and Watanabe 2005, Theorem 1: input M, hidden H, output N, rank r."""
    for M, H, N in itertools.product(range(1, 8), repeat=3):
        for r in range(min(M, H, N) + 1):
            m = 1
            if N + r <= M + H and M + r <= N + H and H + r <= M + N:
                square = -((H + r) ** 2) - M**2 - N**2
                lam = (square + 2 * (H + r) * (M + N) + 2 * M * N) / 8
                if (M + H + N + r) % 2:
                    lam, m = lam + 1 / 8, 2
            elif N + r > M + H:
                lam = (H * M - H * r + N * r) / 2
            elif M + r > N + H:
                lam = (H * N - H * r + M * r) / 2
            else:
                lam = M * N / 2
            assert dl.learning_coefficient((M, H, N), r) == (lam, m), (M, H, N, r)


def test_known_numbers():
    two = [dl.learning_coefficient((5, 5, 5), r).value for r in range(6)]
    assert two == [9.5, 10.5, 11.5, 12.0, 12.5, 12.5]
    three = [dl.learning_coefficient((5,) * 4, r).value for r in range(6)]
    assert three == [8.5, 10.0, 11.0, 12.0, 12.5, 12.5]
    # one layer is a regular model
    assert dl.learning_coefficient((3, 4), 2) == (6.0, 1)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_product_of_numbers(depth):
    """w_1² ⋯ w_N² < ε has volume √ε (log 1/ε)^{N−1} up to factors."""
    assert dl.learning_coefficient((1,) * (depth + 1), 0) == (0.5, depth)
    assert dl.learning_coefficient((1,) * (depth + 1), 1) == (0.5, 1)


def test_against_volumes():
    """The exact volume of {|w_1 w_2| < √ε} in the unit square, and one by sampling."""
    eps = np.array([1e-6, 1e-12])
    volume = np.sqrt(eps) * (1 - np.log(np.sqrt(eps)))
    lam, m = dl.learning_coefficient((1, 1, 1), 0)
    law = eps**lam * np.log(1 / eps) ** (m - 1)
    assert (volume / law)[1] / (volume / law)[0] == pytest.approx(1, abs=0.08)
    # widths (2, 1, 2) at rank 0: ‖a‖‖b‖ of two vectors in the plane, λ = 1, m = 2
    assert dl.learning_coefficient((2, 1, 2), 0) == (1.0, 2)
    rng = np.random.default_rng(0)
    loss = np.prod(rng.uniform(-1, 1, (2, 4_000_000, 2)).__pow__(2).sum(-1), axis=0)
    share = np.array([(loss < e).mean() for e in (1e-2, 1e-4)])
    law = np.array([1e-2, 1e-4]) * np.log([1e2, 1e4])
    assert (share / law)[1] / (share / law)[0] == pytest.approx(1, abs=0.35)


@pytest.mark.parametrize(
    ("widths", "rank"), [((3,), 0), ((3, 0), 0), ((3, 2.0), 1), ((3, 2), 3), ((3, 2), -1)]
)
def test_sentences(widths, rank):
    with pytest.raises(dl.InputError, match=r"^(widths|rank) must be"):
        dl.learning_coefficient(widths, rank)


def test_the_staircase_of_a_flow():
    """Against λ of the rank of each W, the first rank by the best truncation that is near it."""
    rng = np.random.default_rng(2)
    U, V = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
    s = np.array([1.0, 0.5, 0.25])
    truth = (U[:, :3] * s) @ V[:, :3].T
    start = 1e-5 * U @ V.T
    times = np.array([dl.asymptotics.escape_time(3, 1e-5, x / 2, x) for x in s])
    between = np.array([times[0] / 2, *(times[:-1] * times[1:]) ** 0.5, 3 * times[-1]])
    flow = dl.gradient_flow(
        dl.Completion.from_dense(truth), start, 3, t1=between[-1], saveat=between, rtol=1e-6
    )
    found = dl.asymptotics.learning_staircase(flow.singular_values, (4, 4, 4, 4))
    assert found.rank.tolist() == [0, 1, 2, 3]
    best = [np.zeros((4, 4)), *((U[:, :r] * s[:r]) @ V[:, :r].T for r in (1, 2, 3))]
    for W, M, r in zip(flow.W, best, range(4), strict=True):
        assert np.linalg.norm(W - M) < 0.02
        expected = dl.learning_coefficient((4, 4, 4, 4), r)
        assert (found.coefficient[r], found.multiplicity[r]) == expected
    # batches, and widths that are not all the same
    pair = dl.asymptotics.learning_staircase(np.stack([flow.singular_values] * 2), (5, 3, 4))
    assert pair.rank.tolist() == [[0, 1, 2, 3]] * 2
    assert pair.coefficient[1].tolist() == [
        dl.learning_coefficient((5, 3, 4), r).value for r in range(4)
    ]


def test_singular_values_that_do_not_grow_are_no_rank():
    path = [[1e-3, 1e-3, 1e-3], [1.0, 1e-3, 1e-3]]
    assert dl.asymptotics.learning_staircase(path, (3, 3, 3)).rank.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("path", "widths"),
    [
        ([1.0, 0.5], (2, 2)),
        ([[1.0, -0.5]], (2, 2)),
        ([[np.nan, 0.5]], (2, 2)),
        ([[1.0, 0.5]], (1, 2)),
        ([[1.0, 0.5]], (2, 1, 2)),
    ],
)
def test_sentences_of_the_staircase(path, widths):
    with pytest.raises(dl.InputError, match=r"^(widths|singular_values) must"):
        dl.asymptotics.learning_staircase(path, widths)
