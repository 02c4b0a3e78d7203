"""Grids that are no grids, strange values of TOML, and grids that are too large: one sentence, at
once.
"""

import datetime
import itertools
import math

import numpy as np
import pytest

import deeplinear as dl
from deeplinear.experiments import Output, Sweep, task
from deeplinear.sweeps.grid import MOST, axis_values, expand
from deeplinear.sweeps.sweep import read_sweep

FIXED = "[fixed]\nsize = 4\nobserved = 3\n"
SENTENCE = r"^[^\n]{5,500}$"


@task(y=Output(), z=Output(("k",), (2,)))
def anything(**parameters):
    return {"y": 1.0, "z": [0.0, 1.0]}


STRANGE = {
    "date": "2020-01-01",
    "time": "00:00:00",
    "moment": "2020-01-01T00:00:00Z",
    "table": "{a = 1}",
    "list": "[1, 2]",
    "nan": "nan",
    "integer": str(2**63),
    "long integer": "1" + "0" * 40,
    "digits": "9" * 5000,
    "zero byte": '"a\\u0000"',
    "nested": "[" * 400 + "]" * 400,
}


@pytest.mark.parametrize("value", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize(
    "form",
    [
        "[grid]\ndepth = [VALUE]\n" + FIXED,
        "[grid]\ndepth = VALUE\n" + FIXED,
        "[[zip]]\ndepth = [VALUE]\n" + FIXED,
        "[[tasks]]\ndepth = VALUE\n" + FIXED,
        "[grid]\ndepth = [2]\n" + FIXED + "rank = VALUE\n",
        "[grid]\ndepth = {range = [0, VALUE]}\n" + FIXED,
        "[grid]\ndepth = {linspace = [0, 1, VALUE]}\n" + FIXED,
        "chunk = VALUE\n[grid]\ndepth = [2]\n" + FIXED,
        "zip = [VALUE]\n[grid]\ndepth = [2]\n" + FIXED,
        "tasks = [VALUE]\n[grid]\ndepth = [2]\n" + FIXED,
        "grid = VALUE\n" + FIXED,
    ],
)
def test_strange_values(tmp_path, form, value):
    path = tmp_path / "s.toml"
    path.write_text('task = "completion"\n' + form.replace("VALUE", value))
    if form.startswith("chunk") and value.isdigit() and len(value) < 50:
        assert read_sweep(path).chunk_length == 1  # no more than there are tasks
        return
    if form.startswith("[grid]\ndepth = VALUE") and value == STRANGE["list"]:
        return  # which is an axis
    with pytest.raises(dl.InputError, match=SENTENCE):
        read_sweep(path)


@pytest.mark.parametrize(
    "spec",
    [
        {"range": []},
        {"range": 3},
        {"range": "ab"},
        {"range": {"a": 1}},
        {"range": [0, 1, 0]},
        {"range": [0, math.inf]},
        {"range": [0, 3, 1, "S"]},
        {"range": [0, True]},
        {"linspace": [0, 1, -1]},
        {"linspace": [[0, 1], [2, 3], 3]},
        {"linspace": [0, 3, 4, True, True]},
        {"geomspace": [-1, 1, 3]},
        {"geomspace": [0, 1, 3]},
        {"range": [3, 1]},
        {"range": [0, 1], "linspace": [0, 1, 2]},
        {},
        [1, "1"],
        [True, 1],
        [np.datetime64("2020-01-01")],
        [datetime.date(2020, 1, 1)],
    ],
)
def test_axes_that_are_none(spec):
    with pytest.raises(dl.InputError, match=SENTENCE):
        axis_values("x", spec)


def test_values_are_kept_as_they_are():
    assert axis_values("x", {"range": [3]}) == [0, 1, 2]
    assert axis_values("x", {"range": [1, 2, 0.25]}) == [1, 1.25, 1.5, 1.75]
    assert axis_values("x", [1, 2.5, math.inf, np.float32(3)]) == [1, 2.5, math.inf, 3]
    assert axis_values("x", [True, False]) == [True, False]
    assert axis_values("x", [2**63 - 1, -(2**63)]) == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize(
    ("grid", "count"),
    [
        ({name: {"range": [100]} for name in "abcd"}, "100,000,000"),
        ({name: {"range": [10_000]} for name in "abcdef"}, r"more than 10¹⁵"),
        ({"a": {"range": [10**8]}}, "100,000,000"),
        ({"a": {"range": [0, 1, 1e-12]}}, "1,000,000,000,000"),
        ({"a": {"linspace": [0, 1, 10**9]}}, "1,000,000,000"),
        ({"a": {"range": [10**40]}}, r"more than 10¹⁵"),
    ],
)
def test_too_many_tasks_are_counted_and_never_made(grid, count, monkeypatch):
    def made(*groups):
        raise AssertionError("the product was taken")

    monkeypatch.setattr(itertools, "product", made)
    with pytest.raises(dl.InputError, match=f"there are {count} tasks, and at most {MOST:,} in"):
        expand(grid)


def test_repeated_values_are_found_in_one_pass(monkeypatch):
    """Each value is encoded once: the search is not quadratic in the length of an axis."""
    from deeplinear.sweeps import grid

    encoded = []
    monkeypatch.setattr(grid, "encode", lambda row: encoded.append(1) or repr(row))
    assert len(expand({"x": range(3000)})) == len(encoded) == 3000
    with pytest.raises(dl.InputError, match="'x' has 7 twice"):
        axis_values("x", [*range(3000), 7])


@pytest.mark.parametrize("name", ["task", "status", "key", "y", "z", "k"])
def test_names_that_the_store_uses_itself(name):
    with pytest.raises(dl.InputError, match=f"an axis cannot be called '{name}'"):
        Sweep(anything, grid={name: [1, 2]})
    with pytest.raises(dl.InputError, match=f"an axis cannot be called '{name}'"):
        Sweep(anything, tasks=[{name: 1}, {name: 2}])


@pytest.mark.parametrize("name", ["a b", "../x", "", "1", "zarr.json", "a\nb"])
def test_names_that_are_no_names(name):
    with pytest.raises(dl.InputError, match=SENTENCE):
        Sweep(anything, grid={name: [1, 2]})


@pytest.mark.parametrize("what", [":f", "..x:f", "a b:f", "a\0:f", "math:", ":", "broken:f"])
def test_tasks_that_are_none(what, tmp_path):
    (tmp_path / "broken.py").write_text("def f(:")
    with pytest.raises(dl.InputError, match=SENTENCE):
        Sweep(what, grid={"x": [1]}, folder=str(tmp_path))


@pytest.mark.parametrize("seed", ["x", 1.5, math.inf, True, -1])
def test_a_fixed_seed_is_a_whole_number(seed):
    with pytest.raises(dl.InputError, match="'seed' must be a whole number"):
        Sweep(anything, grid={"x": [1]}, fixed={"seed": seed})


def test_the_key_is_the_sweeps_own():
    with pytest.raises(dl.InputError, match="'key' is the seed that the sweep makes"):
        Sweep(anything, grid={"x": [1]}, fixed={"key": 3})
