"""Where a table may be written, and which files are tables."""

import pytest
from table_files import file

from deeplinear.atomic import write_atomically
from deeplinear.errors import InputError
from deeplinear.files import check_output, read_table


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
