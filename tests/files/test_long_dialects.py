"""Long text files as people have them: read right, or refused with the line and what mends it."""

import bz2
import gzip
import lzma
import re
import shlex
import warnings
import zipfile

import numpy as np
import pytest
from long_dialects import random_case
from long_files import ITEMS, TRUTH, USERS, VALUES, entries, triples

from deeplinear.errors import InputError
from deeplinear.files import columns
from deeplinear.files.dialect import BLANK, guess_separator
from deeplinear.files.long import read_long
from deeplinear.files.text_options import TextOptions


def written(tmp_path, content, name="a.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content, *wanted, name="a.csv", **options):
    return entries(
        read_long(written(tmp_path, content, name), *wanted, text=TextOptions(**options))
    )


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


class TestRandomFiles:
    @pytest.mark.parametrize("block", range(8))
    def test_right_or_refused_or_said_to_be_a_guess(self, tmp_path, block):
        for seed in range(50 * block, 50 * block + 50):
            case = random_case(np.random.default_rng(seed))
            path = written(tmp_path, case.content, case.name)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    found = read_long(path, *case.wanted, text=case.options)
                except InputError as error:
                    message = str(error)
                    assert "--" in message or "correct" in message or "close it" in message
                    if case.bad_lines:
                        line = re.search(r"line (\d+)", message)
                        assert int(line[1]) in case.bad_lines, (seed, message)
                    continue
            if any("which is a guess" in str(w.message) for w in caught):
                continue
            assert not case.bad_lines, seed
            labels = (side.tolist() for side in triples(found))
            assert list(zip(*labels, strict=True)) == case.entries, seed

    def test_most_are_read_and_few_are_guesses(self, tmp_path):
        right = 0
        for seed in range(1000, 1150):
            case = random_case(np.random.default_rng(seed))
            path = written(tmp_path, case.content, case.name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found = read_long(path, *case.wanted, text=case.options)
                except InputError:
                    right += bool(case.bad_lines)
                    continue
            labels = (side.tolist() for side in triples(found))
            right += list(zip(*labels, strict=True)) == case.entries
        assert right >= 0.97 * 150


class TestColumnsByNumber:
    """A number is a position; a heading only where there is no such position."""

    @pytest.mark.parametrize(
        ("content", "name", "truth"),
        [
            ("1::1193::5::978300760\n1::661::3::978302109\n", "r.dat", {(1, 1193): 5, (1, 661): 3}),
            ("2::1::4::9\n3::7::5::9\n", "r.dat", {(2, 1): 4, (3, 7): 5}),
            ("196\t242\t3\t881250949\n186\t302\t3\t891717742\n", "u.data",
             {(196, 242): 3, (186, 302): 3}),
            ("3,2,1\n1,3,2\n", "a.csv", {(3, 2): 1, (1, 3): 2}),
            ("3 1 2\n1 3 2\n", "a.txt", {(3, 1): 2, (1, 3): 2}),
        ],
    )  # fmt: skip
    def test_first_lines_that_hold_column_numbers(self, tmp_path, content, name, truth):
        assert read(tmp_path, content, "1", "2", "3", name=name) == truth
        assert read(tmp_path, content, name=name) == truth

    def test_numbers_reach_columns_under_headings_that_are_numbers(self, tmp_path):
        content = "u,3,2,1\nann,7,2.5,99\nbob,8,1.5,99\n"
        truth = {("ann", 7): 2.5, ("bob", 8): 1.5}
        assert read(tmp_path, content, "1", "2", "3", header=True) == truth
        with pytest.warns(UserWarning, match="taken for an entry, which is a guess; --header"):
            read(tmp_path, content, "1", "2", "3")

    @pytest.mark.parametrize("value", ["2019", "3"])
    def test_a_year_is_a_heading(self, tmp_path, value):
        content = "user,item,2019\n1,5,2.5\n2,6,3.5\n"
        assert read(tmp_path, content, "user", "item", value) == {(1, 5): 2.5, (2, 6): 3.5}
        assert read(tmp_path, content) == {(1, 5): 2.5, (2, 6): 3.5}

    def test_a_position_that_is_not_there_is_no_heading_of_entries(self, tmp_path):
        with pytest.raises(InputError, match="number 30 was asked for"):
            read(tmp_path, "5,30,4\n6,31,5\n", "1", "30", "3")

    def test_repeated_headings(self, tmp_path):
        content = "u,x,x,i\nann,1,2,7\n"
        with pytest.raises(InputError, match="has 2 columns 'x'; give the number of one, such as"):
            read(tmp_path, content, "u", "i", "x")
        assert read(tmp_path, content, "u", "i", "3") == {("ann", 7): 2.0}

    def test_columns_without_heading_are_left_out_by_default(self, tmp_path):
        """As pandas and R write the numbers of rows."""
        truth = {("ann", 7): 2.5, ("bob", 8): 1.5}
        pandas = ",user,item,rating\n0,ann,7,2.5\n1,bob,8,1.5\n"
        assert read(tmp_path, pandas) == truth
        r = "user item rating\n1 ann 7 2.5\n2 bob 8 1.5\n"
        assert read(tmp_path, r, name="a.txt") == truth
        assert read(tmp_path, r, "user", "item", "rating", name="a.txt") == truth
        with pytest.raises(InputError, match="line 1 has 3 cells where line 2 has 4"):
            read(tmp_path, "user,item,rating\n1,2,3,5\n2,3,4,5\n")  # rather decimal commas


class TestHeadings:
    @pytest.mark.parametrize(
        ("content", "count"),
        [
            ("user,item,rating\nann,7,1\n", 1),
            ("196 242 3 881250949\n186 302 3 891717742\n", 2),
            ("ann,x,3\nann,y,4\nbob,x,3\n", 3),
            ("u1,i1,3.5\nu2,i5,4\nu7,i2,3\n", 3),
            ("user,item,2019,when\nann,x,3,1\nbob,y,4,2\n", 2),
            ("user,item,12\nu1,i1,3\nu2,i5,4\nu7,i2,3\n", 3),
            ("ann,x,3\n", 1),
        ],
    )
    def test_without_doubt(self, tmp_path, content, count):
        text = "user,item,2019,when" in content
        if text:  # one column tells: it is said to be a guess
            with pytest.warns(UserWarning, match="taken for a heading, which is a guess"):
                assert len(read(tmp_path, content)) == count
        else:
            assert len(read(tmp_path, content)) == count

    def test_a_guess_is_said_and_the_option_overrides_it(self, tmp_path):
        content = "person,film,2019\nann,x,3\nbob,y,4\n"
        with pytest.warns(UserWarning, match=r"an entry, which is a guess; --header says other"):
            assert len(read(tmp_path, content)) == 3
        assert read(tmp_path, content, header=True) == {("ann", "x"): 3.0, ("bob", "y"): 4.0}
        assert len(read(tmp_path, content, header=False)) == 3

    def test_a_comment_may_name_the_columns(self, tmp_path):
        content = "# made in 2024\n# user item rating\nann 7 1.5\nbob 8 2.5\n"
        found = read_long(written(tmp_path, content, "a.txt"), "item", "user", "rating")
        assert entries(found) == {(7, "ann"): 1.5, (8, "bob"): 2.5}
        assert found.names == ("item", "user", "rating")

    def test_a_first_entry_with_a_bad_value_is_no_heading(self, tmp_path):
        with pytest.raises(InputError, match=r"line 1: the value is 'good' .* with --header"):
            read(tmp_path, "1,2,good\n2,3,4\n3,4,4\n")
        found = read(tmp_path, "1,2,good\n2,3,4\n3,4,4\n", header=True)
        assert found == {(2, 3): 4.0, (3, 4): 4.0}


FORMS = {
    "decimal comma": ("ann;7;1,5\nbob;8;-2,25\n", {}),
    "decimal comma after blanks": ("ann 7 1,5\nbob  8   -2,25\n", {}),
    "decimal comma in quotes": ('ann,7,"1,5"\nbob,8,"-2,25"\n', {}),
    "minus of printers": ("ann;7;1.5\nbob;8;\u22122.25\n", {}),
    "blank after comma": ("ann, 7, 1.5\nbob, 8, -2.25\n", {}),
    "blank before comma": ("ann , 7 ,1.5\n bob,8 , -2.25 \n", {}),
    "all quoted": ('"ann","7","1.5"\n"bob","8","-2.25"\n', {}),
    "trailing separators": ("ann,7,1.5,\nbob,8,-2.25,\n", {}),
    "blank tail": ("ann,7,1.5\nbob,8,-2.25\n,,\n,,\n\n", {}),
    "declared separator": ("sep=;\nann;7;1.5\nbob;8;-2.25\n", {}),
    "comments": ("# x\nann,7,1.5\n# y, z, \"\n  # 1\nbob,8,-2.25\n", {}),
    "percent comments": ("% sym\n% 2 2 2\nann 7 1.5\nbob 8 -2.25\n", {}),
    "other comments": ("! x\nann,7,1.5\nbob,8,-2.25\n! 1,2,3\n", {"comment": "!"}),
    "prose above": ("Export of\nJune 1\nann,7,1.5\nbob,8,-2.25\n", {"skip_lines": 2}),
    "bars": ("ann|7|1.5\nbob|8|-2.25\n", {}),
    "odd separator": ("ann^7^1.5\nbob^8^-2.25\n", {"separator": "^"}),
    "old line ends": ("ann,7,1.5\rbob,8,-2.25\r", {}),
    "integers as floats": ("ann,7.0,1.5\nbob,8,-2.25\n", {}),
    "scientific integers": ("ann,7,1.5\nbob,8.00,-225e-2\n", {}),
    "text with line ends": ('ann,7,1.5,"fine\nlong, text"\nbob,8,-2.25,x\n', {}),
}  # fmt: skip


class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("heading", [False, True])
    def test_recognized_or_said(self, tmp_path, form, heading):
        content, options = FORMS[form]
        if heading:
            first = re.search(r"^ ?\"?ann.*", content, re.MULTILINE)[0].split("\r")[0]
            head = re.sub(r"\b7(\.0)?(?=\W)", "item", first.replace("ann", "user"), count=1)
            head = re.sub(r"1[.,]5", "x", head).replace('"fine', "note")
            end = "\r" if form == "old line ends" else "\n"
            content = content.replace(first, head + end + first, 1)
        found = read(tmp_path, content, "1", "2", "3", name="a.txt", **options)
        assert found == {("ann", 7): 1.5, ("bob", 8): -2.25}

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
    def test_encodings(self, tmp_path, encoding):
        content = "user,item,x\nRené,7,1.5\nZoë,8,2\n"
        assert read(tmp_path, content.encode(encoding)) == {("René", 7): 1.5, ("Zoë", 8): 2.0}

    def test_another_encoding_is_named(self, tmp_path):
        content = "user,item,x\nann,7,1.5\nRené,8,2\n".encode("cp1252")
        with pytest.raises(InputError, match=r"line 3 \(byte 0xe9 .* UTF-8 text; name its --enco"):
            read(tmp_path, content)
        assert read(tmp_path, content, encoding="cp1252")[("René", 8)] == 2.0
        with pytest.raises(InputError, match=r"--encoding: .*line 3 .* is not ascii text"):
            read(tmp_path, content, encoding="ascii")

    @pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", "zip"])
    def test_compressed(self, tmp_path, suffix):
        data = b"user,item,x\nann,7,1.5\nbob,8,2\n"
        path = tmp_path / f"a.csv.{suffix}"
        if suffix == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("inside.csv", data)
        else:
            path.write_bytes({"gz": gzip, "bz2": bz2, "xz": lzma}[suffix].compress(data))
        assert entries(read_long(path)) == {("ann", 7): 1.5, ("bob", 8): 2.0}
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(InputError, match=r"cannot be unpacked|not UTF-8"):
            read_long(path)

    def test_blocks_below_lines_that_name_a_column(self, tmp_path, monkeypatch):
        content = "12:\n5,3,2005-09-06\n7,4,2005-10-06\n3:\n5,1,2004-01-01\n"
        truth = {(5, 12): 3.0, (7, 12): 4.0, (5, 3): 1.0}
        assert read(tmp_path, content, name="n.txt") == truth
        monkeypatch.setattr(columns, "CHUNK", 2)
        assert read(tmp_path, content, "1", "2", "3", name="n.txt") == truth
        path = written(tmp_path, "12:\n5\n7\n3:\n5\n", "n.txt")
        pairs = read_long(path, pairs=True)
        assert list(entries(pairs)) == [("5", "12"), ("7", "12"), ("5", "3")]
        with pytest.raises(InputError, match=r"--header: .* blocks of lines without headings"):
            read(tmp_path, content, name="n.txt", header=True)

    def test_an_option_without_meaning_is_refused(self, tmp_path):
        path = tmp_path / "a.mtx"
        path.write_text("%%MatrixMarket matrix coordinate real general\n1 1 1\n1 1 2.0\n")
        with pytest.raises(InputError, match=r"--decimal: it has no meaning for .*a\.mtx"):
            read_long(path, text=TextOptions(decimal=","))
        with pytest.raises(InputError, match="--labels: it has no meaning"):
            read(tmp_path, "a,1,2\n", labels=True)

    def test_percentages_are_all_or_none(self, tmp_path):
        assert read(tmp_path, "a;1;12%\nb;2;2,5 %\n") == {("a", 1): 12.0, ("b", 2): 2.5}
        with pytest.raises(InputError, match=r"line 3: the value '0.12' has no sign of percent"):
            read(tmp_path, "a,1,12%\nb,2,7%\nc,3,0.12\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,3\n2,3,4\x00\n", "holds zero bytes, .* or name its --encoding"),
        (b"1,2,1e400\n2,3,4\n2,4,4\n", r"value is '1e400' .* needed; name the first line a head"),
        (b"1;2;4,5\n2;3;4,5\n" * 200 + b"2;4;4.5\n", r"line 401: .* read it with --decimal '\.'"),
        (b"bob 5 1,234,567\nann 6 2,345,678\n", "say which with --separator blank or --separ"),
        (b"# one\n# two\n", "is empty"),
        (b"1,2\n2,3\n", "--values: .* has 2 columns, and number 3 .* or the --separator of"),
    ],
)
def test_other_refusals(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


class TestMissing:
    CONTENT = "user,item,x\nann,7,1.5\nbob,8,NA\nbob,9,-999.0\neve,7,\n"

    def test_only_what_is_said_is_left_out(self, tmp_path):
        with pytest.raises(InputError, match=r"line 3: the value is 'NA' .* --missing 'NA'\."):
            read(tmp_path, self.CONTENT)
        with pytest.raises(InputError, match=r"line 5: the value is '' .* --missing ''\."):
            read(tmp_path, self.CONTENT, missing=("NA",))
        with pytest.warns(UserWarning, match=r"2 entries of .* left out, .*--missing 'NA', ''"):
            found = read(tmp_path, self.CONTENT, missing=("NA", ""))
        assert found == {("ann", 7): 1.5, ("bob", 9): -999.0}
        with pytest.warns(UserWarning, match="3 entries"):
            assert read(tmp_path, self.CONTENT, missing=("NA", "", "-999")) == {("ann", 7): 1.5}

    @pytest.mark.parametrize("marker", ["", "nan", "NaN", "NA", "null", "None", "N/A", "#N/A"])
    def test_a_missing_id_is_named(self, tmp_path, marker):
        with pytest.raises(InputError, match="line 3: an id is missing"):
            read(tmp_path, f"user,item,x\nann,7,1\n{marker},8,2\n")
        with pytest.raises(InputError, match="line 2: an id is missing"):
            read(tmp_path, f"1,7,1\n2,{marker},2\n")

    @pytest.mark.parametrize("marker", ["-", "?", "."])
    def test_a_dash_is_a_name_but_no_number(self, tmp_path, marker):
        assert read(tmp_path, f"ann,7,1\n{marker},8,2\nann,8,3\n")[(marker, 8)] == 2.0
        with pytest.raises(InputError, match="line 3: an id is missing"):
            read(tmp_path, f"1,7,1\n2,8,2\n{marker},8,2\n1,8,2\n")


FOLLOWED = {
    "thousands": "a;1;1.234,5\nb;2;7\n",
    "late decimal comma": "a;1;7\n" * 300 + "b;2;1,5\n",
    "late thousands": "a;1;7.5\n" * 300 + "b;2;1,234.5\n",
    "either": "a;1;1,234\nb;2;7\n",
    "apostrophe": "a;1;7.5\n" * 300 + "b;2;1'234.5\n",
    "marker": "a,1,7\nb,2,NA\n",
    "empty": "a,1,7\nb,2,\n",
    "quote": "a,1,7\nb,2,it's\n",
    "encoding": "a,1,7\nRené,2,7\n".encode("latin-1"),
    "comment": "#a,1,7\n#b,2,3\nc,3,4\n",
    "prose": "Export of June\na,1,7\nb,2,3\n",
    "heading": "1,2,good\n2,3,4\n3,4,4\n",
}


@pytest.mark.parametrize("fault", FOLLOWED)
def test_the_options_that_messages_name_mend_it(tmp_path, fault):
    """Every first option of a message, as it is written there, is followed until all is read."""
    path, given = written(tmp_path, FOLLOWED[fault]), {}
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read_long(path, "1", "2", "3", text=TextOptions(**given))
            except InputError as error:
                given |= _named(re.split(", | or --", str(error).split(";", 1)[1])[0])
            else:
                break
    count = FOLLOWED[fault].decode("latin-1") if fault == "encoding" else FOLLOWED[fault]
    lines = len(count.splitlines())
    left_out = fault in ("marker", "empty", "quote", "prose", "heading")
    comments = 2 if fault == "comment" else 0
    assert len(found) == lines - left_out - comments
    expected = {"thousands": 1234.5, "late decimal comma": 1.5, "late thousands": 1234.5}
    if fault in expected or fault == "apostrophe":
        assert expected.get(fault, 1234.5) in found.values


def _named(message):
    """The options of a message as `TextOptions` takes them."""
    given = {}
    word = r"((?:'[^']*'|\"[^\"]*\"|\\.)+|\d+)?"
    for option, value in re.findall(rf"--([a-z-]+) ?{word}", message):
        name, value = option.replace("-", "_"), shlex.split(value)[0] if value else True
        convert = {"missing": lambda text: (text,), "skip_lines": int}.get(name, lambda text: text)
        given[name] = "cp1252" if name == "encoding" else convert(value)
    return given


@pytest.mark.parametrize("mark", [",", " ", "::"])
def test_lines_of_another_width_are_named(tmp_path, mark):
    lines = [mark.join(["u1", "2", "3", "x"])] * 5 + [mark.join(["u1", "2", "3"])]
    with pytest.raises(InputError, match="line 6 has 3 cells where line 2 has 4"):
        read(tmp_path, "\n".join(lines))
    lines[5] = mark.join(["u1", "2", "3", "x", "y"])
    with pytest.raises(InputError, match=r"line 6 has 5 cells .* or name the --separator"):
        read(tmp_path, "\n".join(lines))


@pytest.mark.parametrize("chunk", [2, 1 << 14])
def test_pieces_and_quotes_change_nothing(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(columns, "CHUNK", chunk)
    rows = list(zip(USERS, ITEMS, VALUES, strict=True))
    plain = "\n".join(f"{u},{i},{x}" for u, i, x in rows)
    quoted = "\n".join(f'"{u}",{i},"{x}"' for u, i, x in rows)
    assert read(tmp_path, plain) == read(tmp_path, quoted) == TRUTH


@pytest.mark.parametrize(
    "lines",
    [
        ["user,item name", "u13,film 29", "u1,film 3"],
        ["user,item", "u13,film 29", "u1,film 3"],
        ["u13,film 29,4.5", "u1,film 3,2", "u7,film 11,3"],
        ["13,film 29", "1,film 3"],
    ],
)
def test_a_blank_in_a_name_separates_nothing(lines):
    assert guess_separator(lines) == ","


@pytest.mark.parametrize(
    "lines",
    [
        ["1,5 2,5", "3,25 4,5", "7 8,125"],  # decimal commas
        ['"Smith, John" 3', '"Doe, Ann" 4'],
        ["a,b 1 2 3", "c,d 4 5 6"],
    ],
)
def test_blanks_that_do_separate(lines):
    assert guess_separator(lines) == BLANK
