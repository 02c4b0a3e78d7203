"""Addresses of the tabs beside the laboratory: there and back, and hostile ones."""

import dataclasses
import math

import pytest

from deeplinear.errors import InputError
from deeplinear.explorer.addresses import joined
from deeplinear.explorer.state import State
from deeplinear.explorer.tab_states import ExperimentsState, MatrixState, TabState

MATRIX = MatrixState(
    data="upload",
    kind="ratings",
    missing="-999, none",
    keep="id,ä&b=c",
    depths=(1.5, 4.0, math.inf),
    method="implicit",
    fitseed=4,
    fitted=True,
    fade="off",
    user="person & 7",
    top=9,
)
EXPERIMENTS = ExperimentsState("cmv_fig5", 3, "a/b c", "this page/seed 1/x")
TAB = TabState("matrix")


@pytest.mark.parametrize("state", [MATRIX, EXPERIMENTS, TAB], ids=lambda s: type(s).__name__)
def test_an_address_gives_its_state_back(state):
    for field in dataclasses.fields(state):
        assert getattr(state, field.name) != field.default, field.name
    assert type(state).from_query(state.to_query()) == (state, [])
    assert type(state)().to_query() == ""


def test_one_address_holds_all_tabs():
    laboratory = State(depth=math.inf, runs=300, theme="dark")
    query = joined(TAB.to_query(), laboratory.to_query(), MATRIX.to_query(), EXPERIMENTS.to_query())
    for state in (TAB, laboratory, MATRIX, EXPERIMENTS):
        assert type(state).from_query(query) == (state, [])


def test_no_two_tabs_share_a_name():
    kinds = (State, MatrixState, ExperimentsState, TabState)
    names = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("kind", "query", "named"),
    [
        (TabState, "?tab=__init__", "tab"),
        (MatrixState, "?data=../../etc/passwd", "data"),
        (MatrixState, "?kind=pickle", "kind"),
        (MatrixState, "?depths=2,2", "depths"),
        (MatrixState, "?depths=3,2", "depths"),
        (MatrixState, "?depths=", "depths"),
        (MatrixState, "?depths=nan", "depths"),
        (MatrixState, "?depths=1,1.5,2,3,4", "depths"),
        (MatrixState, "?depths=1000", "depths"),
        (MatrixState, "?method=magic", "method"),
        (MatrixState, "?fitseed=-1", "fitseed"),
        (MatrixState, "?fitted=yes", "fitted"),
        (MatrixState, "?fade=<script>", "fade"),
        (MatrixState, "?top=21", "top"),
        (MatrixState, "?missing=" + "x" * 100, "missing"),
        (MatrixState, "?user=" + "x" * 100, "user"),
        (ExperimentsState, "?first=" + "x" * 150, "first"),
        (ExperimentsState, "?runseed=1e9", "runseed"),
    ],
)
def test_what_cannot_be_read_keeps_its_default_and_says_so(kind, query, named):
    state, faults = kind.from_query(query)
    if query == "?depths=":  # nothing was said
        assert (state, faults) == (kind(), [])
        return
    assert state == kind()
    assert len(faults) == 1
    assert faults[0].startswith(named)


def test_bundled_ratings_are_a_list_and_uploads_what_they_are_called():
    assert MatrixState(data="ratings").is_long
    assert not MatrixState(data="sea", kind="ratings").is_long
    assert MatrixState(data="upload", kind="ratings").is_long
    with pytest.raises(InputError, match="depths"):
        MatrixState(depths=())
