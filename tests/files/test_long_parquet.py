"""Long Parquet files: the entries of the file, in bounded memory, and trouble with its row."""

import gzip
import tracemalloc

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from long_files import ITEMS, TRUTH, USERS, VALUES, entries, triples

from deeplinear.errors import InputError
from deeplinear.files import columns, read_table
from deeplinear.files.long import column_names, read_long
from deeplinear.files.text_options import TextOptions


def random_frame(rng, count=3000, users=200, items=90, text=False):
    places = rng.choice(users * items, count, replace=False)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=count),
            "item": places % items - 40,
            "user": 7 * (places // items) + 3,
        }
    )
    return frame.assign(user="u" + frame.user.astype(str)) if text else frame


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


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_streamed_is_what_is_there(tmp_path, rng, monkeypatch, text, dtype):
    monkeypatch.setattr(columns, "CHUNK", 16)  # batches of 256
    frame, path = random_frame(rng, text=text), tmp_path / "a.parquet"
    frame.to_parquet(path, row_group_size=700)
    found = read_long(path, "user", "item", "x", dtype=dtype)
    observations = found.observations()
    assert observations.dtype == dtype
    assert observations.shape == (frame.user.nunique(), frame.item.nunique())
    rows, cols, values = observations.triples()
    index = [found.row_ids.labels[rows], found.col_ids.labels[cols]]
    streamed = pd.Series(values, index).sort_index()
    whole = frame.set_index(["user", "item"]).x.astype(dtype).sort_index()
    assert streamed.index.tolist() == whole.index.tolist()
    np.testing.assert_array_equal(streamed.to_numpy(), whole.to_numpy())


def test_memory_is_as_documented(tmp_path, rng, monkeypatch):
    """In float32 28 bytes per entry at the peak, and no more than the ids and a piece beside them
    (NumPy's memory is traced).
    """
    monkeypatch.setattr(columns, "CHUNK", 64)
    count, path = 400_000, tmp_path / "a.parquet"
    random_frame(rng, count, 2000, 1000).to_parquet(path, row_group_size=50_000)
    read_long(path, "user", "item", "x", dtype=np.float32).observations()  # compiles
    tracemalloc.start()
    entries = read_long(path, "user", "item", "x", dtype=np.float32)
    _, first = tracemalloc.get_traced_memory()
    found = entries.observations()
    del entries
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.nnz == count
    assert 12 * count < first < 13.5 * count
    assert 27 * count < peak < 29.5 * count
    assert now < 17 * count


def test_duplicates(tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"u": [1, 1, 2], "i": [5, 5, 5], "x": [1.0, 3.0, 4.0]}).to_parquet(path)
    with pytest.raises(
        InputError,
        match=(
            r"a.parquet' must name every entry once, got 1 repetition\(s\), the first of row 1, "
            r"column 5"
        ),
    ):
        read_long(path).observations(name=f"INPUT: '{path}'")
    seen = read_long(path).observations(duplicates="mean")
    assert seen.by_row.values.tolist() == [2.0, 4.0]


