"""Columns of text cells: numbers, categories, dates, text."""

import numpy as np
import pytest
from table_files import file

from deeplinear.errors import InputError
from deeplinear.files import Selection, TextOptions, read_table

MIXED = """name,when,ok,city,dose,n
ann,2024-01-05,yes,Oslo,0.5,3
bob,2024-01-06,,Bern,,4
cyd,2024-02-01,no,Oslo,1.5,
dan,2024-02-02,yes,Bern,2.5,5
eve,2024-03-01,no,,3.0,6
"""


def test_a_mixed_table(tmp_path):
    table = read_table(file(tmp_path, "t.csv", MIXED))
    assert [(f.name, f.kind, f.categories) for f in table.features] == [
        ("ok", "category", ("no", "yes")),
        ("city", "category", ("Bern", "Oslo")),
        ("dose", "number", ()),
        ("n", "integer", ()),
    ]
    assert table.carried == ("'name' (labels)", "'when' (dates)")
    nan = np.nan
    expected = [[1, 1, 0.5, 3], [nan, 0, nan, 4], [0, 1, 1.5, nan], [1, 0, 2.5, 5], [0, nan, 3, 6]]
    np.testing.assert_array_equal(table.values, expected)
    filled = np.where(np.isnan(table.values), [1, 0, 2.25, 7], table.values)
    after = MIXED.replace("06,,Bern,,4", "06,yes,Bern,2.25,4").replace("no,,3.0", "no,Bern,3.0")
    assert table.encode(filled, ".csv").decode() == after.replace("1.5,\n", "1.5,7\n")


@pytest.mark.parametrize(
    "dates",
    [
        ["2024-01-05", "2024-01-06", "2024-02-01"],
        ["5.1.2024", "6.1.2024", "1.2.2024"],
        ["01/05/24 12:30", "01/06/24 13:45", "02/01/24 09:00"],
        ["2024-01-05T12:30:00Z", "2024-01-06T13:45:00Z", "2024-02-01T00:00:00Z"],
        ["Jan 2024", "Feb 2024", "Mar 2024"],
        ["2024Q1", "2024Q2", "2024Q3"],
        ["12:30", "13:45", "23:59:59"],
    ],
)
def test_dates_are_carried_through(tmp_path, dates):
    rows = "".join(f"{x},{date}\n" for x, date in zip(["1.5", "", "3"], dates, strict=True))
    path = file(tmp_path, "t.csv", "x,when\n" + rows)
    table = read_table(path)
    assert table.carried == ("'when' (dates)",)
    assert table.encode(np.full((3, 1), 2.0), ".csv").decode() == path.read_text().replace(
        "\n,", "\n2,"
    )


def test_a_list_of_crosses_is_no_category(tmp_path):
    """Empty cells beside a single label mean no: nothing may fill them with yes."""
    table = read_table(file(tmp_path, "t.csv", "a,done,x\n1,x,1\n2,,2\n3,x,\n4,,4\n"))
    assert table.carried == ("'done' (text, 2 missing stay)",)


def test_remarks_that_most_rows_lack_are_no_category(tmp_path):
    rows = "".join(f"{i},{'late' if i == 3 else 'lost' if i in (5, 7) else ''}\n" for i in range(9))
    table = read_table(file(tmp_path, "t.csv", "x,remark\n" + rows + ",\n9.5,\n,late\n"))
    assert table.carried == ("'remark' (text, 7 missing stay)",)


def test_whole_numbers_are_integers_and_written_so(tmp_path):
    path = file(tmp_path, "t.csv", "n,x,big,e\n1,1.0,12345678901,1e3\n,2.0,,2e3\n3,,5,\n")
    table = read_table(path)
    assert [f.kind for f in table.features] == ["integer", "number", "integer", "number"]
    out = table.encode(np.array([[9.0, 0.5, 12345678907, 1500.0]] * 3), ".csv").decode()
    assert out == "n,x,big,e\n1,1.0,12345678901,1e3\n9,2.0,12345678907,2e3\n3,0.5,5,1500\n"


def test_percentages_stay_percentages(tmp_path):
    table = read_table(file(tmp_path, "t.csv", "a,b\n12%,\n,3 %\n5%,4.5%\n"))
    np.testing.assert_array_equal(table.values, [[12, np.nan], [np.nan, 3], [5, 4.5]])
    assert table.encode(np.full((3, 2), 7.5), ".csv") == b"a,b\n12%,7.5%\n7.5%,3 %\n5%,4.5%\n"


def test_words_that_may_be_labels_are_named_and_can_be_kept(tmp_path):
    rows = ["none,1", "mild,", "severe,3", "none,4", "mild,5", "severe,"]
    path = file(tmp_path, "t.csv", "pain,x\n" + "\n".join(rows) + "\n")
    table = read_table(path)
    assert table.features[0].categories == ("mild", "severe")
    assert "'none' (2) in 'pain' is read as missing: --present none if it is a value" in table.notes
    table = read_table(path, text=TextOptions(present=("none",)))
    assert table.features[0].categories == ("mild", "none", "severe")
    assert not any("present" in note for note in table.notes)


