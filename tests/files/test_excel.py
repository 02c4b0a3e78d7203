"""Excel workbooks: typed cells, and a copy in which only the missing cells change."""

import datetime as dt
import io
import re
import zipfile

import numpy as np
import pytest
from table_files import file, write_back

from deeplinear.completion.data.features import FeatureKind
from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table

openpyxl = pytest.importorskip("openpyxl")

ROWS = [
    ["id", "x", "n", "ok", "group", "when", "note"],
    ["a", 1.5, 3, True, "u", dt.datetime(2020, 1, 1), "first"],
    ["b", None, None, None, "v", None, "second"],
    ["c", 2.5, "NA", False, None, dt.datetime(2020, 1, 2), "third"],
    ["d", "#N/A", 5, True, "u", dt.datetime(2020, 1, 1), None],
    ["e", 1.25, 5, True, "v", dt.datetime(2020, 1, 1), "fifth"],
]


def save(path, rows, *, corner=(1, 1), change=lambda sheet: None):
    """One sheet called Data, whose table begins at ``corner`` (row, column)."""
    book = openpyxl.Workbook()
    book.active.title = "Data"
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            book.active.cell(corner[0] + i, corner[1] + j, value)
    change(book.active)
    book.save(path)
    return path


def edited(path, part, pattern, replacement):
    """The archive with the bytes of one part replaced."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    parts[part], count = re.subn(pattern, replacement, parts[part])
    assert count
    with zipfile.ZipFile(path, "w") as new:
        for name, data in parts.items():
            new.writestr(name, data)
    return path


def values(path, title="Data", **options):
    sheet = openpyxl.load_workbook(path, **options)[title]
    return {cell.coordinate: cell.value for row in sheet.iter_rows() for cell in row}


class TestCells:
    @pytest.mark.parametrize("corner", [(1, 1), (3, 3)])
    def test_only_missing_cells_change(self, tmp_path, corner):
        path = save(tmp_path / "a.xlsx", ROWS, corner=corner)
        table = read_table(path)
        np.testing.assert_array_equal(table.values[:, 0], [1.5, np.nan, 2.5, np.nan, 1.25])
        kinds = [(feature.name, feature.kind, feature.categories) for feature in table.features]
        assert kinds == [
            ("x", FeatureKind.number, ()),
            ("n", FeatureKind.integer, ()),
            ("ok", FeatureKind.category, (False, True)),
            ("group", FeatureKind.category, ("u", "v")),
        ]
        assert table.carried == (
            "'id' (labels)",
            "'when' (dates, 1 missing stay)",
            "'note' (text, 1 missing stay)",
        )
        filled = np.tile([0.25, 4, 1, 1], (5, 1))
        found = values(file(tmp_path, "b.xlsx", table.encode(filled, ".xlsx")))
        new = {(2, 1): 0.25, (4, 1): 0.25, (2, 2): 4, (3, 2): 4, (2, 3): True, (3, 4): "v"}
        for i, row in enumerate(ROWS):
            for j, value in enumerate(row):
                cell = openpyxl.utils.get_column_letter(corner[1] + j) + str(corner[0] + i)
                assert found[cell] == new.get((i, j), value)
                assert type(found[cell]) is type(new.get((i, j), value))

    def test_formats_comments_and_other_sheets_are_kept(self, tmp_path):
        def change(sheet):
            sheet["B3"].font = openpyxl.styles.Font(bold=True)
            sheet["B3"].number_format = "0.00"
            sheet["B2"].comment = openpyxl.comments.Comment("sure?", "me")
            sheet.column_dimensions["B"].width = 33
            other = sheet.parent.create_sheet("Other")
            other["A1"] = "keep"
            chart = openpyxl.chart.BarChart()
            chart.add_data(openpyxl.chart.Reference(sheet, min_col=2, min_row=1, max_row=6))
            other.add_chart(chart)

        path = save(tmp_path / "a.xlsx", ROWS, change=change)
        table = read_table(path)
        assert table.describe().startswith("sheet 'Data' (not 'Other'; choose with --sheet): ")
        out = write_back(table, tmp_path / "b.xlsx", 0.0)
        sheet = openpyxl.load_workbook(out)["Data"]
        assert sheet["B3"].font.bold
        assert (sheet["B3"].value, sheet["B3"].number_format) == (0, "0.00")
        assert sheet["B2"].comment.text == "sure?"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(out) as new:
            assert old.namelist() == new.namelist()
            changed = {name for name in old.namelist() if old.read(name) != new.read(name)}
        assert changed == {"xl/worksheets/sheet1.xml"}

    def test_cells_that_the_file_does_not_have(self, tmp_path):
        rows = [["x", "y", "z", "w"], [1.5, None, None, 4], [None, 2.5, 3, None], [1, 2, 3.5, 1.5]]
        path = save(tmp_path / "a.xlsx", rows)
        part = "xl/worksheets/sheet1.xml"
        edited(path, part, rb'<row r="(\d)"', rb'<row r="\1" spans="1:2"')
        out = write_back(read_table(path), tmp_path / "b.xlsx")
        expected = [[0.25 if cell is None else cell for cell in row] for row in rows]
        sheet = openpyxl.load_workbook(out)["Data"]
        assert [list(row) for row in sheet.iter_rows(values_only=True)] == expected

    def test_cells_without_references_and_with_a_prefix(self, tmp_path):
        path = save(tmp_path / "a.xlsx", [["x", "y"], [1.5, 2.5], [3.5, None], [4, 5]])
        part = "xl/worksheets/sheet1.xml"
        edited(path, part, rb' r="[A-Z]*\d+"', b"")
        edited(path, part, rb"(</?)(\w)", rb"\1s:\2")
        edited(path, part, rb" xmlns=", b" xmlns:s=")
        out = write_back(read_table(path), tmp_path / "b.xlsx")
        assert values(out)["B3"] == 0.25
        assert values(out)["A4"] == 4

    def test_labels_with_signs_of_xml(self, tmp_path):
        rows = [["c", "x"], *([label, k + 0.5] for k, label in enumerate(["a<b & c", " d"] * 3))]
        path = save(tmp_path / "a.xlsx", [[x, c] for c, x in rows])
        mask = file(tmp_path, "m.csv", "0,1\n" + "0,0\n" * 5)
        table = read_table(path, mask=mask)
        for code, label in enumerate([" d", "a<b & c"]):
            out = file(tmp_path, "b.xlsx", table.encode(np.full((6, 2), float(code)), ".xlsx"))
            assert values(out)["B2"] == label

    def test_whole_numbers_with_a_format_of_decimals_are_not_integers(self, tmp_path):
        def change(sheet):
            for k in range(2, 5):
                sheet.cell(k, 2).number_format = "0.00"

        rows = [["x", "y", "z"], [1, 2, 3], [None, 5, 6.5], [7, None, 8]]
        table = read_table(save(tmp_path / "a.xlsx", rows, change=change))
        kinds = [feature.kind for feature in table.features]
        assert kinds == [FeatureKind.integer, FeatureKind.number, FeatureKind.number]

    def test_errors_and_markers_are_missing(self, tmp_path):
        rows = [["x", "y"], [1.5, "#DIV/0!"], ["#REF!", 2.5], ["n/a", " "], ["none known", 3]]
        path = save(tmp_path / "a.xlsx", [*rows, [2, 3]])
        table = read_table(path, text=TextOptions(missing=("none known",)))
        np.testing.assert_array_equal(
            table.values, [[1.5, np.nan], [np.nan, 2.5], [np.nan] * 2, [np.nan, 3], [2, 3]]
        )

    def test_header_and_labels_can_be_told(self, tmp_path):
        path = save(tmp_path / "a.xlsx", [[2001, 2002], [1, None], [3, 4]])
        assert read_table(path, text=TextOptions(header=False)).values.shape == (3, 2)
        assert read_table(path, text=TextOptions(header=True)).values.shape == (2, 2)
        assert read_table(path, text=TextOptions(header=True, labels=True)).values.shape == (2, 1)

    def test_empty_rows_and_columns_between_are_left_alone(self, tmp_path):
        rows = [["x", None, "y"], [1.5, None, None], [None] * 3, [2.5, None, 3]]
        table = read_table(save(tmp_path / "a.xlsx", rows))
        np.testing.assert_array_equal(table.values, [[1.5, np.nan], [2.5, 3]])
        assert values(write_back(table, tmp_path / "b.xlsx"))["C2"] == 0.25


class TestFormulas:
    @pytest.fixture
    def path(self, tmp_path):
        """Formulas with the results that Excel would have stored, one of them an error."""
        rows = [["x", "double"], [1.5, "=A2*2"], [None, "=1/A3"], [2.5, "=A4*2"]]
        path = save(tmp_path / "a.xlsx", rows)
        part = "xl/worksheets/sheet1.xml"
        edited(path, part, rb"<f>A2\*2</f><v ?/>", b"<f>A2*2</f><v>3</v>")
        edited(path, part, rb"<f>A4\*2</f><v ?/>", b"<f>A4*2</f><v>5</v>")
        edited(
            path,
            part,
            rb'<c r="B3"><f>1/A3</f><v ?/>',
            b'<c r="B3" t="e"><f>1/A3</f><v>#DIV/0!</v>',
        )
        return path

    def test_results_count_and_formulas_are_kept(self, tmp_path, path):
        table = read_table(path)
        np.testing.assert_array_equal(table.values[:, 1], [3, np.nan, 5])
        assert table.describe().endswith("; formulas without a result that become values: 1")
        out = file(tmp_path, "b.xlsx", table.encode(np.full((3, 2), 4.0), ".xlsx"))
        found, cached = values(out), values(out, data_only=True)
        assert (found["B2"], found["B3"], found["B4"]) == ("=A2*2", 4, "=A4*2")
        assert (cached["B2"], cached["A3"], cached["B4"]) == (3, 4, 5)

    def test_the_order_of_calculation_goes_with_a_replaced_formula(self, tmp_path, path):
        with zipfile.ZipFile(path) as old:
            parts = {name: old.read(name) for name in old.namelist()}
        types, links = "[Content_Types].xml", "xl/_rels/workbook.xml.rels"
        parts[types] = parts[types].replace(
            b"</Types>", b'<Override PartName="/xl/calcChain.xml" ContentType="x"/></Types>'
        )
        parts[links] = parts[links].replace(
            b"</Relationships>",
            b'<Relationship Id="c" Type="x/calcChain" Target="calcChain.xml"/></Relationships>',
        )
        parts["xl/calcChain.xml"] = b'<calcChain><c r="B3"/></calcChain>'
        with zipfile.ZipFile(path, "w") as new:
            for name, data in parts.items():
                new.writestr(name, data)
        out = write_back(read_table(path), tmp_path / "b.xlsx", 1.0)
        with zipfile.ZipFile(out) as archive:
            assert "xl/calcChain.xml" not in archive.namelist()
            assert b"calcChain" not in archive.read(types) + archive.read(links)
        assert values(out)["B3"] == 1

    def test_formulas_that_were_never_calculated_are_refused(self, tmp_path):
        path = save(tmp_path / "a.xlsx", [["x", "y"], [1.5, "=A2*2"], [None, 3]])
        with pytest.raises(InputError, match=r"formulas without a value in sheet 'Data'.*cell B2"):
            read_table(path)

    def test_a_missing_cell_that_leads_a_shared_formula_is_refused(self, tmp_path, path):
        part = "xl/worksheets/sheet1.xml"
        edited(path, part, b"<f>1/A3</f>", b'<f t="shared" ref="B3:B4" si="0">1/A3</f>')
        with pytest.raises(InputError, match="cell B3 belongs to a formula of several cells"):
            read_table(path)

    def test_excel_is_asked_to_calculate_anew(self, tmp_path, path):
        edited(path, "xl/workbook.xml", b' fullCalcOnLoad="1"', b"")
        out = write_back(read_table(path), tmp_path / "b.xlsx", 1.0)
        assert openpyxl.load_workbook(out).calculation.fullCalcOnLoad


class TestSheets:
    @pytest.fixture
    def path(self, tmp_path):
        def change(sheet):
            book = sheet.parent
            hidden = book.create_sheet("Lists", 0)
            hidden.append([1, None])
            hidden.sheet_state = "hidden"
            book.create_sheet("Empty", 1)
            more = book.create_sheet("More")
            for row in [["x", "y"], [1.5, 7], [2.5, None]]:
                more.append(row)

        return save(tmp_path / "a.xlsx", ROWS, change=change)

    def test_the_first_visible_sheet_with_cells_or_the_named_one(self, tmp_path, path):
        assert read_table(path).describe().startswith("sheet 'Data' (not 'More'; choose")
        table = read_table(path, sheet="More")
        np.testing.assert_array_equal(table.values, [[1.5, 7], [2.5, np.nan]])
        assert table.describe().startswith("sheet 'More': 2 × 2")
        out = write_back(table, tmp_path / "b.xlsx", 9.0)
        assert values(out, "More")["B3"] == 9
        assert values(out) == values(path)

    def test_refusals(self, tmp_path, path):
        with pytest.raises(InputError, match=r"--sheet: .* no sheet 'data'; it has 'Lists', 'Emp"):
            read_table(path, sheet="data")
        with pytest.raises(InputError, match="no cells with data in sheet 'Empty'"):
            read_table(path, sheet="Empty")
        with pytest.raises(InputError, match=r"--sheet: it chooses in files of the types \.xlsx"):
            read_table(file(tmp_path, "a.csv", "1,\n2,3\n"), sheet="Data")
        with pytest.raises(InputError, match="is empty"):
            read_table(save(tmp_path / "b.xlsx", []))


class TestRefusals:
    def test_merged_cells_in_the_table_only(self, tmp_path):
        merged = save(tmp_path / "a.xlsx", ROWS, change=lambda sheet: sheet.merge_cells("B3:C3"))
        with pytest.raises(InputError, match=r"merged cells \(B3:C3\) in sheet 'Data'; unmerge"):
            read_table(merged)
        aside = save(tmp_path / "b.xlsx", ROWS, change=lambda sheet: sheet.merge_cells("K9:L9"))
        assert read_table(aside).values.shape == (5, 4)

    def test_numbers_as_text_with_a_decimal_comma(self, tmp_path):
        rows = [["x", "y"], ["1,5", 1.5], ["2,5", None], [None, 3]]
        path = save(tmp_path / "a.xlsx", rows)
        table = read_table(path)
        np.testing.assert_array_equal(table.values[:, 0], [1.5, 2.5, np.nan])
        assert "decimal mark ','" in table.notes
        rows[1][0], rows[2][0] = "1,500", "2,500"
        with pytest.raises(InputError, match=r"cell A2 .* with --decimal ',' or --thousands ','"):
            read_table(save(tmp_path / "b.xlsx", [[*row[:1], 1] for row in rows]))

    def test_text_among_numbers(self, tmp_path):
        rows = [["x", "y"], [1.5, 2], [2.5, "about 3"], [None, 4]]
        with pytest.raises(
            InputError, match=r"cell B3 of sheet 'Data': 'about 3' in 'y' is no number; .*--miss"
        ):
            read_table(save(tmp_path / "a.xlsx", rows))
        rows[2][1] = dt.datetime(2020, 1, 1)
        with pytest.raises(InputError, match=r"cell B3 .*: '2020-01-01 00:00:00' in 'y' is no"):
            read_table(save(tmp_path / "b.xlsx", rows))

    def test_numbers_among_text_are_carried(self, tmp_path):
        rows = [["x", "code"], [1.5, "A1"], [None, "B2"], [2.5, "C3"], [3.5, 7]]
        assert read_table(save(tmp_path / "a.xlsx", rows)).carried == ("'code' (text)",)

    def test_an_infinite_entry_names_its_cell(self, tmp_path):
        path = save(tmp_path / "a.xlsx", [["x", "y"], [1.5, None], [2.5, "inf"]])
        with pytest.raises(InputError, match="infinite entry, the first at cell B3, column 'y'"):
            read_table(path)

    def test_old_and_locked_files(self, tmp_path):
        path = file(tmp_path, "a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
        with pytest.raises(InputError, match=r"has a password or is an old \.xls file"):
            read_table(path)
        with pytest.raises(InputError, match=r"unknown type '\.xls'; save it as \.xlsx"):
            read_table(file(tmp_path, "a.xls", b"\xd0\xcf\x11\xe0"))

    def test_without_openpyxl(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
        with pytest.raises(
            InputError, match=r"needs openpyxl; run: pip install 'deeplinear\[excel"
        ):
            read_table(file(tmp_path, "a.xlsx", b"PK"))


def test_pandas_reads_the_output(tmp_path):
    pd = pytest.importorskip("pandas")
    path = save(tmp_path / "a.xlsx", ROWS)
    before = pd.read_excel(path, na_values=["#N/A"])
    out = write_back(read_table(path), tmp_path / "b.xlsx", 0.0)
    after = pd.read_excel(io.BytesIO(out.read_bytes()))
    fill = {"x": 0.0, "n": 0, "group": "u"}
    before["ok"] = before["ok"].astype("boolean").fillna(False)
    pd.testing.assert_frame_equal(after, before.fillna(fill), check_dtype=False)
