"""The choice of how strongly features count."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from deeplinear.completion.data.holdout import held_out_mask
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver.fit import fit
from deeplinear.completion.solver.selection import hold_out
from deeplinear.completion.solver.side_choice import choose_sides
from deeplinear.completion.solver.side_information import Side


@pytest.fixture
def problem():
    rng = np.random.default_rng(5)
    X, Q = rng.normal(size=(120, 3)), rng.normal(size=(60, 3))
    i, j = np.nonzero(rng.random((120, 60)) < 0.15)
    values = (X @ Q.T)[i, j] + 0.3 * rng.normal(size=len(i))
    seen = Observations.from_triples(i, j, values, (120, 60))
    held = hold_out(seen, held_out_mask(len(i), 0.15, np.random.RandomState(0)))
    found = fit(held.training, depth=2, strength=0.4, max_rank=5, validation=held.triples)
    return X, held, found


def side(X, held):
    return Side(csr_matrix(X), held.training.by_row.counts > 0)


class TestChooseSides:
    def test_the_held_out_error_is_that_of_the_fit_it_returns(self, problem):
        X, held, found = problem
        choice, informed = choose_sides(found, held, (side(X, held), None), 0)

        def error(one):
            return np.sqrt(np.mean((one.predict(held.rows, held.cols) - held.values) ** 2))

        assert choice.before == pytest.approx(error(found))
        assert choice.after == pytest.approx(error(informed))
        assert choice.after + choice.standard_error < choice.before
        assert choice.shares[0] > 0.9
        assert choice.shares[1] == 0

    def test_the_errors_of_rows_left_out(self, problem):
        X, held, found = problem
        choice, _ = choose_sides(found, held, (side(X, held), None), 0)
        row, column, both = choice.errors
        assert len(row) > 100
        assert len(column) == len(both) == 0
        assert np.sqrt(np.mean(row**2)) < 0.5 * choice.plain[0]

    def test_the_features_of_others_have_no_share(self, problem):
        X, held, found = problem
        for seed in range(3):
            other = np.random.default_rng(seed).permutation(X)
            choice, same = choose_sides(found, held, (side(other, held), None), 0)
            assert choice.shares == (0, 0)
            if not choice.sweeps:
                np.testing.assert_allclose(same.matrix(), found.matrix())