def test_codes_with_leading_zeros_are_labels(tmp_path):
    rows = [f"{'00501' if i % 2 else '01210'},{i if i % 3 else ''}" for i in range(1, 9)]
    table = read_table(file(tmp_path, "t.csv", "zip,x\n" + "\n".join(rows) + "\n"))
    assert table.features[0].categories == ("00501", "01210")
    rows = [f"{i:05d},{i if i % 3 else ''}" for i in range(1, 9)]
    table = read_table(file(tmp_path, "u.csv", "zip,x\n" + "\n".join(rows) + "\n"))
    assert table.carried == ("'zip' (codes)",)


def test_short_numbers_with_zeros_before_keep_their_width(tmp_path):
    path = file(tmp_path, "t.csv", "wind,x\n080,1\n,2\n120,\n005,4\n300,5\n")
    table = read_table(path)
    np.testing.assert_array_equal(table.values[:, 0], [80, np.nan, 120, 5, 300])
    filled = np.where(np.isnan(table.values), [[35.0, 3.0]], table.values)
    assert table.encode(filled, ".csv") == path.read_bytes().replace(b"\n,2", b"\n035,2").replace(
        b"120,", b"120,3"
    )


@pytest.mark.parametrize("marker", ["M", "-999"])
def test_markers_of_ones_own_are_as_they_are_written(tmp_path, marker):
    rows = [f"{'mMf'[i % 3]},{-999.0 if i == 4 else i}" for i in range(9)]
    path = file(tmp_path, "t.csv", "s,x\n" + "\n".join(rows) + "\n")
    values = read_table(path, text=TextOptions(missing=(marker,))).values
    assert np.isnan(values).sum() == (3 if marker == "M" else 1)


def test_units_are_no_notes(tmp_path):
    path = file(tmp_path, "t.csv", "a;b\n1 k;1\n2;\n3 M;3\n7;5\n")
    with pytest.raises(InputError, match="line 2: '1 k'") as caught:
        read_table(path)
    assert "--notes" not in str(caught.value)
    with pytest.raises(InputError, match="line 2: '1 k'"):
        read_table(path, text=TextOptions(notes=True))
    flags = file(tmp_path, "u.csv", "a;b\n153 p;1\n12*;\n3;3\n")
    table = read_table(flags, text=TextOptions(notes=True))
    np.testing.assert_array_equal(table.values[:, 0], [153, 12, 3])
    assert "notes behind numbers: 'p' (1), '*' (1)" in table.notes


@pytest.mark.parametrize(
    ("cells", "line", "fault"),
    [
        (["12%", "0.5", "3%", ""], 3, "'0.5' in 'a' is no percentage, as others are"),
        (["12", "0.5%", "3", ""], 3, "'0.5%' in 'a' is a percentage among plain numbers"),
    ],
)
def test_percentages_among_plain_numbers_are_refused(tmp_path, cells, line, fault):
    content = "a,b\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells))
    with pytest.raises(InputError, match=f"line {line}: {fault}; .*--keep a"):
        read_table(file(tmp_path, "t.csv", content))


class TestSelection:
    CONTENT = "2,1,x,x\n1.5,,a,5\n,2.5,b,6\n3.5,4.5,a,\n5,6,b,8\n"

    def read(self, tmp_path, **names):
        return read_table(file(tmp_path, "t.csv", self.CONTENT), selection=Selection(**names))

    def test_a_number_is_a_position(self, tmp_path):
        """--drop 1 is the first column, though the second is called 1."""
        table = self.read(tmp_path, drop=("1",))
        assert [f.name for f in table.features] == ["1", "x [3]", "x [4]"]
        out = table.encode(np.full(table.values.shape, 1.0), ".csv")
        assert out == b"1,x,x\n1,a,5\n2.5,b,6\n4.5,a,1\n6,b,8\n"

    def test_keep_columns_and_categorical(self, tmp_path):
        assert [f.name for f in self.read(tmp_path, keep=("2",)).features] == [
            "2",
            "x [3]",
            "x [4]",
        ]
        only = self.read(tmp_path, columns=("4", "1"))
        assert [f.name for f in only.features] == ["2", "x [4]"]
        assert only.carried == ("'1' (kept, 1 missing stay)", "'x [3]' (kept)")
        labels = self.read(tmp_path, categorical=("4",)).features[-1]
        assert labels.categories == ("5", "6", "8")

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ({"drop": ("y",)}, "--drop: .* has no column 'y'; it has '2', '1', 'x', 'x'"),
            ({"keep": ("x",)}, "--keep: .* has 2 columns 'x'; give the number of one, such as 3"),
            ({"keep": ("2",), "drop": ("2",)}, "--keep, --drop: column 2 .* named in both"),
            ({"columns": ("3",), "keep": ("1", "2", "4")}, "no missing entry"),
        ],
    )
    def test_what_cannot_be_meant(self, tmp_path, names, message):
        with pytest.raises(InputError, match=message):
            self.read(tmp_path, **names)

    def test_text_that_is_to_be_fitted_is_refused_with_the_way_out(self, tmp_path):
        path = file(tmp_path, "t.csv", "n,x\nann,1\nbob,\ncyd,3\n")
        with pytest.raises(InputError, match=r"line 2: 'ann' .* --categorical n"):
            read_table(path, selection=Selection(columns=("n", "x")))
