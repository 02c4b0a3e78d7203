"""Frames in Parquet and Arrow files. What is observed stays as it is, the same kind comes back."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from damaged_files import FORMATS
from table_files import file, write_back

from deeplinear.completion.data.features import FeatureKind
from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def save(table, path):
    """By the suffix of ``path``."""
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


def load(path):
    if path.suffix == ".parquet":
        return pq.ParquetFile(path).read()
    return pa.ipc.open_file(path.read_bytes()).read_all()


@pytest.fixture
def mixed():
    """Two chunks, and metadata of the schema and of a field."""
    kinds = {
        "i8": pa.array([1, None, 3, -4], pa.int8()),
        "u64": pa.array([2**63 + 1, None, 5, 6], pa.uint64()),
        "i64": pa.array([2**53 + 1, None, 5, 6], pa.int64()),
        "f16": pa.array(np.array([1, np.nan, 2, 3], "f2")),
        "f32": pa.array([1.1, None, np.nan, 2], pa.float32()),
        "price": pa.array([Decimal("1.25"), None, None, Decimal("-3.00")], pa.decimal128(6, 2)),
        "ok": pa.array([True, None, False, True]),
        "size": pa.array(["small", "large", None, "large"]).dictionary_encode(),
        "text": pa.array(["b", "a", None, "b"]),
        "view": pa.array(["b", "a", None, "b"], pa.string_view()),
        "when": pa.array([dt.datetime(2020, 1, day) for day in (1, 2, 3, 4)]),
        "took": pa.array([dt.timedelta(day) for day in (1, 2, 3, 4)]),
        "list": pa.array([[1], [], None, [2]]),
        "raw": pa.array([b"1", None, b"2", b"3"]),
        "none": pa.nulls(4),
        "full": pa.array([0.1, 0.2, 0.3, 0.4]),
    }
    table = pa.table(kinds)
    field = table.schema.field("i8").with_metadata({"unit": "cm"})
    schema = table.schema.set(0, field).with_metadata({"source": "lab"})
    return pa.concat_tables([table, table]).cast(schema)


class TestKinds:
    @pytest.mark.parametrize("suffix", [".parquet", ".feather", ".arrow"])
    def test_only_missing_entries_change(self, tmp_path, mixed, suffix):
        table = read_table(save(mixed, tmp_path / f"a{suffix}"))
        filled = np.full(table.values.shape, 1.0)
        (tmp_path / f"b{suffix}").write_bytes(table.encode(filled, suffix))
        found = load(tmp_path / f"b{suffix}")
        read = load(tmp_path / f"a{suffix}")  # Parquet renames the items of lists
        assert found.schema.equals(read.schema, check_metadata=True)
        assert table.carried == (
            *("'when' (dates)", "'took' (durations)", "'list' (nested)"),
            *("'raw' (binary)", "'none' (empty)"),
        )
        new = {"price": Decimal("1.00"), "ok": True, "size": "large", "text": "b", "view": "b"}
        names = [feature.name for feature in table.features]
        for name in mixed.schema.names:
            for before, after in zip(mixed[name].to_pylist(), found[name].to_pylist(), strict=True):
                if name in names and (before is None or before != before):
                    assert after == new.get(name, 1.0), name
                else:
                    assert after == before, name

    def test_features(self, tmp_path, mixed):
        table = read_table(save(mixed, tmp_path / "a.parquet"))
        found = {feature.name: feature for feature in table.features}
        assert [found[name].kind for name in ("i8", "u64", "i64")] == [FeatureKind.integer] * 3
        assert [found[name].kind for name in ("f16", "f32", "price")] == [FeatureKind.number] * 3
        assert found["ok"].categories == (False, True)
        assert found["size"].categories == ("small", "large")  # in the order of the dictionary
        assert found["text"].categories == found["view"].categories == ("a", "b")
        assert table.coded.features == table.features
        np.testing.assert_array_equal(
            table.coded.values[:4, 8], [1, 0, np.nan, 1]
        )  # the codes of 'text'

    def test_values_beyond_a_type_become_its_extremes(self, tmp_path, mixed):
        table = read_table(save(mixed, tmp_path / "a.parquet"))
        filled = np.where(np.arange(table.values.shape[1]) < 6, 1e30, 0)
        encoded = table.encode(np.tile(filled, (len(table.values), 1)), ".parquet")
        row = load(file(tmp_path, "b.parquet", encoded)).slice(1, 1).to_pylist()[0]
        assert (row["i8"], row["u64"], row["i64"]) == (127, 2**64 - 1, 2**63 - 1)
        assert row["price"] == Decimal("9999.99")
        assert row["f16"] == np.finfo("f2").max

    def test_names_are_carried_and_few_texts_are_categories(self, tmp_path):
        frame = pa.table(
            {
                "name": [f"n{k}" for k in range(50)],
                "twenty": [str(k % 20) for k in range(50)],
                "many": [str(k % 21) for k in range(50)],
                "rare": ["x", "y", *([None] * 48)],
                "declared": pa.array(
                    [f"n{k}" for k in range(20)] + [None] * 30
                ).dictionary_encode(),
                "ids": pa.array([f"n{k}" for k in range(50)]).dictionary_encode(),
                "x": [None, *range(49)],
            }
        )
        table = read_table(save(frame, tmp_path / "a.parquet"))
        assert [feature.name for feature in table.features] == ["twenty", "declared", "x"]
        assert table.carried == (
            *("'name' (text)", "'many' (text)", "'rare' (text)", "'ids' (text)"),
        )

    def test_a_marker_of_missing_text(self, tmp_path):
        frame = pa.table({"c": ["u", "unknown", "u", "v", "v"], "x": [1.0, 2, 3, 4, 5]})
        path = save(frame, tmp_path / "a.parquet")
        table = read_table(path, text=TextOptions(missing=("unknown",)))
        found = load(write_back(table, tmp_path / "b.parquet"))
        assert found["c"].to_pylist() == ["u", "u", "u", "v", "v"]

    def test_without_numbers_or_categories(self, tmp_path):
        path = save(pa.table({"name": ["a", "b"], "when": [dt.date(2020, 1, 1)] * 2}),
                    tmp_path / "a.parquet")  # fmt: skip
        with pytest.raises(
            InputError, match=r"no column of numbers or categories.*'name' \(text\)"
        ):
            read_table(path)


class TestPlaces:
    def test_repeated_names_are_read_by_position(self, tmp_path):
        columns = [pa.array([1.0, None]), pa.array([None, 5.0]), pa.array([7.0, 8.0])]
        path = save(pa.table(columns, ["x", "x", "x"]), tmp_path / "a.parquet")
        table = read_table(path)
        np.testing.assert_array_equal(table.values, [[1, np.nan, 7], [np.nan, 5, 8]])
        encoded = table.encode(np.array([[0, 10, 0], [20, 0, 0.0]]), ".parquet")
        found = load(file(tmp_path, "b.parquet", encoded))
        assert [c.to_pylist() for c in found.columns] == [[1, 20], [10, 5], [7, 8]]

    def test_names_of_folders_add_no_column(self, tmp_path):
        folder = tmp_path / "year=2020"
        folder.mkdir()
        table = read_table(save(pa.table({"x": [1.0, None]}), folder / "a.parquet"))
        assert [feature.name for feature in table.features] == ["x"]

    def test_an_infinite_entry_is_named(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"x": [1.0, np.inf], "y": [np.nan, 2.0]}, index=["p", "q"])
        frame.to_parquet(tmp_path / "a.parquet")
        with pytest.raises(InputError, match="infinite entry, the first at row 'q', column 'x'"):
            read_table(tmp_path / "a.parquet")
        frame.reset_index(drop=True).to_parquet(tmp_path / "b.parquet")
        with pytest.raises(InputError, match="the first at row 2, column 'x'"):
            read_table(tmp_path / "b.parquet")

    def test_a_mask_may_have_all_columns_or_the_fitted_ones(self, tmp_path):
        frame = pa.table({"name": ["a", "b"], "x": [1.0, 2.0], "y": [3.0, 4.0]})
        path = save(frame, tmp_path / "a.parquet")
        every = pa.table({"name": [False] * 2, "x": [True, False], "y": [False] * 2})
        for k, mask in enumerate((every, every.drop(["name"]))):
            table = read_table(path, mask=save(mask, tmp_path / f"m{k}.parquet"))
            np.testing.assert_array_equal(table.values, [[np.nan, 3], [2, 4]])
        words = pa.table({"x": ["no", "yes"] * 2, "y": ["no"] * 4})
        with pytest.raises(InputError, match=r"--mask: .* has text in column 'x'"):
            read_table(path, mask=save(words, tmp_path / "w.parquet"))


class TestPandas:
    def test_index_names_and_types_are_kept(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(
            {
                "whole": [1, 2, 3],
                "gaps": pd.array([1, None, 3], dtype="Int64"),
                "single": np.array([np.nan, 2, 3], "f4"),
                "double": [0.1, np.nan, 0.3],
                "flag": pd.array([True, None, False], dtype="boolean"),
                "size": pd.Categorical(["S", None, "L"], ["S", "M", "L"], ordered=True),
                "when": pd.to_datetime(["2020-01-01", None, "2020-01-03"]),
            },
            index=pd.Index(["p", "q", "r"], name="key"),
        )
        frame.to_parquet(tmp_path / "a.parquet")
        table = read_table(tmp_path / "a.parquet")
        completed = pd.read_parquet(write_back(table, tmp_path / "b.parquet"))
        filled = {"gaps": 0, "single": 0.25, "double": 0.25, "flag": False, "size": "S"}
        pd.testing.assert_frame_equal(completed, frame.fillna(filled))
        assert table.carried == ("'when' (dates)", "'key' (index)")

    def test_an_index_without_a_name(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"x": [1.0, np.nan], "y": [2.0, 3.0]}, index=[10, 20])
        frame.to_parquet(tmp_path / "a.parquet")
        table = read_table(tmp_path / "a.parquet")
        completed = pd.read_parquet(write_back(table, tmp_path / "b.parquet"))
        pd.testing.assert_frame_equal(completed, frame.fillna(0.25))
        assert [feature.name for feature in table.features] == ["x", "y"]

    def test_feather_as_pandas_writes_it(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"name": ["a", "b"], "x": [1.0, np.nan], "y": [2, 3]})
        frame.to_feather(tmp_path / "a.feather")
        completed = pd.read_feather(
            write_back(read_table(tmp_path / "a.feather"), tmp_path / "b.feather")
        )
        pd.testing.assert_frame_equal(completed, frame.fillna({"x": 0.25}))


class TestArrow:
    def test_a_stream_is_read(self, tmp_path):
        FORMATS["arrow stream"][1](tmp_path / "a.arrow")
        table = read_table(tmp_path / "a.arrow")
        found = load(write_back(table, tmp_path / "b.arrow"))
        assert found["n"].to_pylist() == [1, 0, 3, 4]
        twice = (tmp_path / "a.arrow").read_bytes() * 2
        with pytest.raises(InputError, match="goes on behind the table"):
            read_table(file(tmp_path, "c.arrow", twice))

    def test_polars(self, tmp_path):
        pl = pytest.importorskip("polars")
        frame = pl.DataFrame(
            {"x": [1, None, 3, 4], "c": pl.Series(["u", None, "v", "u"], dtype=pl.Categorical)}
        )
        frame.write_parquet(tmp_path / "a.parquet")
        found = pl.read_parquet(
            write_back(read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
        )
        assert found["x"].to_list() == [1, 0, 3, 4]
        assert found["x"].dtype == pl.Int64
        assert found["c"].to_list() == ["u", "u", "v", "u"]


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"needs pyarrow; run: pip install 'deeplinear\[frames\]'"):
        read_table(file(tmp_path, "a.parquet", b"PAR1"))


def test_parquet_under_another_name(tmp_path):
    pq.write_table(pa.table({"x": [1.0, None]}), tmp_path / "t.parquet.gzip")
    with pytest.raises(InputError, match=r"'\.gzip'; its content is Parquet: let its name end in"):
        read_table(tmp_path / "t.parquet.gzip")
