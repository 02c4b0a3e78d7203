"""Words, numbers and lines that may mean two things are told, or refused."""

import numpy as np
import pytest
from table_files import file

from deeplinear.errors import InputError
from deeplinear.files import Selection, TextOptions, read_table


def labels(path, **options):
    """The labels of the first category, None where the cell is missing; and the notes."""
    selection = Selection(categorical=options.pop("categorical", ()))
    table = read_table(path, text=TextOptions(**options), selection=selection)
    j = next(k for k, feature in enumerate(table.features) if feature.categories)
    names = table.features[j].categories
    found = [None if np.isnan(code) else names[int(code)] for code in table.values[:, j]]
    return found, table.notes


def table_of(tmp_path, words, name="t.csv"):
    rows = "".join(f"{k}.5,{word}\n" for k, word in enumerate(words))
    return file(tmp_path, name, "x,kind\n" + rows + "9.5,\n")


class TestWordsThatMayBeLabels:
    """Surveys answer "None" (to: which stuffing?), and NA is North America beside EU and AF."""

    SAUCE = ("Canned", "None", "Homemade", "Canned", "", "None", "Homemade", "Canned")
    CONTINENTS = ("EU", "NA", "AF", "EU", "AF", "NA", "AS", "AS")

    def test_beside_empty_cells_none_is_an_answer(self, tmp_path):
        found, notes = labels(table_of(tmp_path, self.SAUCE))
        assert found == [word or None for word in self.SAUCE] + [None]
        assert notes == (
            "'None' in 'kind' is read as a label: --missing None if it marks missing cells",
        )

    def test_its_cells_come_back_byte_for_byte(self, tmp_path):
        path = table_of(tmp_path, self.SAUCE)
        table = read_table(path)
        out = table.encode(np.zeros(table.values.shape), ".csv").decode()
        assert out == path.read_text().replace("4.5,\n", "4.5,Canned\n").replace(
            "9.5,\n", "9.5,Canned\n"
        )

    @pytest.mark.parametrize("words", [SAUCE, [w.lower() for w in SAUCE]])
    def test_the_user_says_that_it_is_missing(self, tmp_path, words):
        found, notes = labels(table_of(tmp_path, words), missing=("None",))
        assert found == [None if w.lower() in ("", "none") else w for w in words] + [None]
        assert notes == ()

    @pytest.mark.parametrize(
        ("words", "word"),
        [
            ([w for w in SAUCE if w], "None"),
            (["yes", "nil", "no", "yes", "no", "nil"], "nil"),
            (CONTINENTS, "NA"),
        ],
    )
    def test_alone_it_is_missing_and_said(self, tmp_path, words, word):
        rows = "".join(f"{k}.5,{w}\n" for k, w in enumerate(words))
        path = file(tmp_path, "t.csv", "x,kind\n" + rows)
        found, notes = labels(path)
        assert found == [None if w == word else w for w in words]
        assert any(f"--present {word} if it is a value" in note for note in notes)
        assert labels(path, present=(word,), missing=("0.5",))[0] == list(words)

    @pytest.mark.parametrize(
        "words",
        [
            ["MALE", "NA", "FEMALE", "MALE", "FEMALE", "NA"],  # R's missing value
            ["NO", "n/a", "DE", "NO", "DE", "n/a"],
            ["NO", "na", "DE", "NO", "DE", "na"],
            ["yes", "null", "no", "yes", "no", "NULL"],
        ],
    )
    def test_markers_that_are_no_labels_stay_markers(self, tmp_path, words):
        found, notes = labels(table_of(tmp_path, words))
        gone = ("na", "n/a", "null")
        assert found == [None if w.lower() in gone else w for w in words] + [None]
        assert not any("label" in note for note in notes)

    def test_among_numbers_none_is_missing(self, tmp_path):
        table = read_table(file(tmp_path, "t.csv", "a,b\n1,2\nNone,3\n4,nil\n"))
        np.testing.assert_array_equal(table.values, [[1, 2], [np.nan, 3], [4, np.nan]])


class TestMarkersAmongOtherNumbers:
    """Jester: 99 marks missing ratings in [-10, 10], but the first column counts up to 100."""

    def rows(self, rng):
        ratings = rng.uniform(-10, 10, size=(60, 3)).round(2)
        ratings[rng.random(ratings.shape) < 0.3] = 99
        counts = rng.permutation(np.arange(41, 101))
        return np.column_stack([counts, ratings])

    def write(self, tmp_path, values):
        text = "".join(",".join(f"{v:g}" for v in row) + "\n" for row in values)
        return file(tmp_path, "t.csv", text)

    def test_a_note_names_the_column(self, tmp_path, rng):
        table = read_table(self.write(tmp_path, self.rows(rng)), text=TextOptions(missing=("99",)))
        (note,) = table.notes
        assert note.startswith("99 was read as missing in column 1, too (1 cells)")
        assert "--keep 1" in note

    def test_the_hint_counts_the_columns_that_it_is_about(self, tmp_path, rng):
        values = self.rows(rng)
        count = int((values[:, 1:] == 99).sum())
        with pytest.raises(InputError, match=rf"99 \({count} cells of 3 columns\)"):
            read_table(self.write(tmp_path, values))

    @pytest.mark.parametrize("marker", ["-999", "0", "1e3"])
    def test_markers_beyond_the_others_need_no_note(self, tmp_path, rng, marker):
        values = rng.integers(1, 90, size=(30, 2)).astype(float)
        values[:5, 0] = float(marker)
        table = read_table(self.write(tmp_path, values), text=TextOptions(missing=(marker,)))
        assert np.isnan(table.values[:5, 0]).all()
        assert table.notes == ()


SURVEY = (
    "id,Rank the films,,seen\n,Film A,Film B,Response\n7,1,2,yes\n8,2,,no\n9,,1,yes\n10,1,2,no\n"
)
UNITS = "time;temp;salt\ns;°C;psu\n1;20.5;\n2;;35.1\n3;21.5;34.9\n"
USGS = (
    "# river\nagency\tsite\tflow\tcode\n5s\t15s\t14n\t10s\n"
    "USGS\t02177\t1.5\tA\nUSGS\t02177\t\tA\nUSGS\t02178\t2.5\tP\n"
)


class TestSecondHeadings:
    @pytest.mark.parametrize(
        ("content", "first"),
        [(SURVEY, 2), (UNITS, 2), (USGS, 3)],
        ids=["survey", "units", "usgs"],
    )
    def test_it_stays_as_it_is_and_is_said(self, tmp_path, content, first):
        table = read_table(file(tmp_path, "t.txt", content))
        lines = content.splitlines()
        assert len(table.values) == len(lines) - first
        assert any("a second line of text above the data" in note for note in table.notes)
        filled = np.where(np.isnan(table.values), 1, table.values)
        assert table.encode(filled, ".txt").decode().splitlines()[:first] == lines[:first]

    @pytest.mark.parametrize(
        "content",
        [
            "name,a,b\nann,<0.5,<0.5\nbob,1,2\ncyd,,3\n",  # below detection limits
            "name,a,b\nann,low,3\nbob,1,2\ncyd,,3\n",
        ],
    )
    def test_rows_of_data_are_none(self, tmp_path, content):
        with pytest.raises(InputError, match="is no number") as caught:
            read_table(file(tmp_path, "t.csv", content))
        assert "second heading" not in str(caught.value)
