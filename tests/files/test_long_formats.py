"""Files that list entries: what is read is what is there, in pieces, and trouble is told with its
line.
"""

import gzip

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from deeplinear.errors import InputError
from deeplinear.files import columns
from deeplinear.files.long import is_long, read_long

USERS = ["ann", "bob", "ann", "eve"]
ITEMS = [10, 10, 30, 20]
VALUES = [4.0, 3.5, -1.0, 0.0]


def triples(found):
    """(row ids, column ids, values) of what was read."""
    return found.row_ids.labels[found.rows], found.col_ids.labels[found.cols], found.values


def entries(found):
    """{(row id, column id): value} of what was read."""
    rows, cols, values = triples(found)
    return {
        (r, c): v for r, c, v in zip(rows.tolist(), cols.tolist(), values.tolist(), strict=True)
    }


TRUTH = dict(zip(zip(USERS, ITEMS, strict=True), VALUES, strict=True))


class TestText:
    @pytest.mark.parametrize(
        ("name", "separator", "heading"),
        [
            ("a.csv", ",", True),
            ("a.csv", ",", False),
            ("a.tsv", "\t", True),
            ("a.dat", "::", False),
            ("a.csv", ";", True),
            ("a.txt", " ", False),
        ],
    )
    def test_separators_and_headings(self, tmp_path, name, separator, heading):
        lines = [separator.join(["who", "what", "stars", "when"])] if heading else []
        lines += [
            separator.join([u, str(i), str(x), "99"])
            for u, i, x in zip(USERS, ITEMS, VALUES, strict=True)
        ]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        found = read_long(path)
        assert entries(found) == TRUTH
        assert found.shape == (3, 3)
        assert found.names == (
            ("who", "what", "stars") if heading else ("column 1", "column 2", "column 3")
        )
        assert found.col_ids.labels.dtype == np.int64
        assert "4 entries of a 3 × 3 matrix" in found.describe()

    def test_columns_by_name_and_by_number(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text(
            "when,stars,what,who\n"
            + "".join(f"9,{x},{i},{u}\n" for u, i, x in zip(USERS, ITEMS, VALUES, strict=True))
        )
        assert entries(read_long(path, "who", "what", "stars")) == TRUTH
        assert entries(read_long(path, "4", "3", "2")) == TRUTH

    def test_blocks_change_nothing(self, tmp_path, monkeypatch, rng):
        n = 1000
        users, items, values = (
            rng.integers(50, size=n),
            rng.integers(40, size=n),
            rng.normal(size=n),
        )
        path = tmp_path / "a.csv"
        pd.DataFrame({"u": users, "i": items, "x": values}).to_csv(path, index=False)
        whole = read_long(path)
        monkeypatch.setattr(columns, "CHUNK", 7)
        pieces = read_long(path)
        for one, other in zip(triples(whole), triples(pieces), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(triples(pieces)[0], users)
        np.testing.assert_array_equal(triples(pieces)[2], values)

    def test_leading_zeros_are_text(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("007,1,5\n7,2,4\n")
        found = read_long(path)
        assert found.row_ids.labels.tolist() == ["007", "7"]
        assert found.col_ids.labels.tolist() == [1, 2]

    def test_quotes_and_byte_order_mark(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_bytes(b'\xef\xbb\xbfuser,item,x\n"a, b",1,2\n')
        assert entries(read_long(path, "user", "item", "x")) == {("a, b", 1): 2.0}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("u,i,x\na,1,2\nb,1,\n", "line 3: the value is ''"),
            ("u,i,x\na,1,2\nb,1,nan\n", "line 3: the value is 'nan'"),
            ("u,i,x\na,1,-inf\n", "line 2: the value is '-inf'"),
            ("u,i,x\na,1,good\n", "line 2: the value is 'good'"),
            ("u,i,x\n,1,2\n", "line 2: an id is missing"),
            ("u,i,x\na,1,2\n\na,3\n", r"line 4 has 2 column\(s\), 3 are needed"),
            ("u,i,x\n", "has no entries"),
            ("", "is empty"),
            ("u,i\na,1\n", "has 2 columns, and number 3"),
        ],
    )
    def test_trouble_is_told_with_its_line(self, tmp_path, text, message):
        path = tmp_path / "a.csv"
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_long(path)

    def test_the_line_is_right_in_a_later_block(self, tmp_path, monkeypatch):
        monkeypatch.setattr(columns, "CHUNK", 4)
        path = tmp_path / "a.csv"
        path.write_text("u,i,x\n" + "a,1,2\n" * 10 + "a,1,oops\n")
        with pytest.raises(InputError, match="line 12: the value is 'oops'"):
            read_long(path)

    def test_unknown_columns_and_types(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("u,i,x\na,1,2\n")
        with pytest.raises(
            InputError, match=r"--cols: .* has no column 'item'; it has 'u', 'i', 'x'"
        ):
            read_long(path, "u", "item", "x")
        with pytest.raises(InputError, match="different columns are needed"):
            read_long(path, "u", "u", "x")
        with pytest.raises(InputError, match="does not exist"):
            read_long(tmp_path / "none.csv")
        (tmp_path / "a.xlsx").touch()
        with pytest.raises(InputError, match=r"unknown type '.xlsx'"):
            read_long(tmp_path / "a.xlsx")


class TestParquet:
    def test_text_and_integer_ids(self, tmp_path):
        path = tmp_path / "a.parquet"
        pd.DataFrame({"when": 1, "who": USERS, "what": ITEMS, "stars": VALUES}).to_parquet(path)
        found = read_long(path, "who", "what", "stars")
        assert entries(found) == TRUTH
        assert found.col_ids.labels.dtype == np.int64

    def test_batches_and_categories(self, tmp_path, monkeypatch, rng):
        monkeypatch.setattr(columns, "CHUNK", 4)
        n = 1000
        frame = pd.DataFrame(
            {"u": rng.integers(50, size=n), "i": rng.integers(9, size=n), "x": rng.normal(size=n)}
        )
        frame["i"] = frame["i"].astype(str).astype("category")
        path = tmp_path / "a.parquet"
        frame.to_parquet(path)
        rows, cols, values = triples(read_long(path))
        np.testing.assert_array_equal(rows, frame["u"])
        assert [str(c) for c in cols] == frame["i"].tolist()
        np.testing.assert_array_equal(values, frame["x"])

    def test_refusals(self, tmp_path):
        path = tmp_path / "a.parquet"
        pd.DataFrame({"u": ["a", None], "i": [1, 2], "x": [1.0, 2.0]}).to_parquet(path)
        with pytest.raises(InputError, match=r"row 1 \(counted from 0\)"):
            read_long(path)
        pd.DataFrame({"u": ["a", "b"], "i": [1, 2], "x": [1.0, np.inf]}).to_parquet(path)
        with pytest.raises(InputError, match=r"row 1 \(counted from 0\)"):
            read_long(path)
        with pytest.raises(InputError, match=r"--values: column 'u' .* not numbers"):
            read_long(path, "i", "x", "u")
        path.write_bytes(gzip.compress(b"no parquet"))
        with pytest.raises(InputError, match="cannot be read as Parquet"):
            read_long(path)


class TestMatrices:
    def test_a_stored_zero_is_an_entry(self, tmp_path):
        matrix = sp.coo_array((VALUES, ([0, 1, 0, 4], [1, 1, 2, 0])), shape=(5, 3))
        scipy.io.mmwrite(tmp_path / "a.mtx", matrix)
        sp.save_npz(tmp_path / "a.npz", matrix.tocsr())
        for name in ("a.mtx", "a.npz"):
            found = read_long(tmp_path / name)
            assert is_long(tmp_path / name)
            assert found.shape == (5, 3)
            assert {(r, c): v for r, c, v in zip(found.rows, found.cols, found.values, strict=True)} == {
                (0, 1): 4.0, (1, 1): 3.5, (0, 2): -1.0, (4, 0): 0.0
            }  # fmt: skip
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
