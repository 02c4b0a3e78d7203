"""What counts as a number, in tables and in long data."""

import re

import numpy as np
import pytest
from hypothesis import given
from strategies import written_numbers

from deeplinear.errors import InputError
from deeplinear.files import read_table
from deeplinear.files.long import read_long
from deeplinear.files.numbers import PLAIN, NumberFormat, advice, guess_format, shape_of


@pytest.mark.parametrize("text", ["1", " -2.5e3 ", "+.5", "inf", "nan", "1e400"])
def test_numbers(text):
    assert PLAIN.reads(text)
    np.testing.assert_array_equal(PLAIN.parse_all([text, "3"]), [float(text), 3.0])


@pytest.mark.parametrize("text", ["", "x", "1_000", "１２", "0x1f", "1,5", "1 2", "5 p", "%"])
def test_others(text):
    assert not PLAIN.reads(text)
    with pytest.raises(ValueError):  # noqa: PT011
        PLAIN.parse_all(["3", text])


@pytest.mark.parametrize(
    ("text", "numbers", "value"),
    [
        ("-1.234,5", NumberFormat(",", "."), -1234.5),
        ("1 234 567,5", NumberFormat(",", " "), 1234567.5),
        ("1\u202f234", NumberFormat(".", " "), 1234),
        ("1'234.5", NumberFormat(".", "'"), 1234.5),
        ("\u22123.5", PLAIN, -3.5),
        ("12 %", PLAIN, 12),
        ("\u221212%", PLAIN, -12),
        ("1,5e3", NumberFormat(","), 1500),
        ("153 p", NumberFormat(notes=True), 153),
        ("12.5*", NumberFormat(notes=True), 12.5),
        ("7 (e)", NumberFormat(notes=True), 7),
        ("1e5", NumberFormat(notes=True), 1e5),
    ],
)
def test_formats(text, numbers, value):
    assert numbers.parse(text) == value
    assert numbers.parse_all([text, "2"])[0] == value


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.5", NumberFormat(",")),  # a decimal point where commas are
        ("12,34", NumberFormat(".", ",")),  # groups of three only
        ("1,2345", NumberFormat(".", ",")),
        (",123", NumberFormat(".", ",")),
        ("1.234", NumberFormat(",")),
        ("x p", NumberFormat(notes=True)),
        ("nan p", NumberFormat(notes=True)),
    ],
)
def test_what_a_format_does_not_read(text, numbers):
    assert not numbers.reads(text)


@given(written_numbers)
def test_what_is_written_in_a_format_is_read_in_it(drawn):
    """Also guessed, if it is guessed at all: never another number."""
    number, decimal, group = drawn
    whole, _, rest = f"{number:.3f}".partition(".")
    sign = "-" if whole.startswith("-") else ""
    text = sign + f"{int(whole.lstrip('-')):,}".replace(",", group) + decimal + rest
    numbers = NumberFormat(decimal, group)
    assert numbers.parse(text) == number
    assert numbers.parse(numbers.write(number)) == pytest.approx(number, rel=1e-9, abs=1e-9)
    other = sign + f"{int(whole.lstrip('-')):,}".replace(",", group) + decimal + "25"
    guess = guess_format([text, other])
    assert guess is None or guess.parse(text) == number


@pytest.mark.parametrize(
    ("texts", "guess"),
    [
        (["1,5", "1.234"], None),  # a thousand, or a decimal point
        (["1,234"], None),
        (["1,234", "1.5"], NumberFormat(".", ",")),
        (["1.234.567", "1.234"], NumberFormat(",", ".")),
        (["1,5", "1.5"], None),
        (["1.5", "1,234", "1.234"], None),
        (["1'234", "1 234"], None),
        (["1.234"], PLAIN),
        (["1 234,5"], NumberFormat(",", " ")),
        (["12", "-3"], PLAIN),
    ],
)
def test_a_format_is_guessed_only_if_no_other_is_meant(texts, guess):
    assert guess_format(texts) == guess


