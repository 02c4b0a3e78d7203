"""Ids are numbered once, alike whether they come at once or piece by piece."""

import numpy as np
import pytest

from deeplinear.completion.data.entries import Entries, read_entries
from deeplinear.completion.data.id_encoder import IdEncoder, integer_of
from deeplinear.completion.data.ids import Ids
from deeplinear.errors import InputError

COLUMNS = ("user", "item", "rating")


@pytest.mark.parametrize("kind", ["integers", "numbers as text", "text"])
def test_pieces_are_numbered_as_the_whole(rng, kind):
    numbers = rng.integers(-40, 10**6, 500) if kind == "integers" else rng.integers(90, size=500)
    ids = [f"u{x}" for x in numbers] if kind == "text" else numbers.tolist()
    encoder, codes = IdEncoder(), np.empty(500, np.uint32)
    for lo in range(0, 500, 64):
        piece = ids[lo : lo + 64]
        codes[lo : lo + 64] = (
            encoder.integer_codes(np.array(piece))
            if kind == "integers"
            else encoder.text_codes(list(map(str, piece)))
        )
    found = encoder.finish(codes)
    whole, expected = Ids.of(ids, "ids")
    assert found.labels.dtype == whole.labels.dtype
    assert found.labels.tolist() == whole.labels.tolist()
    assert codes.tolist() == expected.tolist()


@pytest.mark.parametrize("odd", ["007", "+7", "1_000", "7.5", "1e5", str(2**63), "x"])
def test_one_text_that_is_no_plain_integer_keeps_all_texts(odd):
    encoder = IdEncoder()
    codes = encoder.text_codes(["5", odd, "5"])
    ids = encoder.finish(codes)
    assert ids.labels.tolist() == ["5", odd]
    assert codes.tolist() == [0, 1, 0]


@pytest.mark.parametrize("other", [" 7", "7.0", "7.", "7.000 "])
def test_other_spellings_of_an_integer_are_the_same_id(other):
    encoder = IdEncoder()
    codes = np.concatenate([encoder.text_codes(["5", other]), encoder.text_codes(["7", "5"])])
    ids = encoder.finish(codes)
    assert ids.labels.tolist() == [5, 7]
    assert codes.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e+05", 10**5),
        ("9007199254740993.0", 9007199254740993),  # beyond what a float holds
        ("-3.0", -3),
        ("1.5e+01", 15),
        ("1.55e+01", None),
        ("00.0", None),
        ("٣", None),
        ("-0", None),
    ],
)
def test_integers_as_programs_write_them(text, number):
    assert integer_of(text) == number


def test_blanks_around_texts_do_not_count():
    encoder = IdEncoder()
    codes = encoder.text_codes(["ann", " ann", "bo b", "ann "])
    assert encoder.finish(codes).labels.tolist() == ["ann", "bo b"]
    assert codes.tolist() == [0, 0, 1, 0]


def test_texts_may_stay_texts():
    encoder = IdEncoder(as_text=True)
    assert encoder.finish(encoder.text_codes(["7", "5"])).labels.tolist() == ["7", "5"]


def test_numbered_entries_pass_as_they_are():
    entries = read_entries((["b", "a"], [7, 3], [1.0, 2.0]), None, COLUMNS)
    assert read_entries(entries, None, COLUMNS) is entries
    with pytest.raises(InputError, match="y must be None where X holds values already"):
        read_entries(entries, [1.0, 2.0], COLUMNS)


def test_numbered_entries_behind_known_ids():
    """As the same entries with their ids written out."""
    known = Ids.of(["b", "c"], "rows")[0], Ids.of([3, 9], "columns")[0]
    triple = ["a", "b", "a"], [5, 9, 3], [1.0, 2.0, 3.0]
    numbered = read_entries(triple, None, COLUMNS)
    found, expected = (read_entries(X, None, COLUMNS, known) for X in (numbered, triple))
    for name in ("rows", "cols", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.row_ids.labels.tolist() == expected.row_ids.labels.tolist() == ["b", "c", "a"]
    assert found.col_ids.labels.tolist() == expected.col_ids.labels.tolist() == [3, 9, 5]


def test_a_matrix_behind_a_matrix():
    places = np.array([0, 3]), np.array([2, 0])
    matrix = Entries(*places, np.array([1.0, 2.0]), Ids.positions(4), Ids.positions(3))
    found = read_entries(matrix, None, COLUMNS, (Ids.positions(2), Ids.positions(5)))
    assert (found.row_ids.extent, found.col_ids.extent) == (4, 5)
    places = found.row_ids.labels[found.rows], found.col_ids.labels[found.cols]
    np.testing.assert_array_equal(places, ([0, 3], [2, 0]))
    with pytest.raises(InputError, match="X must carry ids"):
        read_entries(matrix, None, COLUMNS, (Ids.of(["a"], "r")[0], Ids.positions(5)))
