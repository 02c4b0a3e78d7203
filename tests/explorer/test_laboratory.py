"""The laboratory without a browser: what a change of its state does, and its sentences."""

import math

import pytest

pytest.importorskip("panel", reason="panel is not installed: pip install 'deeplinear[explorer]'")

from deeplinear.explorer import compute
from deeplinear.explorer.laboratory import Laboratory
from deeplinear.explorer.presets import PRESETS
from deeplinear.explorer.state import State

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def laboratory():
    return Laboratory(State(runs=100))


@pytest.mark.parametrize(
    "given",
    [
        {"values": (1e9, 0.0, 0.0, 0.0)},
        {"values": (math.nan, 0.0, 0.0, 0.0)},
        {"observed": ("11",)},
        {"click": (math.inf, 0.0)},
        {"depth": 2.5},
    ],
    ids=str,
)
def test_what_is_out_of_range_is_told_and_put_back(laboratory, given):
    before, points = laboratory.state, laboratory.portrait.points.data["x"].copy()
    laboratory.change(**given)
    assert laboratory.state == before
    assert f"⚠ {next(iter(given))} must be" in laboratory.note.object
    assert tuple(widget.value for widget in laboratory.controls.values.values()) == before.values
    assert laboratory.controls.fields["depth"].value == before.depth
    assert (laboratory.portrait.points.data["x"] == points).all()


def test_a_change_shows_the_points_that_are_computed(laboratory):
    laboratory.controls.fields["depth"].value = 7.0
    found = compute.endpoints(laboratory.state)
    assert laboratory.state.depth == 7
    assert (laboratory.portrait.points.data["x"] == found.W[found.ok][:, 0, 1]).all()
    assert (laboratory.portrait.points.data["y"] == found.W[found.ok][:, 1, 0]).all()
    assert "100 runs at depth 7" in laboratory.note.object


def test_the_histogram_counts_every_run_once(laboratory):
    assert laboratory.ranks.source.data["all"].sum() == 100


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_has_a_sentence_to_look_and_one_of_meaning(preset):
    for words in (preset.look, preset.meaning):
        assert words.endswith(".")
        assert ". " not in words
    assert preset.state == State.from_query(preset.state.to_query())[0]


def test_the_toolkit_has_what_makes_its_sliders_prompt(laboratory):
    slider = laboratory.controls.fields["depth"]._slider
    assert hasattr(type(slider), "_priority_changes")