@pytest.mark.parametrize(
    "text", ["1,5", "1,234", "1.234,5", "1'234", "1 234,5", "1,234,567", "59 p", "12*"]
)
def test_advice_reads_what_it_is_about(text):
    """Each way that is named reads the cell; ways are joined by "or"."""
    for way in advice(text).split(" or "):
        marks = dict(re.findall(r"--(\w+) [\"'](.)[\"']", way))
        given = NumberFormat(
            marks.get("decimal", "."), marks.get("thousands", ""), "--notes" in way
        )
        assert given.reads(text)


@pytest.mark.parametrize("text", ["x", "<0.5", "2020-01-01", "01.02.2020", "1,23,456", "12 345 67"])
def test_other_texts_have_no_shape(text):
    assert shape_of(text) == ""
    assert advice(text) == ""


@pytest.mark.parametrize("text", ["1_000", "１２"])
def test_both_readers_refuse_alike(tmp_path, text):
    advice = "write numbers with the digits 0 to 9, without '_'"
    (tmp_path / "long.csv").write_text(f"u,i,x\na,1,2\nb,2,{text}\n")
    with pytest.raises(InputError, match=f"line 3: the value is '{text}'.*{advice}"):
        read_long(tmp_path / "long.csv")
    (tmp_path / "table.csv").write_text(f"u,x\n1,2\n,{text}\n")
    with pytest.raises(InputError, match=f"line 3: '{text}' .*the digits 0 to 9, without '_'"):
        read_table(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("decimal", "thousands", "message"),
    [
        (";", "", "--decimal: ';' is no decimal mark"),
        (".", "x", "--thousands: 'x' is no mark of thousands"),
        (",", ",", "--thousands: ',' is the decimal mark already"),
    ],
)
def test_marks_that_cannot_be_meant(decimal, thousands, message):
    with pytest.raises(InputError, match=message):
        NumberFormat(decimal, thousands)


def test_all_at_once_with_marks():
    np.testing.assert_array_equal(NumberFormat(",").parse_all(["1,5", "2"], simple=True), [1.5, 2])
    np.testing.assert_array_equal(PLAIN.parse_all(["1.5", "2"], simple=True), [1.5, 2])


def test_the_note_behind_a_number():
    notes = NumberFormat(notes=True)
    assert [notes.note(text) for text in (" 153 p ", "12.5*", "153", "x p")] == ["p", "*", "", ""]
    assert PLAIN.note("153 p") == ""


@pytest.mark.parametrize(
    ("numbers", "marks", "description"),
    [
        (PLAIN, False, "decimal mark '.'"),
        (NumberFormat(","), True, "decimal mark ','"),
        (NumberFormat(".", " "), True, "decimal mark '.', thousands mark ' '"),
        (NumberFormat(",", "."), True, "decimal mark ',', thousands mark '.'"),
    ],
)
def test_marks_are_said(numbers, marks, description):
    assert numbers.marks == marks
    assert numbers.describe() == description


def test_whole_numbers_are_written_with_all_digits():
    assert PLAIN.write(-123456789012345.0) == "-123456789012345"
    assert PLAIN.write(1e15) == "1e+15"
    assert NumberFormat(",").write(1 / 3) == "0,3333333333"


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("\u22121 234", "thousands  "),
        ("1\u202f234", "thousands  "),
        ("1'234,5", "thousands ' decimal ,"),
        ("1\u202f234 567", ""),  # two marks
        ("12%", "plain"),
    ],
)
def test_shapes(text, shape):
    assert shape_of(text) == shape


def test_advice_is_about_all_of_a_file():
    assert advice("1,5", others=["1.234.567"]) == "--decimal ',' --thousands '.'"
    assert advice("1'234") == "--decimal ',' --thousands \"'\" or --thousands \"'\""
