"""Damaged files of every format: a sentence that names the file, or a table; nothing else."""

import warnings

import numpy as np
import pytest
import scipy.sparse
from damaged_files import FORMATS, damages, sparse_archive

from deeplinear.errors import InputError
from deeplinear.files import read_table
from deeplinear.files.long import read_long

NEEDS = {"parquet": "pyarrow", "feather": "pyarrow", "arrow stream": "pyarrow", "excel": "openpyxl"}
NEEDS |= dict.fromkeys(("mat 7.3", "hdf5", "anndata", "anndata sparse"), "h5py")


def survive(path, data, count, read):
    """How many damaged copies are refused."""
    rng, messages = np.random.default_rng(5), []
    for damaged in damages(data, rng, count):
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(path)
        except InputError as error:
            messages.append(str(error))
    assert all(str(path) in message and "\n" not in message for message in messages)
    return len(messages)


def read_and_write(path):
    table = read_table(path)
    table.encode(np.zeros(table.values.shape), path.suffix)


def check_tables(tmp_path, name, count):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    file_name, write = FORMATS[name]
    path = tmp_path / file_name
    write(path)
    read_and_write(path)
    assert survive(path, path.read_bytes(), count, read_and_write) > count / 4


@pytest.mark.parametrize("name", FORMATS)
def test_tables(tmp_path, name):
    check_tables(tmp_path, name, 3 if NEEDS.get(name) == "h5py" else 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_tables(tmp_path, name):
    check_tables(tmp_path, name, 200 if NEEDS.get(name) == "h5py" else 1000)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_sparse_archives(tmp_path, form):
    path = tmp_path / "a.npz"
    sparse_archive(path, form)
    assert survive(path, path.read_bytes(), 100, read_long) > 50


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_sparse_archives_with_wrong_numbers(tmp_path, form):
    """Whose check sums agree: compiled code would follow them out of its memory."""
    path, rng = tmp_path / "a.npz", np.random.default_rng(3)
    sparse_archive(path, form)
    with np.load(path) as archive:
        arrays = dict(archive)
    keys = sorted(set(arrays) & {"indptr", "indices", "row", "col", "shape"})
    for _ in range(200):
        changed = {key: array.copy() for key, array in arrays.items()}
        key = keys[rng.integers(len(keys))]
        changed[key].flat[rng.integers(changed[key].size)] = rng.choice([-1, -(10**9), 10**9, 5])
        np.savez(path, **changed)
        try:
            found = read_long(path)
        except InputError as error:
            assert "cannot be read as a sparse matrix" in str(error)  # noqa: PT017
        else:
            assert (found.rows < found.shape[0]).all()
            assert (found.cols < found.shape[1]).all()


@pytest.mark.parametrize("indptr", [[0, 2, 5, 7, -1], [0, 5, 2, 7, 9], [0, 2, 5, 7, 99], [1, 2]])
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_indptr(tmp_path, form, indptr):
    path = tmp_path / "a.npz"
    sparse_archive(path, form)
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, "indptr": np.array(indptr)})
    with pytest.raises(InputError, match="cannot be read as a sparse matrix"):
        read_long(path)


@pytest.mark.parametrize("form", ["coo", "dia", "bsr"])
@pytest.mark.parametrize("change", ["real", "one axis", "few", "table"])
def test_parts_of_other_kinds_and_shapes(tmp_path, form, change):
    """SciPy would cut fractions off, and put an entry elsewhere."""
    path = tmp_path / "a.npz"
    sparse_archive(path, form)
    with np.load(path) as archive:
        arrays = dict(archive)
    name = {"coo": "row", "dia": "offsets", "bsr": "indices"}[form]
    if change == "real":
        arrays[name] = arrays[name] + 0.25
    elif change == "one axis":
        arrays["shape"] = arrays["shape"][:1]
    elif change == "few":
        arrays[name] = arrays[name][:-1]
    else:
        arrays[name] = arrays[name][None, None]
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="cannot be read as a sparse matrix"):
        read_long(path)


def test_a_sparse_vector(tmp_path):
    path = tmp_path / "a.npz"
    scipy.sparse.save_npz(path, scipy.sparse.coo_array(np.array([1.0, 0.0, 2.0])))
    with pytest.raises(InputError, match="cannot be read as a sparse matrix"):
        read_long(path)
