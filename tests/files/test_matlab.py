"""MATLAB files: one matrix is completed, the bytes of all other variables stay."""

import io
import struct
import warnings

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from damaged_files import FORMATS, MATRIX
from table_files import file, write_back

from deeplinear.errors import InputError
from deeplinear.files import matlab, read_table

FILLED = np.where(np.isnan(MATRIX), 0.25, MATRIX)
OTHERS = {
    "n": 3,
    "vector": np.arange(5.0),
    "text": "hello",
    "s": {"a": [1, 2], "b": "x"},
    "cell": np.array(["a", 1], object),
    "sparse": sp.eye_array(3).tocsc(),
    "z": np.array([[1j, 2], [3, 4]]),
}


@pytest.mark.parametrize("compressed", [False, True])
class TestVersion5:
    @pytest.mark.parametrize("dtype", ["f4", "f8"])
    def test_only_the_matrix_changes(self, tmp_path, dtype, compressed):
        variables = {"n": 3, "X": MATRIX.astype(dtype), **OTHERS}
        scipy.io.savemat(tmp_path / "a.mat", variables, do_compression=compressed)
        table = read_table(tmp_path / "a.mat")
        np.testing.assert_array_equal(table.values, MATRIX.astype(dtype))
        assert table.describe().startswith("X: 4 × 3 matrix, 2 of 12")
        out = write_back(table, tmp_path / "b.mat")
        found = scipy.io.loadmat(out)
        np.testing.assert_array_equal(found["X"], FILLED.astype(dtype))
        assert found["X"].dtype == dtype
        before, after = (matlab._elements(p.read_bytes()) for p in (tmp_path / "a.mat", out))
        assert [a == b for a, b in zip(before, after, strict=True)].count(False) == 1
        assert scipy.io.whosmat(out) == scipy.io.whosmat(tmp_path / "a.mat")

    def test_integers_and_logicals_with_a_mask_become_double(self, tmp_path, compressed):
        mask = file(tmp_path, "m.csv", "1,0\n0,0\n")
        for dtype in ("i2", "u8", "?"):
            array = np.array([[0, 1], [1, 0]], dtype)
            scipy.io.savemat(tmp_path / "a.mat", {"X": array}, do_compression=compressed)
            out = write_back(read_table(tmp_path / "a.mat", mask=mask), tmp_path / "b.mat")
            assert scipy.io.whosmat(out) == [("X", (2, 2), "double")]
            np.testing.assert_array_equal(scipy.io.loadmat(out)["X"], [[0.25, 1], [1, 0]])

    def test_several_matrices(self, tmp_path, compressed):
        variables = {"X": MATRIX, "Y": MATRIX * 2, "k": 1, "sparse": OTHERS["sparse"]}
        scipy.io.savemat(tmp_path / "a.mat", variables, do_compression=compressed)
        with pytest.raises(InputError, match=r"2 two-dimensional arrays \('X', 'Y'\).*--variable"):
            read_table(tmp_path / "a.mat")
        out = write_back(read_table(tmp_path / "a.mat", variable="Y"), tmp_path / "b.mat")
        np.testing.assert_array_equal(scipy.io.loadmat(out)["X"], MATRIX)
        assert scipy.io.loadmat(out)["Y"][0, 1] == 0.25
        with pytest.raises(
            InputError, match=r"--variable: .* called 'sparse'; it has 'X', 'Y', 'k'"
        ):
            read_table(tmp_path / "a.mat", variable="sparse")

    def test_a_vector_where_there_is_nothing_else(self, tmp_path, compressed):
        vector = {"longer_than_four": [1.5, np.nan, 2, 3]}
        scipy.io.savemat(tmp_path / "a.mat", vector, do_compression=compressed)
        out = write_back(read_table(tmp_path / "a.mat"), tmp_path / "b.mat")
        found = scipy.io.loadmat(out)["longer_than_four"]
        np.testing.assert_array_equal(found, [[1.5, 0.25, 2, 3]])