def test_trouble_is_told(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(columns, "CHUNK", 16)
    path = tmp_path / "a.parquet"
    frame = random_frame(rng)
    for column, bad in (("x", np.nan), ("x", np.inf), ("user", None)):
        spoiled = frame.astype({"user": "Int64"})
        spoiled.loc[1234, column] = bad
        spoiled.to_parquet(path)
        with pytest.raises(InputError, match=r"row 1234 \(counted from 0\)"):
            read_long(path, "user", "item", "x")
    with pytest.raises(InputError, match="no column 'stars'"):
        read_long(path, "user", "item", "stars")
    with pytest.raises(InputError, match="dtype must be float32 or float64, got int64"):
        read_long(path, dtype=int)
    frame[:0].to_parquet(path)
    with pytest.raises(InputError, match="no entries"):
        read_long(path)
    path.write_text("nothing")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_long(path)
    with pytest.raises(InputError, match="does not exist"):
        read_long(tmp_path / "none.parquet")


class TestIds:
    @pytest.mark.parametrize("kind", ["float64", "float32", "category"])
    def test_floats_that_are_integers_are_integers(self, tmp_path, monkeypatch, kind):
        monkeypatch.setattr(columns, "CHUNK", 1)
        users = pd.Series([3.0, 1.0, 3.0]).astype(kind)
        frame = pd.DataFrame({"u": users, "i": ["1.0", "2", "2.0"], "x": [1.0, 2.0, 3.0]})
        frame.to_parquet(tmp_path / "a.parquet")
        found = read_long(tmp_path / "a.parquet")
        assert entries(found) == {(3, 1): 1.0, (1, 2): 2.0, (3, 2): 3.0}
        assert found.row_ids.labels.dtype == np.int64

    @pytest.mark.parametrize("missing", [[1.0, np.nan], ["a", None], ["a", "NaN"], ["a", ""]])
    def test_missing_ids_are_named(self, tmp_path, missing):
        pd.DataFrame({"u": missing, "i": [1, 2], "x": [1.0, 2.0]}).to_parquet(tmp_path / "a.pq")
        with pytest.raises(InputError, match=r"row 1 \(counted from 0\): an id is missing; drop"):
            read_long(tmp_path / "a.pq")

    @pytest.mark.parametrize("ids", [[[1], [2]], [{"a": 1}, {"a": 2}]])
    def test_lists_are_no_ids(self, tmp_path, ids):
        pd.DataFrame({"u": ids, "i": [1, 2], "x": [1.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(InputError, match=r"^--rows: column 'u' .* holds .*, not ids; name"):
            read_long(tmp_path / "a.parquet")

    def test_bytes_are_text(self, tmp_path):
        frame = pd.DataFrame({"u": [b"ann", "é".encode()], "i": [1, 2], "x": [1.0, 2.0]})
        frame.to_parquet(tmp_path / "a.parquet")
        assert read_long(tmp_path / "a.parquet").row_ids.labels.tolist() == ["ann", "é"]


class TestColumnsByNumber:
    def test_names_that_are_numbers(self, tmp_path):
        frame = pd.DataFrame({"3": ["a"], "1": [7], "2": [2.5], "30": [3.5]})
        frame.to_parquet(tmp_path / "a.parquet")
        assert entries(read_long(tmp_path / "a.parquet", "1", "2", "3")) == {("a", 7): 2.5}
        assert entries(read_long(tmp_path / "a.parquet", "1", "2", "30")) == {("a", 7): 3.5}

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 3), (3, 2, 1), (1, 3, 0), (4, 5, 2)])
    def test_names_that_repeat(self, tmp_path, order):
        """A heading that several columns have is refused, their numbers tell them apart."""
        arrays = [pa.array([10 * k + 1, 10 * k + 2]) for k in range(6)]
        nested = pa.array([{"x": 7, "u": 8}] * 2)  # whose parts have the paths x.x and x.u
        frame = pa.table([*arrays, nested], names=["x", "u", "x", "x", "x.x", "u", "x"])
        pq.write_table(frame, tmp_path / "a.parquet", row_group_size=1)
        found = read_long(tmp_path / "a.parquet", *(str(k + 1) for k in order))
        i, j, v = (10 * k for k in order)
        assert entries(found) == {(i + 1, j + 1): v + 1, (i + 2, j + 2): v + 2}
        with pytest.raises(InputError, match=r"has . columns '.'; give the number of one, such as"):
            read_long(tmp_path / "a.parquet", "u", "2", "x")

    def test_a_nested_column_of_a_repeated_name(self, tmp_path):
        arrays = [pa.array([1]), pa.array([{"x": 7}]), pa.array([0.5])]
        pq.write_table(pa.table(arrays, names=["x", "x", "x"]), tmp_path / "a.parquet")
        with pytest.raises(InputError, match=r"^--cols: column 'x' .* holds struct"):
            read_long(tmp_path / "a.parquet")


def test_bytes_that_are_no_text_are_no_ids(tmp_path):
    """Guessed letters would make two ids one: the byte 0xff and the four letters of its name."""
    frame = pa.table({"u": [b"\xff", b"\\xff"], "i": [1, 1], "x": [1.0, 2.0]})
    pq.write_table(frame, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="an id is bytes that are no UTF-8 text"):
        read_long(tmp_path / "a.parquet")


def test_integers_beyond_53_bits_are_rounded_as_in_text(tmp_path):
    value = 2**53 + 1
    frame = pa.table({"u": [1], "i": [2], "x": pa.array([value], pa.int64())})
    pq.write_table(frame, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(f"u,i,x\n1,2,{value}\n")
    expected = float(value)
    assert entries(read_long(tmp_path / "a.parquet")) == {(1, 2): expected}
    assert entries(read_long(tmp_path / "a.csv")) == {(1, 2): expected}


@pytest.mark.parametrize("reader", [read_long, column_names, read_table])
def test_what_arrow_says_of_damage_is_one_sentence(tmp_path, rng, reader):
    path, refused = tmp_path / "a.parquet", 0
    random_frame(rng, 30, text=True).to_parquet(path)
    whole = path.read_bytes()
    for _ in range(400):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=3):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            reader(path)
        except InputError as error:
            refused += "\n" not in str(error) and "\\n" not in str(error)
    assert refused > 40


def test_missing_values_are_left_out_if_told(tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "CHUNK", 1)
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"u": range(200), "i": 1, "x": 1.5}).assign(
        x=lambda f: f.x.where(f.u % 50 != 7, -1.0).where(f.u != 99)
    )
    frame.to_parquet(path)
    with pytest.raises(InputError, match=r"row 99 .*: a value is missing; .* --missing nan\."):
        read_long(path)
    with pytest.warns(UserWarning, match="5 entries of .* left out"):
        found = read_long(path, text=TextOptions(missing=("nan", "-1")))
    assert found.row_ids.labels.tolist() == [k for k in range(200) if k % 50 != 7 and k != 99]
    with pytest.raises(InputError, match="--encoding: it has no meaning for"):
        read_long(path, text=TextOptions(encoding="utf-8"))
