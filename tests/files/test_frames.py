"""Tables in Parquet. What is observed stays as it is, the same kind comes back."""

import numpy as np
import pytest
from table_files import file, write_back

from deeplinear.errors import InputError
from deeplinear.files import read_table


class TestFrames:
    def test_index_names_and_types_are_kept(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame(
            {
                "whole": [1, 2, 3],
                "gaps": pd.array([1, None, 3], dtype="Int64"),
                "single": np.array([np.nan, 2, 3], "f4"),
                "double": [0.1, np.nan, 0.3],
            },
            index=pd.Index(["p", "q", "r"], name="key"),
        )
        frame.to_parquet(tmp_path / "a.parquet")
        completed = pd.read_parquet(
            write_back(read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
        )
        expected = frame.astype({"gaps": float}).fillna(0.25)
        pd.testing.assert_frame_equal(completed, expected)

    def test_leading_text_is_labels_and_other_text_is_named(self, tmp_path):
        pd = pytest.importorskip("pandas")
        frame = pd.DataFrame({"name": ["a", "b"], "x": [1.0, np.nan], "y": [2.0, 3.0]})
        frame.to_parquet(tmp_path / "a.parquet")
        completed = pd.read_parquet(
            write_back(read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
        )
        pd.testing.assert_frame_equal(completed, frame.fillna({"x": 0.25}))
        frame.assign(city="Oslo").to_parquet(tmp_path / "c.parquet")
        with pytest.raises(InputError, match="not numbers: 'city'"):
            read_table(tmp_path / "c.parquet")

    def test_without_pandas_the_error_says_what_to_install(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pandas", None)
        with pytest.raises(InputError, match=r"pip install 'deeplinear\[frames\]'"):
            read_table(file(tmp_path, "a.parquet", b"PAR1"))
