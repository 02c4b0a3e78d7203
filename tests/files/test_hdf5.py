"""HDF5 and AnnData: one dataset is completed in a copy of the file."""

import io
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from damaged_files import MATRIX, anndata
from table_files import file, write_back

from deeplinear.errors import InputError
from deeplinear.files import hdf5, hdf5_trial, read_table

h5py = pytest.importorskip("h5py")
FILLED = np.where(np.isnan(MATRIX), 0.25, MATRIX)
SPOILED = Path(__file__).parents[2] / "reliability/corpus/hdf5/spoiled-when-written"


def items(path):
    """Every dataset with its type, storage and attributes."""
    found = {}

    def look(name, item):
        if isinstance(item, h5py.Dataset):
            attributes = {key: np.asarray(value).tolist() for key, value in item.attrs.items()}
            entries = item[()].tolist()
            found[name] = (entries, item.dtype, item.chunks, item.compression, attributes)

    with h5py.File(path, "r") as opened:
        opened.visititems(look)
    return found


class TestHdf5:
    @pytest.mark.parametrize("dtype", ["f4", "f8", ">f8", "f2"])
    @pytest.mark.parametrize("storage", [{}, {"chunks": (2, 2), "compression": "gzip"}])
    def test_one_dataset_changes(self, tmp_path, dtype, storage):
        with h5py.File(tmp_path / "a.h5", "w") as made:
            made.create_dataset("group/X", data=MATRIX.astype(dtype), **storage)
            made["group/X"].attrs["unit"] = "cm"
            made["cube"] = np.arange(8).reshape(2, 2, 2)
            made["names"] = ["a", "b"]
        table = read_table(tmp_path / "a.h5")
        assert table.describe().startswith("group/X: 4 × 3 matrix, 2 of 12")
        before = items(tmp_path / "a.h5")
        after = items(write_back(table, tmp_path / "b.h5"))
        assert after["group/X"][0] == FILLED.astype(dtype).tolist()
        assert after["group/X"][1:] == before["group/X"][1:]
        del before["group/X"], after["group/X"]
        assert after == before

    def test_several_matrices(self, tmp_path):
        with h5py.File(tmp_path / "a.hdf5", "w") as made:
            made["X"], made["g/Y"] = MATRIX, MATRIX * 2
        with pytest.raises(InputError, match=r"2 two-dimensional .*'X', 'g/Y'.*--variable"):
            read_table(tmp_path / "a.hdf5")
        table = read_table(tmp_path / "a.hdf5", variable="/g/Y")
        np.testing.assert_array_equal(table.values, MATRIX * 2)
        with h5py.File(write_back(table, tmp_path / "b.hdf5"), "r") as out:
            np.testing.assert_array_equal(out["X"], MATRIX)
            assert out["g/Y"][0, 1] == 0.25
        with pytest.raises(InputError, match=r"--variable: .* called 'Z'; it has 'X', 'g/Y'"):
            read_table(tmp_path / "a.hdf5", variable="Z")

    def test_values_that_mean_missing(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as made:
            made["X"] = np.array([[1, -999], [3, 4]], "i4")
            made["X"].attrs["_FillValue"] = np.array([-999], "i4")
        table = read_table(tmp_path / "a.h5")
        np.testing.assert_array_equal(table.values, [[1, np.nan], [3, 4]])
        with h5py.File(write_back(table, tmp_path / "b.h5"), "r") as out:
            np.testing.assert_array_equal(out["X"], [[1, 0.25], [3, 4]])
            assert out["X"].attrs["_FillValue"] == -999
        with h5py.File(tmp_path / "a.h5", "r+") as made:
            made["X"].attrs["scale_factor"] = 0.1
        with pytest.raises(InputError, match=r"packed \(scale_factor\)"):
            read_table(tmp_path / "a.h5")

    def test_integers_with_a_mask_become_floats(self, tmp_path):
        with h5py.File(tmp_path / "a.h5", "w") as made:
            made.create_dataset("X", data=np.arange(6).reshape(2, 3), chunks=(1, 3))
        mask = file(tmp_path, "m.csv", "1,0,0\n0,0,1\n")
        out = write_back(read_table(tmp_path / "a.h5", mask=mask), tmp_path / "b.h5")
        assert items(out)["X"][:3] == ([[0.25, 1, 2], [3, 4, 0.25]], np.dtype("f8"), (1, 3))

    def test_data_in_other_files_are_refused(self, tmp_path):
        with h5py.File(tmp_path / "other.h5", "w") as made:
            made["X"] = MATRIX
        layout = h5py.VirtualLayout(shape=MATRIX.shape, dtype="f8")
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "X", shape=MATRIX.shape)
        with h5py.File(tmp_path / "a.h5", "w") as made:
            made.create_virtual_dataset("X", layout)
        with pytest.raises(InputError, match="keeps 'X' in other files"):
            read_table(tmp_path / "a.h5")
        with h5py.File(tmp_path / "b.h5", "w") as made:
            made["X"] = h5py.ExternalLink(tmp_path / "other.h5", "X")
        with pytest.raises(InputError, match=r"0 two-dimensional datasets of numbers \(none\)"):
            read_table(tmp_path / "b.h5")

    def test_without_h5py(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "h5py", None)
        with pytest.raises(InputError, match=r"needs h5py; run: pip install 'deeplinear\[hdf5\]'"):
            read_table(file(tmp_path, "a.h5", b"\x89HDF"))

    def test_a_file_that_ends_the_process_is_refused(self, tmp_path, monkeypatch):
        """Whatever the HDF5 library does with it, another process suffers."""
        path = file(tmp_path, "a.h5", b"\x89HDF")
        for code, words in (("import os; os.abort()", "crashes"), ("while True: pass", "not come")):
            starter = file(tmp_path, "python", f"#!/bin/sh\nexec {__import__('sys').executable} -c "
                           f"'{code}'\n")  # fmt: skip
            starter.chmod(0o755)
            monkeypatch.setattr("deeplinear.files.hdf5_trial._PATIENCE", 1.0)
            with monkeypatch.context() as patch:
                patch.setattr("sys.executable", str(starter))
                with pytest.raises(InputError, match=f"cannot be read as HDF5 .*{words}"):
                    hdf5.read_hdf5(path)

    def test_a_copy_that_cannot_be_written_is_told_and_spoils_nothing(self, tmp_path):
        """Packed chunks of other lengths, in an index that is damaged: the library fails, and this
        process would die at the next file.
        """
        path = file(tmp_path, "a.h5", SPOILED.read_bytes())
        for _ in range(3):
            table = read_table(path)
            with pytest.raises(InputError, match=r"cannot write into 'group/X'.*h5repack"):
                table.encode(np.zeros(table.values.shape), ".h5")
        again = write_back(table, tmp_path / "b.h5")  # what it can write it writes
        assert items(again)["group/X"][0] == FILLED.tolist()

    def test_an_index_that_no_write_survives_is_refused_before_the_work(
        self, tmp_path, monkeypatch
    ):
        def spoilt(*given):
            raise RuntimeError("can't insert duplicate key")

        monkeypatch.setattr(hdf5_trial, "_fill", spoilt)
        path = file(tmp_path, "a.h5", SPOILED.read_bytes())
        code = hdf5_trial.attempt(str(path))
        with pytest.raises(ValueError, match="cannot change it"):
            hdf5_trial.judge(code)


