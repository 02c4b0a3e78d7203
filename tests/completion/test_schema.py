"""What arrays must be: each rule alone, and the sizes that arrays share."""

import numpy as np
import pytest

from deeplinear.completion.schema import (
    NUMBER,
    REAL,
    TEXT,
    TRUTH,
    WHOLE,
    Field,
    check_arrays,
    check_nothing_left,
    take,
    take_part,
)
from deeplinear.errors import InputError

SCHEMA = {
    "X": Field(REAL, ("m", "r+1")),
    "s": Field(REAL, ("r",), least=0),
    "codes": Field(WHOLE, (None,), least=-1),
    "weights": Field(REAL, ("m",), may_be_empty=True),
    "open": Field(REAL, (2,), infinite=True, nan=True),
    "infinite": Field(NUMBER, least=1, infinite=True),
    "part": Field(NUMBER, above=0, most=1),
    "name": Field(TEXT, (None,)),
    "none": Field(NUMBER, optional=True),
    "count": Field(WHOLE),
    "mean": Field(NUMBER),
    "flag": Field(TRUTH),
}
GOOD = {
    "X": np.ones((3, 3)),
    "s": np.array([1.0, 0.0]),
    "codes": np.array([-1, 5]),
    "weights": np.zeros(0),
    "open": np.array([np.nan, np.inf]),
    "count": 7,
    "mean": 3,
    "flag": True,
    "infinite": np.inf,
    "part": 1,
    "name": ["a", "größe\ud800"],
    "none": None,
}


def test_what_is_right_gives_the_sizes():
    assert check_arrays(SCHEMA, GOOD) == {"m": 3, "r": 2}
    assert check_arrays(SCHEMA, GOOD | {"codes": [], "weights": np.ones(3)}) == {"m": 3, "r": 2}
    assert check_arrays(SCHEMA, GOOD, {"m": 3, "k": 1}) == {"m": 3, "r": 2, "k": 1}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("X", np.ones((3, 4)), r"s must have the shape \(r\) with r = 3, got \(2,\)"),
        ("X", np.ones((0, 0)), r"X must have the shape \(m, r\+1\)"),
        ("X", np.ones(3), r"X must have the shape \(m, r\+1\), got \(3,\)"),
        ("X", np.full((3, 3), np.nan), "X must not be NaN"),
        ("X", np.ones((3, 3), int), "X must be float32 or float64, got int64"),
        ("X", np.ones((3, 3), np.float16), "X must be float32 or float64, got float16"),
        ("X", np.ones((3, 3), np.longdouble), "X must be float32 or float64, got"),
        ("X", np.ones((3, 3), ">f8"), "X must be float32 or float64, got >f8"),
        ("X", [[1.0], [1.0, 2.0]], "X must be an array of numbers, got list"),
        ("X", None, "X must be float32 or float64, got object"),
        ("s", np.array([1.0, -0.1]), r"s must be ≥ 0, got -0\.1"),
        ("codes", np.array([-2, 0]), "codes must be ≥ -1, got -2"),
        ("codes", np.array([0.0]), "codes must be whole numbers, got float64"),
        ("codes", np.array([True]), "codes must be whole numbers, got bool"),
        ("weights", np.ones(2), r"weights must have the shape \(m\) with m = 3, got \(2,\)"),
        ("open", np.ones(3), r"open must have the shape \(2\), got \(3,\)"),
        ("count", 7.0, "count must be whole numbers, got float64"),
        ("count", 10**30, "count must be whole numbers, got object"),
        ("mean", "3", "mean must be a real number, got"),
        ("mean", np.inf, "mean must be finite"),
        ("flag", 1, "flag must be truth values, got int64"),
        ("infinite", np.nan, "infinite must not be NaN"),
        ("infinite", -np.inf, "infinite must be ≥ 1, got -inf"),
        ("mean", True, "mean must be a real number, got bool"),
        ("part", 0, "part must be > 0, got 0"),
        ("part", 1.5, r"part must be ≤ 1, got 1\.5"),
        ("name", ["a", 1], "name must hold one kind of entries, got 2 kinds"),
        ("codes", [True, 1], "codes must hold one kind of entries"),
        ("codes", [2**70], "codes must be whole numbers, got object"),
        ("name", [{"a": 1}], "name must be text, got object"),
        ("none", "x", "none must be a real number, got <U1"),
        ("mean", None, "mean must be a real number, got object"),
    ],
)
def test_what_is_wrong_is_said(name, value, message):
    with pytest.raises(InputError, match=message):
        check_arrays(SCHEMA, GOOD | {name: value})


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="s is missing: give all arrays of one fit"):
        check_arrays(SCHEMA, {"X": GOOD["X"]})


def test_without_entries_only_kinds_and_shapes_count():
    bad = GOOD | {"X": np.full((3, 3), np.nan), "s": np.array([-1.0, 0.0])}
    assert check_arrays(SCHEMA, bad, entries=False) == {"m": 3, "r": 2}


def test_who_takes_all_leaves_nothing():
    source = GOOD | {"part of it": {"x": 1}}
    found = take(SCHEMA, source)
    assert found == {name: GOOD[name] for name in SCHEMA}
    with pytest.raises(InputError, match="part of it belongs to nothing: leave it out"):
        check_nothing_left({}, source)
    assert take_part(source, "part of it") == {"x": 1}
    check_nothing_left(source)
    for strange in ({}, {"a": None}, {"a": [1]}):
        with pytest.raises(InputError, match="a is missing, or no record"):
            take_part(strange, "a")
