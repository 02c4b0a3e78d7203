"""Long text files: the entries that are there, in pieces, and trouble with its line."""

import numpy as np
import pandas as pd
import pytest
from long_files import ITEMS, TRUTH, USERS, VALUES, entries, triples
from table_files import file

from deeplinear.errors import InputError
from deeplinear.files import columns
from deeplinear.files.long import read_long


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

    def test_numbers_of_columns_are_not_looked_for_among_entries(self, tmp_path):
        """A first line 1,3,2 is an entry, though it holds the numbers of all columns."""
        path = tmp_path / "a.csv"
        path.write_text("1,3,2\n4,5,2.5\n")
        assert entries(read_long(path, "1", "2", "3")) == {(1, 3): 2.0, (4, 5): 2.5}
        assert entries(read_long(path, cols="3", values="2")) == {(1, "2"): 3.0, (4, "2.5"): 5.0}

    def test_headings_that_are_numbers(self, tmp_path):
        path = tmp_path / "a.csv"
        path.write_text("u,30,x\na,1,2.5\n")
        assert entries(read_long(path, "u", "30", "x")) == {("a", 1): 2.5}

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
            ("u,i,x\na,1,2\n\na,3\n", r"line 4 has 2 cells where line 2 has 3"),
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


class TestLines:
    def test_other_encodings_are_told_with_the_line(self, tmp_path):
        (tmp_path / "r.csv").write_bytes("who,what,r\nRené,1,2\nRenè,1,3\n".encode("latin-1"))
        with pytest.raises(
            InputError,
            match=r"line 2 \(byte 0xe9 at place 4\) is not UTF-8 text; name its --encoding",
        ):
            read_long(tmp_path / "r.csv")
        (tmp_path / "r.csv").write_text("who,what,r\nRené,1,2\nRenè,1,3\n", encoding="utf-8-sig")
        assert read_long(tmp_path / "r.csv").row_ids.labels.tolist() == ["René", "Renè"]

    @pytest.mark.parametrize("end", ["\n", "\r\n", "  \n\n"])
    @pytest.mark.parametrize("mark", ["::", ",", "\t"])
    def test_blank_lines(self, tmp_path, mark, end):
        lines = [mark.join(line) for line in (("7", "1", "2.5"), ("8", "1", "3.5"))]
        (tmp_path / "r.dat").write_text(
            "\n".join([*lines[:1], "", *lines[1:]]) + "\n" + end, newline=""
        )
        found = read_long(tmp_path / "r.dat")
        assert triples(found)[0].tolist() == [7, 8]
        assert found.values.tolist() == [2.5, 3.5]


class TestValuesThatAreNotThird:
    """Without options the first three columns are taken, unless a heading contradicts."""

    @pytest.mark.parametrize(
        ("heading", "third", "values"),
        [
            ("date,film_id,user_id,rate", "user_id", "rate"),  # Netflix, by Kafka
            ("userId,movieId,timestamp,rating", "timestamp", "rating"),
            ("Country,Unit,Indicator,Value", "Indicator", "Value"),
            ("User-ID,ISBN,Year,Book-Rating", "Year", "Book-Rating"),
        ],
    )
    def test_it_is_refused(self, tmp_path, heading, third, values):
        path = file(tmp_path, "r.csv", f"{heading}\n1,2,3,4.5\n1,3,4,2.5\n2,2,5,1.5\n")
        with pytest.raises(InputError, match=f"third column .* is '{third}', and '{values}'"):
            read_long(path)
        rows, cols = heading.split(",")[:2]
        assert read_long(path, rows, cols, values).values.tolist() == [4.5, 2.5, 1.5]

    @pytest.mark.parametrize(
        "heading", ["userId,movieId,rating,timestamp", "a,b,c,d", "u,i,score,value", "u,i,stars"]
    )
    def test_the_third_is_taken(self, tmp_path, heading):
        rows = [[1, 2, 4.5, 7], [1, 3, 2.5, 8], [2, 2, 1.5, 9]]
        width = heading.count(",") + 1
        lines = [",".join(map(str, row[:width])) for row in rows]
        path = file(tmp_path, "r.csv", "\n".join([heading, *lines]) + "\n")
        assert read_long(path).values.tolist() == [4.5, 2.5, 1.5]