class TestAnndata:
    def test_x_is_completed_and_the_rest_kept(self, tmp_path):
        anndata(tmp_path / "a.h5ad")
        table = read_table(tmp_path / "a.h5ad")
        assert [feature.name for feature in table.features] == ["gene0", "gene1", "gene2"]
        assert table.place(1, 2) == "observation 'cell1', variable 'gene2'"
        before = items(tmp_path / "a.h5ad")
        after = items(write_back(table, tmp_path / "b.h5ad"))
        assert after.pop("X")[0] == FILLED.tolist()
        before.pop("X")
        assert repr(after) == repr(before)  # which has NaN in the layer

    def test_a_layer_can_be_named(self, tmp_path):
        anndata(tmp_path / "a.h5ad")
        table = read_table(tmp_path / "a.h5ad", variable="layers/counts")
        with h5py.File(write_back(table, tmp_path / "b.h5ad"), "r") as out:
            np.testing.assert_array_equal(out["layers/counts"], FILLED.astype("f4"))
            assert out["layers/counts"].dtype == "f4"
            np.testing.assert_array_equal(out["X"], MATRIX)

    @pytest.mark.parametrize("matrix_format", ["csr", "csc"])
    def test_zeros_of_a_sparse_matrix_are_measured(self, tmp_path, matrix_format):
        counts = sp.coo_array(([1.0, 2, 0], ([0, 2, 3], [1, 2, 0])), shape=(4, 3))
        anndata(tmp_path / "a.h5ad", counts.asformat(matrix_format))
        with pytest.raises(InputError, match=r"no missing entry in 'X'.*measured zeros in AnnData"):
            read_table(tmp_path / "a.h5ad")

    @pytest.mark.parametrize("matrix_format", ["csr", "csc"])
    def test_stored_nan_in_a_sparse_matrix_is_missing(self, tmp_path, matrix_format):
        entries = ([1.0, np.nan, 0, np.nan], ([0, 2, 3, 0], [1, 2, 0, 2]))
        matrix = sp.coo_array(entries, shape=(4, 3)).asformat(matrix_format)
        anndata(tmp_path / "a.h5ad", matrix)
        table = read_table(tmp_path / "a.h5ad")
        np.testing.assert_array_equal(table.values, matrix.toarray())
        out = write_back(table, tmp_path / "b.h5ad")
        with h5py.File(out, "r") as found:
            parts = [found["X"][key][()] for key in ("data", "indices", "indptr")]
        completed = type(matrix)(tuple(parts), shape=(4, 3)).toarray()
        np.testing.assert_array_equal(completed, np.nan_to_num(matrix.toarray(), nan=0.25))
        mask = file(tmp_path, "m.csv", "1,0,0\n" + "0,0,0\n" * 3)
        with pytest.raises(InputError, match=r"--mask: 'X' is sparse.*store the matrix dense"):
            read_table(tmp_path / "a.h5ad", mask=mask)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("indptr", [0, 1, 2, 3, -1]),
            ("indptr", [0, 3, 2, 3, 4]),
            ("indptr", [0, 1, 2, 3, 9]),
            ("indices", [0, 1, 2, 3]),
            ("indices", [0, 1, -1, 2]),
            ("data", [1.0]),
        ],
    )
    def test_sparse_parts_that_do_not_fit(self, tmp_path, key, value):
        anndata(tmp_path / "a.h5ad", sp.csr_array(np.diag([1, 2, np.nan, 4.0])[:, [0, 1, 2]]))
        with h5py.File(tmp_path / "a.h5ad", "r+") as made:
            del made["X"][key]
            made["X"][key] = value
        with pytest.raises(InputError, match=r"cannot be read as HDF5 \(.*sparse matrix"):
            read_table(tmp_path / "a.h5ad")

    def test_anndata_reads_the_output(self, tmp_path):
        ad = pytest.importorskip("anndata")
        made = ad.AnnData(MATRIX.copy())
        made.write_h5ad(tmp_path / "a.h5ad")
        out = write_back(read_table(tmp_path / "a.h5ad"), tmp_path / "b.h5ad")
        np.testing.assert_array_equal(ad.read_h5ad(out).X, FILLED)


def test_bytes_in_memory_are_all_that_is_written(tmp_path):
    """The input is not opened for writing."""
    anndata(tmp_path / "a.h5ad")
    before = (tmp_path / "a.h5ad").read_bytes()
    encoded = read_table(tmp_path / "a.h5ad").encode(np.zeros((4, 3)), ".h5ad")
    assert (tmp_path / "a.h5ad").read_bytes() == before
    assert h5py.File(io.BytesIO(encoded), "r")["X"][0, 1] == 0
