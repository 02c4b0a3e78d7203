"""Where a table may be written, and which files are tables."""

import numpy as np
import pytest
import scipy.io
from table_files import file

from deeplinear.atomic import write_atomically
from deeplinear.errors import InputError
from deeplinear.files import TextOptions, check_output, read_table


class TestOutput:
    @pytest.fixture
    def table(self, tmp_path):
        return read_table(file(tmp_path, "in.csv", "1,2\n3,\n"))

    def test_an_existing_file_needs_force(self, tmp_path, table):
        path = file(tmp_path, "out.csv", "mine")
        with pytest.raises(InputError, match="add --force"):
            check_output(path, table, force=False, argument="--output")
        check_output(path, table, force=True, argument="--output")
        assert path.read_text() == "mine"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no/out.csv", "does not exist"),
            ("out.parquet", "same kind as the input"),
            (".", "ends in ''"),
        ],
    )
    def test_places_that_cannot_be_written(self, tmp_path, table, name, message):
        with pytest.raises(InputError, match=message):
            check_output(tmp_path / name, table, force=False, argument="--output")

    def test_a_failed_write_leaves_the_old_file_and_no_rest(self, tmp_path):
        path = file(tmp_path, "out.csv", "old")
        with pytest.raises(TypeError):
            write_atomically(path, None)  # type: ignore[arg-type]
        assert path.read_text() == "old"
        assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]

    def test_unknown_and_absent_files(self, tmp_path):
        with pytest.raises(InputError, match=r"unknown type '\.xyz'"):
            read_table(file(tmp_path, "a.xyz", "1"))
        with pytest.raises(InputError, match="does not exist"):
            read_table(tmp_path / "absent.csv")

    def test_an_unknown_type_says_what_can_be_read(self, tmp_path, monkeypatch):
        path = file(tmp_path, "a.xyz", "1")
        found = {"openpyxl": None, "h5py": None}
        known = __import__("importlib.util").util.find_spec
        monkeypatch.setattr(
            "deeplinear.files.find_spec", lambda name: found.get(name, known("math"))
        )
        with pytest.raises(InputError) as raised:
            read_table(path)
        message = str(raised.value)
        assert ".asc, .prn, .npy, .npz, .mat, .png" in message
        assert ".parquet, .pq, .feather, .arrow, or .xlsx, .xlsm after pip install " in message
        assert message.endswith(".h5, .hdf5, .h5ad after pip install 'deeplinear[hdf5]'.")


class TestMarkers:
    """A number that marks missing entries does so in every kind of file, among numbers only."""

    @pytest.mark.parametrize("name", ["a.npy", "a.mat", "a.h5", "a.parquet", "a.xlsx"])
    def test_numbers(self, tmp_path, name):
        matrix, path = np.array([[1.5, -999], [3, 4]]), tmp_path / name
        if name == "a.npy":
            np.save(path, matrix)
        elif name == "a.mat":
            scipy.io.savemat(path, {"X": matrix})
        elif name == "a.h5":
            with pytest.importorskip("h5py").File(path, "w") as made:
                made["X"] = matrix
        elif name == "a.parquet":
            pd = pytest.importorskip("pandas")
            pd.DataFrame(matrix, columns=["x", "y"]).to_parquet(path)
        else:
            book = pytest.importorskip("openpyxl").Workbook()
            for row in [["x", "y"], *matrix.tolist()]:
                book.active.append(row)
            book.save(path)
        table = read_table(path, text=TextOptions(missing=("-999",)))
        np.testing.assert_array_equal(table.values, [[1.5, np.nan], [3, 4]])

    def test_codes_of_categories_are_no_markers(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"c": ["u", "v"] * 2, "flag": [True, False] * 2, "x": [0, 1, 2, 3]})
        frame.to_parquet(tmp_path / "a.parquet")
        table = read_table(tmp_path / "a.parquet", text=TextOptions(missing=("0",)))
        np.testing.assert_array_equal(np.argwhere(np.isnan(table.values)), [[0, 2]])
