"""Sparse matrices on file: stored entries, by position."""

import gzip
import lzma

import numpy as np
import pytest
import scipy.io
import scipy.sparse as sp
from long_files import VALUES, entries

from deeplinear.errors import InputError
from deeplinear.files.long import is_long, read_long
from deeplinear.files.text_options import TextOptions


class TestMatrices:
    def test_a_stored_zero_is_an_entry(self, tmp_path):
        matrix = sp.coo_array((VALUES, ([0, 1, 0, 4], [1, 1, 2, 0])), shape=(5, 3))
        scipy.io.mmwrite(tmp_path / "a.mtx", matrix)
        sp.save_npz(tmp_path / "a.npz", matrix.tocsr())
        for name in ("a.mtx", "a.npz"):
            found = read_long(tmp_path / name)
            assert is_long(tmp_path / name)
            assert found.shape == (5, 3)
            truth = {(0, 1): 4.0, (1, 1): 3.5, (0, 2): -1.0, (4, 0): 0.0}
            assert found.positional
            assert entries(found) == truth
            assert len(found) == 4

    def test_a_dense_matrix_market_file_is_observed_everywhere(self, tmp_path):
        scipy.io.mmwrite(tmp_path / "a.mtx", np.array([[0.0, 1.0], [2.0, 3.0]]))
        assert sorted(read_long(tmp_path / "a.mtx").values) == [0.0, 1.0, 2.0, 3.0]

    def test_other_archives_are_tables(self, tmp_path):
        np.savez(tmp_path / "a.npz", np.eye(3))
        assert not is_long(tmp_path / "a.npz")
        assert not is_long(tmp_path / "a.csv")

    def test_refusals(self, tmp_path):
        (tmp_path / "a.mtx").write_text(
            "%%MatrixMarket matrix coordinate pattern general\n2 2 1\n1 1\n"
        )
        with pytest.raises(InputError, match="pattern without values"):
            read_long(tmp_path / "a.mtx")
        (tmp_path / "b.mtx").write_text(
            "%%MatrixMarket matrix coordinate real general\n2 2 1\n5 1 1.0\n"
        )
        with pytest.raises(InputError, match="cannot be read as a sparse matrix"):
            read_long(tmp_path / "b.mtx")
        (tmp_path / "c.mtx").write_text(
            "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1.0\n2 1 nan\n"
        )
        with pytest.raises(InputError, match="row 2, column 1 is not finite"):
            read_long(tmp_path / "c.mtx")
        with pytest.raises(InputError, match="has no named columns"):
            read_long(tmp_path / "c.mtx", "a", "b", "c")

    def test_compressed_and_with_missing_entries(self, tmp_path):
        text = b"%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 3.5\n2 1 -99\n"
        (tmp_path / "a.mtx.xz").write_bytes(lzma.compress(text))
        assert entries(read_long(tmp_path / "a.mtx.xz")) == {(0, 0): 3.5, (1, 0): -99.0}
        options = TextOptions(missing=("-99",))
        with pytest.warns(UserWarning, match="1 entry of .* left out"):
            found = read_long(tmp_path / "a.mtx.xz", text=options)
        assert entries(found) == {(0, 0): 3.5}
        assert found.shape == (2, 2)


@pytest.mark.parametrize("field", ["real", "integer", "complex", "pattern"])
@pytest.mark.parametrize("suffix", [".mtx", ".mtx.gz"])
def test_market_files_that_are_cut_off(tmp_path, field, suffix):
    """SciPy's compiled reader ends the process where a number or a line has no end."""
    whole = f"%%MatrixMarket matrix coordinate {field} general\n3 3 2\n1 1 5\n3 2 7\n".encode()
    tails = [b"", b"-", b"1e", b" ", b"\0", b"-1\0a\n", b"1e99999999999999999999", b" 0x1p", b"\n1"]
    path, refused = tmp_path / f"a{suffix}", 0
    for end in range(whole.index(b"3 3"), len(whole) + 1):
        for tail in tails:
            data = whole[:end] + tail
            path.write_bytes(gzip.compress(data) if suffix == ".mtx.gz" else data)
            try:
                read_long(path)
            except InputError:
                refused += 1
    assert refused > 100
