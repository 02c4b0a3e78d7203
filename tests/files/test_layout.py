"""What is a heading, a label, data: on files as people have them."""

import numpy as np
import pytest
from table_files import file

from deeplinear.errors import InputError
from deeplinear.files import Selection, TextOptions, read_table

NAN = np.nan
# content -> (values, names of the fitted columns, carried through, part of a note)
LAYOUTS = {
    "a data frame with integer columns and its index": (
        ",0,1,2\n0,-3.0,3.00,0.00\n1,,2.0,1.5\n",
        [[-3, 3, 0], [NAN, 2, 1.5]],
        ["0", "1", "2"],
        ["column 1 (labels)"],
        "",
    ),
    "a data frame with integer columns without an index": (
        "0,1,2\n-3.0,3.00,0.00\n,2.0,1.5\n",
        [[-3, 3, 0], [NAN, 2, 1.5]],
        ["0", "1", "2"],
        [],
        "first line (0, 1, 2) was taken for headings: --no-header",
    ),
    "an index that does not count from 0": (
        ",0,1\n17,2,3\n5,,4\n9,1,1\n",
        [[2, 3], [NAN, 4], [1, 1]],
        ["0", "1"],
        ["column 1 (labels)"],
        "",
    ),
    "genes by numbered samples": (
        "gene,1007,203,55\nTP53,1.5,2.5,\nEGFR,3.5,,1.25\n",
        [[1.5, 2.5, NAN], [3.5, NAN, 1.25]],
        ["1007", "203", "55"],
        ["'gene' (labels)"],
        "",
    ),
    "counts by numbered samples": (
        "gene,1007,203,55\nTP53,5,0,\nEGFR,3,,1\n",
        [[5, 0, NAN], [3, NAN, 1]],
        ["1007", "203", "55"],
        ["'gene' (labels)"],
        "",
    ),
    "years under a corner that is no known word": (
        "geo,2019,2020\nDE,1.5,:\nFR,: ,2.5\n",
        [[1.5, NAN], [NAN, 2.5]],
        ["2019", "2020"],
        ["'geo' (labels)"],
        "the first line (2019, 2020) was taken for headings: --no-header",
    ),
    "years over numbered rows": (
        "id,2001,2002\n1,1.0,2.0\n2,,3.0\n",
        [[1, 1, 2], [2, NAN, 3]],
        ["id", "2001", "2002"],
        [],
        "",
    ),
    "years over large and small numbers": (
        "2001\t2002\n-56313.3\t45\n-48151.5\t36\n\t37\n35914.2\t35\n-5927.5\t\n",
        [[-56313.3, 45], [-48151.5, 36], [NAN, 37], [35914.2, 35], [-5927.5, NAN]],
        ["2001", "2002"],
        [],
        "--no-header",
    ),
    "whole numbers throughout: data, and said": (
        "1,2,3\n4,5,6\n7,8,\n",
        [[1, 2, 3], [4, 5, 6], [7, 8, NAN]],
        ["1", "2", "3"],
        [],
        "first line (1, 2, 3) was read as data: --header",
    ),
    "data whose first cell is missing": (
        ",5.1,2.2\n3,4.4,1.0\n2,,2\n",
        [[NAN, 5.1, 2.2], [3, 4.4, 1], [2, NAN, 2]],
        ["1", "2", "3"],
        [],
        "the first line (5.1, 2.2) was read as data: --header",
    ),
    "labels and truth values alone under an index": (
        ",grp,arm\n"
        + "".join(f"{i},{'AB'[i % 2] if i % 5 else ''},{'xyz'[i % 3]}\n" for i in range(10)),
        [[[1, 0][i % 2 == 0] if i % 5 else NAN, i % 3] for i in range(10)],
        ["grp", "arm"],
        ["column 1 (labels)"],
        "",
    ),
    "wavelengths over spectra": (
        "sample,400.5,401.0,401.5\na1,0.5,,0.25\na2,,0.125,0.5\na3,1.5,2.5,3.5\n",
        [[0.5, NAN, 0.25], [NAN, 0.125, 0.5], [1.5, 2.5, 3.5]],
        ["400.5", "401.0", "401.5"],
        ["'sample' (labels)"],
        "the first line (400.5, 401.0, 401.5) was taken for headings: --no-header",
    ),
    "doses under an empty corner": (
        ",0.5,1.0,2.0\na,5,,3\nb,,2,4\nc,1,2,3\n",
        [[5, NAN, 3], [NAN, 2, 4], [1, 2, 3]],
        ["0.5", "1.0", "2.0"],
        ["column 1 (labels)"],
        "the first line (0.5, 1.0, 2.0) was taken for headings: --no-header",
    ),
    "repeated visits": (
        "patient,1,1,2\np1,5.5,,3\np2,,2,4\np3,1,2,3\n",
        [[5.5, NAN, 3], [NAN, 2, 4], [1, 2, 3]],
        ["1 [2]", "1 [3]", "2"],
        ["'patient' (labels)"],
        "the first line (1, 1, 2) was taken for headings: --no-header",
    ),
    "lags over days": (
        "day,-1,0,1\n1,0.5,,0.25\n2,,0.125,0.5\n3,1.5,2.5,3.5\n",
        [[1, 0.5, NAN, 0.25], [2, NAN, 0.125, 0.5], [3, 1.5, 2.5, 3.5]],
        ["day", "-1", "0", "1"],
        [],
        "the first line (-1, 0, 1) was taken for headings: --no-header",
    ),
    "the largest country first, without a header": (
        "USA,331,21,9800\nChina,8,20,3\nIndia,7,,3\nChad,5,1,2\nPeru,6,2,1\n",
        [[8, 20, 3], [7, NAN, 3], [5, 1, 2], [6, 2, 1]],
        ["331", "21", "9800"],
        ["'USA' (labels)"],
        "the first line (331, 21, 9800) was taken for headings: --no-header",
    ),
    "units below the headings": (
        "a,b,c\nkg,m,\n1.5,2,3\n,4,5\n2,,6\n",
        [[1.5, 2, 3], [NAN, 4, 5], [2, NAN, 6]],
        ["a", "b", "c"],
        [],
        "a second line of text above the data ('kg, m') is left as it is",
    ),
    "a title above the headings, padded with separators": (
        "Results,of 2020,,\nx0,x1,x2,x3\n1,2,3,4\n,5,6,7\n1,2,,4\n",
        [[1, 2, 3, 4], [NAN, 5, 6, 7], [1, 2, NAN, 4]],
        ["x0", "x1", "x2", "x3"],
        [],
        "a second line of text above the data ('Results, of 2020') is left as it is",
    ),
    "quoted headings that are numbers": (
        '"1","2"\n37,5\n,27\n8,9\n',
        [[37, 5], [NAN, 27], [8, 9]],
        ["1", "2"],
        [],
        "",
    ),
    "labels without a header": (
        "g000,47,\ng001,39,-3\ng002,,8\n",
        [[47, NAN], [39, -3], [NAN, 8]],
        ["2", "3"],
        ["column 1 (labels)"],
        "",
    ),
    "a heading over dates": (
        "1\t2\tday\n31\t0.70\t2024-03-01\n44\t\t2024-03-02\n",
        [[31, 0.7], [44, NAN]],
        ["1", "2"],
        ["'day' (dates)"],
        "first line (1, 2) was taken for headings: --no-header",
    ),
    "codes of letters and of digits, under a heading that says so": (
        "code,x\nA1,1\n7,2\n12,\nB2,3\n",
        [[1], [2], [NAN], [3]],
        ["x"],
        ["'code' (labels)"],
        "",
    ),
    "a commented heading, as np.savetxt writes it": (
        "# a b\n1 2\nNA 3\n4 5\n",
        [[1, 2], [NAN, 3], [4, 5]],
        ["a", "b"],
        [],
        "the comment (a, b) was taken for headings: --no-header",
    ),
    "a comment that is no heading": (
        "# by hand\n2001 2002\n0.5 1.5\nNA 2.5\n3.5 4.5\n",
        [[0.5, 1.5], [NAN, 2.5], [3.5, 4.5]],
        ["2001", "2002"],
        [],
        "1 comment line(s)",
    ),
    "an empty tail, and separators at the ends of lines": (
        "a,b,\n1,,\n,2,\n,,\n,,\n",
        [[1, NAN], [NAN, 2]],
        ["a", "b"],
        [],
        "2 empty line(s)",
    ),
    "empty lines among the others": (
        "a,b\n1,\n,\n,2\n\n3,4\n",
        [[1, NAN], [NAN, 2], [3, 4]],
        ["a", "b"],
        [],
        "1 empty line(s)",
    ),
    "a column without any entry": (
        "a,flags,b\n1,,\n,,2\n3,,4\n",
        [[1, NAN], [NAN, 2], [3, 4]],
        ["a", "b"],
        ["'flags' (empty)"],
        "",
    ),
    "row names of R": (
        "rownames,a,b\n1,1.5,\n2,,2.5\n3,3.5,4.5\n",
        [[1.5, NAN], [NAN, 2.5], [3.5, 4.5]],
        ["a", "b"],
        ["'rownames' (labels)"],
        "",
    ),
    "two comments over the columns, the second with units": (
        "#MM deg\n#mo C\n1 2.5\n2 NA\n3 4.5\n",
        [[1, 2.5], [2, NAN], [3, 4.5]],
        ["MM", "deg"],
        [],
        "the comment (MM, deg)",
    ),
    "repeated headings": (
        "a,a,b\n1,,2\n,3,4\n",
        [[1, NAN, 2], [NAN, 3, 4]],
        ["a [1]", "a [2]", "b"],
        [],
        "",
    ),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_layout(tmp_path, case):
    content, values, names, carried, note = LAYOUTS[case]
    table = read_table(file(tmp_path, "t.csv", content))
    np.testing.assert_array_equal(table.values, values)
    assert [feature.name for feature in table.features] == names
    assert list(table.carried) == carried
    notes = "\n".join(table.notes)
    assert note in notes
    assert note or "header" not in notes


ODD = {
    "below a detection limit": ("x,y\n<0.5,2\n1.5,\n2.5,3\n", 2, "<0.5"),
    "below a limit, mostly": ("x,y\n<1,2\n<1,3\n<2,4\n3,\n", 2, "<1"),
    "a typing error": ("x,y\n1.5,2\n1.o,\n2.5,3\n", 3, "1.o"),
    "without a header": ("<0.5,2.5\n1.5,\n2.5,3\n", 1, "<0.5"),
    "in another column": ("x,y\n1.5,2\n1,\n,3\n2.5,3 mg\n7,4\n", 5, "3 mg"),
    "under a heading of labels": ("id,y\n1,2\n2,\n<3,3\n", 4, "<3"),
    "a footnote": ("x,y\n1,2\n2*,\n3,3\n", 3, "2*"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_cell_is_named_and_each_way_out_works(tmp_path, case):
    """It makes no labels of a column of numbers, and the options in the message read the file."""
    content, line, cell = ODD[case]
    path = file(tmp_path, "t.csv", content)
    with pytest.raises(InputError, match=f"line {line}: '") as caught:
        read_table(path)
    message = str(caught.value)
    assert f"'{cell}'" in message
    column = message.rsplit("--categorical ", 1)[1].rstrip(".")
    assert f"--keep {column}" in message
    cells = {x for row in content.splitlines() for x in row.split(",")} - {"x", "y", "id"}
    odd = tuple(x for x in cells if x and not x.replace(".", "").isdigit())
    table = read_table(path, text=TextOptions(missing=odd))
    assert np.isnan(table.values).any()
    kept = read_table(path, selection=Selection(keep=(column,)))
    labelled = read_table(path, selection=Selection(categorical=(column,)))
    assert kept.values.shape[1] + 1 == labelled.values.shape[1] == table.values.shape[1]
    assert cell in str([feature.categories for feature in labelled.features])


def test_a_first_column_of_numbers_in_another_format_is_no_label(tmp_path):
    path = file(tmp_path, "t.csv", "a;b\n1,500;2\n2,250;\n3,125;4\n")
    with pytest.raises(InputError, match=r"line 2: '1,500' .*--decimal ',' or --thousands ','"):
        read_table(path)
    decimal = read_table(path, text=TextOptions(decimal=","))
    np.testing.assert_array_equal(decimal.values[:, 0], [1.5, 2.25, 3.125])
    grouped = read_table(path, text=TextOptions(thousands=","))
    np.testing.assert_array_equal(grouped.values[:, 0], [1500, 2250, 3125])


@pytest.mark.parametrize(
    "cell", ["\\N", "<NA>", "#N/A", "#DIV/0!", "nan", "NaN", "#VALUE!", "n.a.", "..", ":", "NULL"]
)
@pytest.mark.parametrize("content", ["x,y\n{},2\n1.5,\n2.5,3\n", "x,y\n2,1.5\n2.5,{}\n3,7.5\n"])
def test_known_markers_are_missing_in_every_column(tmp_path, cell, content):
    table = read_table(file(tmp_path, "t.csv", content.format(cell)))
    row, column = (0, 0) if content.startswith("x,y\n{") else (1, 1)
    assert np.isnan(table.values[row, column])
    assert [feature.name for feature in table.features] == ["x", "y"]


@pytest.mark.parametrize("written", ["-999", "-999.0", "-9.99e2", " -999 ", "-999.000"])
@pytest.mark.parametrize("marker", ["-999", "-999.0", "-9.99E+02"])
def test_markers_that_are_numbers_compare_as_numbers(tmp_path, written, marker):
    path = file(tmp_path, "t.csv", f"x,y\n1,{written}\n-99,2\n3,4\n")
    table = read_table(path, text=TextOptions(missing=(marker,)))
    np.testing.assert_array_equal(table.values, [[1, NAN], [-99, 2], [3, 4]])


def test_a_marker_with_a_decimal_comma(tmp_path):
    path = file(tmp_path, "t.csv", "x;y\n1,5;-999,0\n-99,25;2\n3;4\n")
    table = read_table(path, text=TextOptions(missing=("-999",)))
    np.testing.assert_array_equal(table.values, [[1.5, NAN], [-99.25, 2], [3, 4]])


def test_title_lines_are_skipped_as_the_message_says(tmp_path):
    path = file(tmp_path, "t.csv", "Report 2020\n\na,b\n1,\n,2\n3,4\n")
    with pytest.raises(InputError, match=r"line 1 .* 1 cell where line 3 has 2 .*--skip-lines 2"):
        read_table(path)
    table = read_table(path, text=TextOptions(skip_lines=2))
    np.testing.assert_array_equal(table.values, [[1, NAN], [NAN, 2], [3, 4]])
    assert table.encode(np.full((3, 2), 9.0), ".csv") == b"Report 2020\n\na,b\n1,9\n9,2\n3,4\n"


def test_one_stray_quotation_mark_costs_no_more_than_its_lines(tmp_path):
    """It is named with its line, also in a file of many lines with quotation marks."""
    lines = ["size,x"] + ['"a",1', "b,"] * 5000
    lines[4] = '"c,3'
    with pytest.raises(InputError, match="line 5"):
        read_table(file(tmp_path, "t.csv", "\n".join(lines)))
    inches = 'size,x\n5" pipe,1\n6" pipe,\n'
    assert read_table(file(tmp_path, "t.csv", inches)).carried == ("'size' (labels)",)


CODES = "94255 2018 1000 0 2010 0\n"  # of a station, the year, channels and their flags
MINUTES = "".join(f"1 {k} {x} 12 {x + 2} 12\n" for k, x in enumerate([3, 5, 8, 13, 5, 3, 2]))


class TestAFirstLineOfCodes:
    """Solar stations of Oregon: the heading is numbers, of which some repeat."""

    def read(self, tmp_path, content, **options):
        content = content.replace(" 13 ", " NaN ", 1)
        return read_table(file(tmp_path, "t.txt", content), text=TextOptions(**options))

    def test_it_is_read_as_data_and_a_note_says_so(self, tmp_path):
        table = self.read(tmp_path, CODES + MINUTES)
        assert len(table.values) == 8
        assert "first line (94255, 2018, 1000, …) was read as data: --header" in table.notes[0]
        table = self.read(tmp_path, CODES + MINUTES, header=True)
        assert (len(table.values), table.notes) == (7, ())

    @pytest.mark.parametrize(
        "first",
        [
            "1 7 4 12 6 12\n",
            "2 7 4 12 6 12\n",
            "1 7 400 12 600 12\n",
            "94255.5 2018 1e3 0 2010 0\n",
        ],
    )
    def test_ordinary_first_lines_have_no_note(self, tmp_path, first):
        assert self.read(tmp_path, first + MINUTES).notes == ()
