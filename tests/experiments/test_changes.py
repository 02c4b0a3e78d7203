"""One thing changed: settings, a file of one's own, results in memory, letters for papers."""

import json
import math
from contextlib import suppress

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.experiments.registry import experiment_card, experiment_names, load_experiment
from deeplinear.experiments.settings import change, parse_changes
from deeplinear.plots import letter_panels, new_figure
from deeplinear.results import manifest

MINE = '''"""Mine."""
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ...plots import new_figure

TITLE = "Mine"
FULL = {"points": 5, "rates": (1.0, 2.0), "method": "fast", "shown": True, "limit": None}
SMOKE = {"points": 3}


@dataclass
class Rate:
    value: float


def simulate(*, seed=0, points, rates, method, shown, limit):
    t = np.linspace(0, 1, points)
    return xr.Dataset({"x": (("depth", "time"), np.exp(-np.outer(rates, t)))},
                      {"depth": list(rates), "time": t})


def draw(ds):
    figure = new_figure(4, 3)
    figure.subplots(1, 2)[0].plot(ds.time, ds.x[0])
    return figure
'''


@pytest.fixture
def mine(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file


def invoke(*arguments):
    done = CliRunner().invoke(app, ["experiment", *map(str, arguments)])
    return done, " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=3", 3),
        ("a=1e-3", 1e-3),
        ("a=inf", math.inf),
        ("a=∞", math.inf),
        ("a=3, inf", (3, math.inf)),
        ("a=(4,4),(2,6)", ((4, 4), (2, 6))),
        ("a=[[4,4],[2,6]]", [[4, 4], [2, 6]]),
        ("a=implicit", "implicit"),
        ("a=information", "information"),
        ("a=fast,slow", ("fast", "slow")),
        ("a=TRUE", True),
        ("a=none", None),
        ("a=b=c", "b=c"),
    ],
)
def test_values_are_read_as_they_are_meant(text, value):
    assert parse_changes([text]) == {"a": value}


@given(st.text())
def test_any_text_is_a_value_or_one_sentence(text):
    with suppress(dl.errors.InputError):  # of one line, as every such error is
        assert len(parse_changes([text])) == 1


DEFAULTS = {"points": 5, "rates": (1.0, 2.0), "method": "fast", "shown": True, "limit": None}


def test_a_change_keeps_the_kind_of_what_it_replaces():
    changed = change(DEFAULTS, {"rates": 3, "points": 7}, "mine")
    assert changed == {**DEFAULTS, "rates": (3,), "points": 7}
    assert change(DEFAULTS, {"rates": np.array([2.0, 4.0])}, "mine")["rates"] == (2.0, 4.0)
    assert DEFAULTS["points"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"point": 7}, "point is no setting of the experiment 'mine': did you mean 'points'"),
        ({"points": (3, 4)}, "points must be one value"),
        ({"points": "many"}, "points must be a number"),
        ({"points": math.nan}, "points must be a number"),
        ({"points": True}, "points must be a number"),
        ({"rates": ()}, "rates must hold at least one value"),
        ({"rates": (1.0, "x")}, "rates must be a number"),
        ({"method": 3}, "method must be text"),
        ({"shown": 1}, "shown must be true or false"),
    ],
)
def test_a_change_that_does_not_fit_is_refused_in_one_sentence(changes, message):
    with pytest.raises(dl.errors.InputError, match=message.replace("'", ".")):
        change(DEFAULTS, changes, "mine")


def test_a_file_of_ones_own_runs_as_the_others_do(mine, tmp_path):
    done, told = invoke("run", mine, "--set", "rates=3,5", "--set", "points=4", "--out", tmp_path)
    assert done.exit_code == 0, told
    ds = dl.experiments.load_dataset(tmp_path / "mine" / "data.zarr")
    assert ds.depth.values.tolist() == [3, 5]
    assert np.allclose(ds.x, np.exp(-np.outer([3, 5], np.linspace(0, 1, 4))))
    assert json.loads((tmp_path / "mine" / "manifest.json").read_text())["settings"] == (
        "full, with changes"
    )
    assert (tmp_path / "mine" / "mine.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "mine" / "index.html").read_text()
    assert f"deeplinear experiment run {mine} --set points=3" in page
    assert "experiment copy" not in page  # it is a file already
    done, told = invoke("draw", mine, "--out", tmp_path, "--letters")
    assert done.exit_code == 0, told


def test_a_manifest_tells_the_command_as_it_was_typed(monkeypatch):
    for typed, told in (
        (["/x/bin/deeplinear", "sweep", "a b.toml"], "deeplinear sweep 'a b.toml'"),
        (
            ["/x/deeplinear/__main__.py", "experiment", "list"],
            "python -m deeplinear experiment list",
        ),
    ):
        monkeypatch.setattr("sys.argv", typed)
        assert manifest.command() == told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import nowhere_at_all\n", "cannot be loaded (ModuleNotFoundError"),
        ("def simulate(:\n", "cannot be loaded (SyntaxError"),
        ('"""Doc."""\nTITLE = "t"\n', "has no FULL; define it in"),
    ],
)
def test_a_file_that_is_no_experiment_is_one_sentence(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    done, told = invoke("run", tmp_path / "mine.py", "--out", tmp_path)
    assert done.exit_code == 2
    assert message in told


def test_files_that_cannot_be_one(tmp_path):
    done, told = invoke("run", tmp_path / "none.py")
    assert (done.exit_code, "there is no file" in told) == (2, True)
    (tmp_path / "my-own.py").write_text(MINE)
    done, told = invoke("run", tmp_path / "my-own.py")
    assert (done.exit_code, "must be named like a Python name" in told) == (2, True)


@pytest.mark.parametrize("name", experiment_names())
def test_a_copy_of_any_experiment_loads_as_it_is(name, tmp_path):
    done, told = invoke("copy", name, tmp_path / "mine.py")
    assert done.exit_code == 0, told
    ours, theirs = load_experiment(str(tmp_path / "mine.py")), load_experiment(name)
    assert (ours.title, ours.full) == (theirs.title, theirs.full)
    assert experiment_card(name).source == theirs.source
    done, told = invoke("copy", name, tmp_path / "mine.py")
    assert (done.exit_code, "exists" in told) == (2, True)


def test_from_python_without_a_folder(tmp_path):
    before = jax.config.jax_enable_x64
    result = dl.experiments.run("cmv_fig4", depths=(3, 50), runs=12, seed=1)
    assert jax.config.jax_enable_x64 == before
    assert result.dataset.W.dtype == np.float64
    assert result.dataset.depth.values.tolist() == [3, 50]
    assert len(result.plot().axes) == 2
    assert "N = 50" in repr(result)
    assert result.to_xarray() is result.dataset
    folder = result.save(tmp_path)
    stored = dl.experiments.load_dataset(folder / "data.zarr")
    assert np.array_equal(stored.W, result.dataset.W)
    with pytest.raises(dl.errors.InputError, match="depth is no setting"):
        dl.experiments.run("cmv_fig4", depth=3)


def test_letters_are_those_of_panels_only():
    figure = new_figure(8, 3)
    axes = figure.subplots(1, 3)
    figure.colorbar(axes[0].imshow(np.arange(4.0).reshape(2, 2)), ax=axes[0])
    axes[1].inset_axes((0.5, 0.5, 0.4, 0.4))
    axes[1].twinx()
    axes[2].set_axis_off()
    letter_panels(figure)
    found = {axis: [text.get_text() for text in axis.texts] for axis in figure.axes if axis.texts}
    assert found == {axes[0]: ["a"], axes[1]: ["b"]}
