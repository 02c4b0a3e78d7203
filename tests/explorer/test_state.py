"""States and addresses: there and back, and hostile addresses."""

import dataclasses
import math

import pytest

from deeplinear.errors import InputError
from deeplinear.explorer.presets import PRESETS
from deeplinear.explorer.state import State

OTHER = State(
    observed=("12", "21", "22"),
    values=(0.5, -1.25, 3.0, 0.0),
    depth=math.inf,
    delta=0.3,
    scale=1e-4,
    runs=3000,
    seed=7,
    beta=30.0,
    decay=0.01,
    step=0.3,
    map="free",
    reach=8.0,
    click=(-0.25, 1.5),
    frame=40,
    preset="rc",
    theme="dark",
)


@pytest.mark.parametrize(
    "state", [State(), OTHER, *(preset.state for preset in PRESETS.values())], ids=str
)
def test_an_address_gives_its_state_back(state):
    assert State.from_query(state.to_query()) == (state, [])


def test_the_other_state_differs_in_every_field():
    for field in dataclasses.fields(State):
        assert getattr(OTHER, field.name) != getattr(State(), field.name), field.name


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?depth=nan", "depth"),
        ("?depth=-1", "depth"),
        ("?depth=1e999999x", "depth"),
        ("?runs=100000000", "runs"),
        ("?observed=11", "observed"),
        ("?observed=11,12,21,22", "observed"),
        ("?observed=22,11", "observed"),
        ("?observed=11,99", "observed"),
        ("?values=1,2,3", "values"),
        ("?values=nan,1,1,1", "values"),
        ("?values=1e300,1,1,1", "values"),
        ("?click=inf,0", "click"),
        ("?frame=101", "frame"),
        ("?seed=-1", "seed"),
        ("?map=__class__", "map"),
        ("?theme=%3Cscript%3E", "theme"),
        ("?preset=" + "x" * 1000, "preset"),
    ],
)
def test_what_cannot_be_read_keeps_its_default_and_says_so(query, named):
    state, faults = State.from_query(query)
    assert state == State()
    assert len(faults) == 1
    assert faults[0].startswith(named)


def test_the_rest_of_a_bad_address_holds():
    state, faults = State.from_query("?depth=0&runs=300&token=secret&unknown=1")
    assert state == State(runs=300)
    assert len(faults) == 1


def test_an_address_of_many_parts_is_not_read():
    state, faults = State.from_query("?" + "&".join(f"a{i}=1" for i in range(1000)))
    assert state == State()
    assert len(faults) == 1


def test_the_plane_has_the_free_entries_or_the_opposite_one():
    assert State().plane == ("12", "21")
    assert State(observed=("12", "21", "22")).plane == ("11", "22")
    assert State(observed=("11", "21", "22")).plane == ("12", "21")
    assert State(observed=("11", "12")).plane == ("21", "22")


def test_a_state_out_of_range_is_refused():
    with pytest.raises(InputError, match="depth must be one of 1, 2, … 50, inf"):
        State(depth=51.0)
