"""Tables in text. What is observed stays as it is, the same kind comes back."""

import numpy as np
import pytest
from table_files import file, write_back

from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table

TEXT = {
    "labels, quotes, blanks, CRLF, byte-order mark": (
        '\ufeff"na ""me",x,"y,z"\r\n"Bob, Jr", 1.50 ,NA\r\nÈve,,2e3\r\n',
        '\ufeff"na ""me",x,"y,z"\r\n"Bob, Jr", 1.50 ,0.25\r\nÈve,0.25,2e3\r\n',
        [[1.5, np.nan], [np.nan, 2000]],
    ),
    "no header, no labels, no final line end": (
        "1,2,\n3,?,4",
        "1,2,0.25\n3,0.25,4",
        [[1, 2, np.nan], [3, np.nan, 4]],
    ),
    "exported index under an empty corner": (
        ",a,b\n0,1,null\n1,NaN,4\n",
        ",a,b\n0,1,0.25\n1,0.25,4\n",
        None,
    ),
    "semicolons and blank lines": (
        "a;b\n\n1;\n;4\n\n",
        "a;b\n\n1;0.25\n0.25;4\n\n",
        [[1, np.nan], [np.nan, 4]],
    ),
    "quoted numbers and quoted gaps": (
        'a,b\n"1",""\n.,"-3"\n',
        'a,b\n"1",0.25\n0.25,"-3"\n',
        [[1, np.nan], [np.nan, -3]],
    ),
    "line break in a label": (
        'a\tb\n"x\ny"\t1\nz\tn/a\n',
        'a\tb\n"x\ny"\t1\nz\t0.25\n',
        [[1], [np.nan]],
    ),
    "one column": ("a\n1\n\n3\n", "a\n1\n0.25\n3\n", [[1], [np.nan], [3]]),
}


BAD_TEXT = {
    "empty": ("", "is empty"),
    "header only": ("a,b\n", "no rows of numbers"),
    "ragged": ("a,b\n1,\n3\n", "line 3 .* has 1 cell where line 1 has 2"),
    "text alone": ("id,city\nA,Oslo\nB,Bern\nC,Rome\n", r"no column of numbers or categories"),
    "infinite": ("x,y\n1,2\n,-inf\n", "1 infinite entry, the first at line 3, column 'y'"),
    "nothing observed": ("x,y\n,NA\n?,\n", "no observed entry"),
    "nothing missing but an empty column": (
        "x,y,z\n1,,2\n3,,4\n",
        "no missing entry; .*; 'y' without any entry is carried through, unless in --columns",
    ),
    "nothing missing but columns of markers": (
        "1 NaN 2 NaN\n3 NaN 4 NaN\n",
        "no missing entry; .*; column 2, column 4 without any entry is carried through",
    ),
    "nothing missing": ("x,y\n1,2\n3,4\n", "no missing entry"),
    "open quote": ('x,y\n1,"2\n,3\n', "opened in line 2"),
    "binary": (b"x,y\n\0,1\n", "not a plain text table"),
}


class TestText:
    @pytest.mark.parametrize("case", TEXT)
    def test_only_missing_cells_change(self, tmp_path, case):
        before, after, values = TEXT[case]
        suffix = ".tsv" if "\t" in before else ".csv"
        table = read_table(file(tmp_path, f"in{suffix}", before))
        assert write_back(table, tmp_path / f"out{suffix}").read_bytes().decode() == after
        if values is not None:
            np.testing.assert_array_equal(table.values, values)

    def test_latin1_labels_come_back_byte_for_byte(self, tmp_path):
        table = read_table(file(tmp_path, "a.csv", "x,y\nSão,1\nñ,\n".encode("latin-1")))
        assert write_back(table, tmp_path / "b.csv").read_bytes() == "x,y\nSão,1\nñ,0.25\n".encode(
            "latin-1"
        )

    def test_layout_and_markers_can_be_stated(self, tmp_path):
        path = file(tmp_path, "a.csv", "id,2001,2002\n7,1,-999\n8,2,3\n")
        options = TextOptions(missing=("-999",), header=True, labels=True)
        table = read_table(path, text=options)
        np.testing.assert_array_equal(table.values, [[1, np.nan], [2, 3]])

    @pytest.mark.parametrize("case", BAD_TEXT)
    def test_bad_input_is_named(self, tmp_path, case):
        content, message = BAD_TEXT[case]
        with pytest.raises(InputError, match=message):
            read_table(file(tmp_path, "a.csv", content))


def test_a_header_of_years_is_a_header(tmp_path):
    (tmp_path / "y.csv").write_text(
        "country,2001,2002,2003\nA,1.0,2.0,\nB,2.0,,6.0\nC,3.0,6.1,9.0\n"
    )
    table = read_table(tmp_path / "y.csv")
    assert table.values.shape == (3, 3)
    assert np.nanmax(table.values) == 9.0
