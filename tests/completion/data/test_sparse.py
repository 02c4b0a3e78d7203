"""Sparse matrices whose parts do not fit together, and entries by hand: refused, never followed."""

import numpy as np
import pytest
import scipy.sparse as sp

import deeplinear as dl
from deeplinear.completion.data.entries import Entries, read_entries
from deeplinear.completion.data.ids import Ids
from deeplinear.completion.data.observations import Compressed, Observations
from deeplinear.completion.solver.fit import fit
from deeplinear.errors import InputError

COLUMNS = ("user", "item", "rating")


def matrix(form):
    rng = np.random.default_rng(4)
    dense = np.where(rng.random((12, 8)) < 0.5, rng.normal(size=(12, 8)), 0)
    return sp.csr_array(dense).asformat(form)


def last(value):
    def change(X):
        X.indptr[-1] = value

    return change


def set_parts(**parts):
    def change(X):
        for name, new in parts.items():
            setattr(X, name, new(getattr(X, name)))

    return change


def swapped(ends):
    ends = ends.copy()
    ends[[3, 4]] = ends[4] + 1, ends[3]
    return ends


CHANGES = {
    "far end": last(10**9),
    "negative end": last(-5),
    "no beginning": set_parts(indptr=lambda x: x + 1),
    "falling": set_parts(indptr=swapped),
    "few lines": set_parts(indptr=lambda x: x[:-2]),
    "many lines": set_parts(indptr=lambda x: np.append(x, x[-1])),
    "table of ends": set_parts(indptr=lambda x: x[None]),
    "real ends": set_parts(indptr=lambda x: x.astype(float)),
    "far index": set_parts(indices=lambda x: x + 10**9),
    "negative index": set_parts(indices=lambda x: x - 10**9),
    "real index": set_parts(indices=lambda x: x.astype(float)),
    "few indices": set_parts(indices=lambda x: x[:4]),
    "few data": set_parts(data=lambda x: x[:4]),
    "texts": set_parts(indices=lambda x: x.astype("U3")),
    "narrow": set_parts(_shape=lambda shape: (shape[0], 2)),
    "flat": set_parts(_shape=lambda shape: (2, shape[1])),
}


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("name", CHANGES)
def test_parts_that_do_not_fit(form, name):
    X = matrix(form)
    CHANGES[name](X)
    with pytest.raises(InputError, match=r"^X is not a valid sparse matrix \(.*\): make it again"):
        read_entries(X, None, COLUMNS)


@pytest.mark.parametrize("name", ["far", "negative", "few rows", "few data", "real"])
def test_coordinates_that_do_not_fit(name):
    X = matrix("coo")
    rows, cols = X.coords
    if name in ("far", "negative"):
        rows[3] = 10**9 if name == "far" else -3
    elif name == "few rows":
        X.coords = (rows[:5], cols)
    elif name == "few data":
        X.data = X.data[:5]
    else:
        X.coords = (rows + 0.5, cols)
    with pytest.raises(InputError, match="of X must"):
        read_entries(X, None, COLUMNS)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "dia", "bsr"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u2", "?"])
def test_every_form_and_type_of_numbers(form, dtype):
    X = matrix("csr")
    X.data = np.ceil(np.abs(X.data))
    X = X.astype(dtype).asformat(form)
    found = read_entries(X, None, COLUMNS)
    dense = np.zeros(X.shape)
    dense[found.rows, found.cols] = found.values
    np.testing.assert_array_equal(dense, X.toarray().astype(float))


def test_the_other_byte_order():
    X = matrix("coo")
    X.data = X.data.astype(">f8")
    found = read_entries(X, None, COLUMNS).observations()
    assert found.dtype == np.dtype("f8")
    assert found.dtype.isnative


def test_unsorted_and_repeated_entries():
    parts = np.array([1.0, 2, 3, 4]), np.array([2, 1, 2, 0]), np.array([0, 3, 4, 4])
    X = sp.csr_array(parts, shape=(3, 3))
    entries = read_entries(X, None, COLUMNS)
    assert entries.cols.tolist() == [2, 1, 2, 0]
    with pytest.raises(InputError, match="must name every entry once"):
        entries.observations()
    seen = entries.observations(duplicates="last")
    assert seen.by_row.values.tolist() == [2.0, 3.0, 4.0]


def by_hand(**changes):
    rows, cols = np.array([0, 1, 2]), np.array([1, 0, 1])
    parts = {"rows": rows, "cols": cols, "values": np.ones(3)}
    parts |= {"row_ids": Ids.positions(3), "col_ids": Ids.positions(2)} | changes
    return Entries(**parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": np.array([0, 1, 10**9])},
        {"rows": np.array([0, 1, -1])},
        {"rows": np.array([0, 1, 1.5])},
        {"rows": np.array([0, 1, np.nan])},
        {"rows": np.array([[0, 1, 2]])},
        {"rows": np.array(["0", "1", "2"])},
        {"cols": np.array([0, 1, 2])},
        {"cols": np.array([0, 1])},
        {"values": np.ones(2)},
        {"values": np.ones(3, complex)},
        {"values": np.array(["1", "2", "3"])},
    ],
)
def test_entries_by_hand(changes):
    with pytest.raises(InputError, match="of X must"):
        dl.DeepMatrixCompletion().fit(by_hand(**changes))


def test_ids_by_hand():
    with pytest.raises(InputError, match="size must be the number of labels"):
        Ids(np.arange(20), 400)


def test_new_lines_without_an_entry_are_known_and_empty():
    """Positions that a taller matrix has, without a stored entry there."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 15))
    fixed = {"strength": 0.3, "validation_fraction": 0, "duplicates": "last"}
    model = dl.DeepMatrixCompletion(2, max_rank=2, random_state=0, **fixed).fit(sp.csr_array(X))
    model.partial_fit(sp.coo_array(([1.0], ([1], [3])), shape=(30, 15)))
    assert len(model.row_ids_) == 30
    with pytest.warns(UserWarning, match="without any entry"):
        assert np.isfinite(model.predict([25], [3]))


def lines(**changes):
    parts = {"indptr": np.array([0, 1, 3]), "indices": np.array([1, 0, 1], np.uint32)}
    parts |= {"values": np.ones(3), "weights": np.zeros(0)} | changes
    return Compressed(**parts)


@pytest.mark.parametrize(
    "changes",
    [
        {"indptr": np.array([0, 1, 10**9])},
        {"indptr": np.array([0, 5, 3])},
        {"indptr": np.array([0, 1, 2])},
        {"indptr": np.array([0.0, 1.0, 3.0])},
        {"indptr": np.array([0, 3])},
        {"indices": np.array([1, 0, 2], np.uint32)},
        {"indices": np.array([1, 0, -1])},
        {"indices": np.array([1, 0], np.uint32)},
        {"values": np.array([1, np.nan, 1])},
        {"values": np.ones(3, int)},
        {"weights": np.ones(2)},
        {"weights": np.array([1.0, 0.0, 1.0])},
    ],
)
def test_observations_by_hand(changes):
    good = Observations.from_triples([0, 1, 1], [1, 0, 1], np.ones(3), (2, 2))
    bad = Observations(lines(**changes), good.by_col, (2, 2))
    for seen in (bad, bad.T):
        with pytest.raises(InputError, match=r"observations|must"):
            fit(seen, max_sweeps=2)