class TestOtherFiles:
    def test_whole_numbers_that_matlab_stores_in_bytes(self, tmp_path):
        """As MATLAB does to save room: a double array whose entries are stored as uint8."""
        scipy.io.savemat(tmp_path / "a.mat", {"X": np.array([[1, 2], [3, 4]], "u1")})
        data = bytearray((tmp_path / "a.mat").read_bytes())
        data[128 + 16] = 6  # the class: double
        path, mask = file(tmp_path, "a.mat", bytes(data)), file(tmp_path, "m.csv", "0,1\n0,0\n")
        np.testing.assert_array_equal(scipy.io.loadmat(path)["X"], [[1, 2], [3, 4]])
        out = write_back(read_table(path, mask=mask), tmp_path / "b.mat")
        np.testing.assert_array_equal(scipy.io.loadmat(out)["X"], [[1, 0.25], [3, 4]])

    def test_big_endian(self, tmp_path):
        """Written by hand, as computers of another byte order did."""
        name, entries = b"X", MATRIX.astype(">f8").tobytes(order="F")
        parts = [(6, struct.pack(">II", 6, 0)), (5, struct.pack(">ii", 4, 3)), (1, name)]
        body = b"".join(
            struct.pack(">II", kind, len(part)) + part + bytes(-len(part) % 8)
            for kind, part in [*parts, (9, entries)]
        )
        head = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x01\x00MI"
        path = file(tmp_path, "a.mat", head + struct.pack(">II", 14, len(body)) + body)
        np.testing.assert_array_equal(scipy.io.loadmat(path)["X"], MATRIX)
        out = write_back(read_table(path), tmp_path / "b.mat")
        np.testing.assert_array_equal(scipy.io.loadmat(out)["X"], FILLED)

    def test_private_data_behind_the_matrix_are_found_again(self, tmp_path):
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"X": MATRIX, "last": np.eye(1)}, do_compression=True)
        data = bytearray(buffer.getvalue())
        sizes = [len(element) for element in matlab._elements(bytes(data))]
        data[116:124] = struct.pack("<Q", sum(sizes[:2]))
        path = file(tmp_path, "a.mat", bytes(data))
        out = write_back(read_table(path), tmp_path / "b.mat").read_bytes()
        (place,) = struct.unpack("<Q", out[116:124])
        assert out[place:] == bytes(data)[sum(sizes[:2]) :]

    def test_version_7_3_is_hdf5_with_the_axes_exchanged(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        FORMATS["mat 7.3"][1](tmp_path / "a.mat")
        with h5py.File(tmp_path / "a.mat", "r+") as made:
            made["n"] = np.ones((1, 1))
            made["text"] = np.zeros((5, 2), "u2")
            made["text"].attrs["MATLAB_class"] = np.bytes_("char")
            made["#refs#/a"] = np.zeros((3, 3))
        table = read_table(tmp_path / "a.mat")
        np.testing.assert_array_equal(table.values, MATRIX)
        out = write_back(table, tmp_path / "b.mat")
        assert out.read_bytes().startswith(b"MATLAB 7.3")
        with h5py.File(out, "r") as found:
            np.testing.assert_array_equal(found["X"][()].T, FILLED)
            assert found["X"].attrs["MATLAB_class"] == b"double"

    def test_version_7_3_integers(self, tmp_path):
        h5py = pytest.importorskip("h5py")
        FORMATS["mat 7.3"][1](tmp_path / "a.mat")
        with h5py.File(tmp_path / "a.mat", "r+") as made:
            del made["X"]
            made["X"] = np.arange(6, dtype="i4").reshape(3, 2)
            made["X"].attrs["MATLAB_class"] = np.bytes_("int32")
        mask = file(tmp_path, "m.csv", "0,1,0\n0,0,0\n")
        out = write_back(read_table(tmp_path / "a.mat", mask=mask), tmp_path / "b.mat")
        with h5py.File(out, "r") as found:
            np.testing.assert_array_equal(found["X"][()].T, [[0, 0.25, 4], [1, 3, 5]])
            assert found["X"].attrs["MATLAB_class"] == b"double"

    def test_version_4_is_refused(self, tmp_path):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scipy.io.savemat(tmp_path / "a.mat", {"X": MATRIX}, format="4")
        with pytest.raises(InputError, match="not of MATLAB's version 5 or later"):
            read_table(tmp_path / "a.mat")

    def test_nothing_to_complete(self, tmp_path):
        scipy.io.savemat(tmp_path / "a.mat", {"s": OTHERS["s"], "z": OTHERS["z"]})
        with pytest.raises(InputError, match=r"0 two-dimensional arrays \(none\); give a file"):
            read_table(tmp_path / "a.mat")
        scipy.io.savemat(tmp_path / "b.mat", {"X": np.eye(2)})
        with pytest.raises(InputError, match="has no missing entry"):
            read_table(tmp_path / "b.mat")
