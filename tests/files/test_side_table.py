"""Tables of features: ids in the first column."""

import pandas as pd
import pytest

from deeplinear.errors import InputError
from deeplinear.files.side_table import read_side_table

TEXT = 'user;age;job\n7;"24";clerk\n8;NA;"a;b"\n9;31.5;\n'


class TestReadSideTable:
    def test_text(self, tmp_path):
        (tmp_path / "u.csv").write_text(TEXT)
        ids, features = read_side_table(tmp_path / "u.csv", "--row-features")
        assert ids == ["7", "8", "9"]
        assert features.tolist() == [[24.0, "clerk"], [None, "a;b"], [31.5, None]]

    def test_a_heading_of_labels_alone(self, tmp_path):
        (tmp_path / "u.csv").write_text("user,job\nann,clerk\nbob,clerk\n")
        ids, features = read_side_table(tmp_path / "u.csv", "--row-features")
        assert (ids, features.tolist()) == (["ann", "bob"], [["clerk"], ["clerk"]])

    def test_parquet(self, tmp_path):
        frame = pd.DataFrame({"user": [7, 8], "age": [1.5, None], "job": ["x", None]})
        frame.to_parquet(tmp_path / "u.parquet", index=False)
        ids, features = read_side_table(tmp_path / "u.parquet", "--row-features")
        assert (ids, features.tolist()) == (["7", "8"], [[1.5, "x"], [None, None]])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("user\n7\n", "must have a heading, ids in the first column"),
            ("user,age\n", "must have a heading, ids in the first column"),
            ("user,age\n7,1\n,2\n", "1 line.* without an id, the first is number 2"),
            ("user,age\n7,1,3\n", "--row-features: "),
        ],
    )
    def test_what_is_none(self, tmp_path, text, message):
        (tmp_path / "u.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            read_side_table(tmp_path / "u.csv", "--row-features")

    def test_no_file(self, tmp_path):
        with pytest.raises(InputError, match=r"--row-features: .* is no file that can be read"):
            read_side_table(tmp_path / "none.csv", "--row-features")
