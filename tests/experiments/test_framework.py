"""Experiments: found by being there, run, kept, drawn and shown; the schema; what is refused. (Each
experiment: test_experiments_smoke.)
"""

import base64
import json
import re
import sys

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.experiments import figures, load_dataset, save_dataset
from deeplinear.experiments.page import prose
from deeplinear.experiments.registry import experiment_names, load_experiment
from deeplinear.results.parameters import canonical, differences, encode
from deeplinear.results.schema import DIMENSIONS, SCHEMA_VERSION, label, validate

TOY = '''"""Toy: *Decay*, Figure 1.

Known: nothing. Our choice: ``rates``.
"""
import numpy as np

TITLE = "A <toy> decays"
FULL = {{"rates": (1.0, float("inf")), "points": 50}}
SMOKE = {{"points": 5}}
CALLS = []

def simulate(*, seed=0, rates, points, progress=None):
    import xarray as xr
    CALLS.append(seed)
    {trouble}
    if progress is not None:
        from deeplinear.progress import report
        report(progress, "half [way]", 0.5)
    t = np.linspace(0, 1, points)
    x = np.exp(-np.outer(np.minimum(rates, 9), t)) + seed
    return xr.Dataset({{"x": (("depth", "time"), x)}}, {{"depth": list(rates), "time": t}})

def draw(ds):
    from deeplinear import plots
    lines = {{f"N = {{d}}": (ds.time.values, ds.x.sel(depth=d).values) for d in ds.depth.values}}
    return plots.curves(lines, xlabel="t", ylabel="x")

def summary(ds):
    return {{"last": float(ds.x[0, -1]), "note": "a < b"}}
'''


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Two experiments of our own instead of the library's: one that runs and one that raises."""
    folder = tmp_path / "figures"
    folder.mkdir()
    for name, trouble in (
        ("toy_decay", ""),
        ("toy_broken", "raise ZeroDivisionError('so it goes')"),
    ):
        (folder / f"{name}.py").write_text(TOY.format(trouble=trouble))
    (folder / "_helper.py").write_text("no experiment")
    monkeypatch.setattr(figures, "__path__", [str(folder)])
    yield folder
    for name in ("toy_decay", "toy_broken", "toy_lacking"):
        sys.modules.pop(f"{figures.__name__}.{name}", None)


def invoke(*arguments):
    done = CliRunner().invoke(app, ["experiment", *map(str, arguments)])
    return done, " ".join((done.stdout + done.stderr).split())


def test_experiments_are_found_by_being_there(toys):
    assert experiment_names() == ["toy_broken", "toy_decay"]
    done, told = invoke("list")
    assert done.exit_code == 0
    assert "toy_decay A <toy> decays" in told


def test_the_list_loads_no_experiment(toys):
    """What cannot be imported has a title all the same: nothing is loaded."""
    (toys / "toy_lacking.py").write_text("TITLE = 'No more' ' than this'\nimport nowhere\n")
    done, told = invoke("list")
    assert done.exit_code == 0
    assert "toy_lacking No more than this" in told
    assert not any(f"{figures.__name__}.{name}" in sys.modules for name in experiment_names())


def test_run_writes_data_pictures_page_and_manifest(toys, tmp_path):
    out = tmp_path / "out"
    done, told = invoke("run", "toy_decay", "--smoke", "--out", out, "--seed", 3)
    assert done.exit_code == 0, told
    folder = out / "toy_decay"
    ds = load_dataset(folder / "data.zarr")
    assert ds.attrs["name"] == "toy_decay"
    assert ds.attrs["seed"] == 3
    assert json.loads(ds.attrs["parameters"]) == {"points": 5, "rates": [1, "inf"], "seed": 3}
    assert np.allclose(ds.x.sel(depth=1.0), 3 + np.exp(-np.linspace(0, 1, 5)))
    assert ds.x.attrs["units"] == "1"
    assert (folder / "toy_decay.png").read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in (folder / "toy_decay.svg").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["settings"] == "smoke"
    assert manifest["versions"]["deeplinear"] == dl.__version__
    page = (folder / "index.html").read_text()
    assert "A &lt;toy&gt; decays" in page
    assert "a &lt; b" in page
    assert "<em>Decay</em>" in page
    assert base64.b64encode((folder / "toy_decay.png").read_bytes()).decode() in page
    # one file that works offline: nothing is fetched, from anywhere
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []


def test_what_is_there_is_kept_unless_forced(toys, tmp_path):
    out = tmp_path / "out"
    module = load_experiment("toy_decay").simulate.__globals__
    invoke("run", "toy_decay", "--smoke", "--out", out)
    done, told = invoke("run", "toy_decay", "--smoke", "--out", out)
    assert done.exit_code == 0
    assert "kept: made with the same settings" in told
    assert len(module["CALLS"]) == 1
    done, told = invoke("run", "toy_decay", "--out", out)
    assert done.exit_code == 1
    assert "points is 5 in the store and 50 now" in told
    done, told = invoke("run", "toy_decay", "--smoke", "--out", out, "--seed", 1)
    assert "seed is 0 in the store and 1 now" in told
    assert len(module["CALLS"]) == 1
    done, _ = invoke("run", "toy_decay", "--out", out, "--force")
    assert done.exit_code == 0
    assert len(module["CALLS"]) == 2
    assert load_dataset(out / "toy_decay" / "data.zarr").sizes["time"] == 50


def test_draw_does_not_compute_again(toys, tmp_path):
    out = tmp_path / "out"
    module = load_experiment("toy_decay").simulate.__globals__
    invoke("run", "toy_decay", "--smoke", "--out", out)
    picture = out / "toy_decay" / "toy_decay.png"
    before = picture.read_bytes()
    for target in (
        ["toy_decay", "--out", out],
        [out / "toy_decay"],
        [out / "toy_decay" / "data.zarr"],
    ):
        picture.unlink()
        done, told = invoke("draw", *target)
        assert done.exit_code == 0, told
        assert picture.read_bytes() == before
    assert len(module["CALLS"]) == 1
    done, told = invoke("draw", "toy_broken", "--out", out)
    assert done.exit_code == 2
    assert "does not exist" in told


def test_one_failure_does_not_stop_the_others(toys, tmp_path):
    out = tmp_path / "out"
    done, told = invoke("all", "--smoke", "--out", out)
    assert done.exit_code == 1
    assert "toy_broken: ZeroDivisionError: so it goes" in told
    assert "1 of 2 experiments failed: toy_broken" in told
    index = (out / "index.html").read_text()
    assert 'href="toy_decay/index.html"' in index
    assert "so it goes" in index
    assert not (out / "toy_broken" / "data.zarr").exists()


def test_names_that_are_not_there(toys, tmp_path):
    done, told = invoke("run", "toy_deacy", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "did you mean 'toy_decay'" in told
    assert not (tmp_path / "out").exists()
    done, told = invoke("draw", "toy_deacy")
    assert "did you mean 'toy_decay'" in told


def test_modules_that_break_the_contract(toys):
    (toys / "toy_lacking.py").write_text(
        'TITLE = "t"\nFULL = {"pionts": 1}\nSMOKE = {}\ndef simulate(*, seed=0, points): ...\n'
    )
    with pytest.raises(dl.InputError, match="'toy_lacking' has no draw"):
        load_experiment("toy_lacking")
    sys.modules.pop(f"{figures.__name__}.toy_lacking")
    with (toys / "toy_lacking.py").open("a") as file:
        file.write("def draw(ds): ...\n")
    (toys / "__pycache__").exists() and [p.unlink() for p in (toys / "__pycache__").iterdir()]
    with pytest.raises(dl.InputError, match=r"sets 'pionts'.*did you mean 'points'"):
        load_experiment("toy_lacking")


def test_out_that_cannot_be_written(toys, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        done, told = invoke("run", "toy_decay", "--smoke", "--out", out)
        assert done.exit_code == 2
        assert "--out:" in told


# --- schema


def good() -> xr.Dataset:
    ds = xr.Dataset(
        {"x": (("depth", "run"), np.ones((2, 3))), "name": ("depth", ["two", "∞"])},
        {"depth": [2.0, np.inf], "run": np.arange(3)},
    )
    return label(ds, kind="experiment", name="e", parameters=encode({"depth": [2, np.inf]}), seed=0)


def test_a_good_dataset_comes_back_as_it_was(tmp_path):
    save_dataset(good(), tmp_path / "d.zarr")
    xr.testing.assert_identical(load_dataset(tmp_path / "d.zarr"), good())
    with pytest.raises(dl.InputError, match="exists; add --force"):
        save_dataset(good(), tmp_path / "d.zarr")
    save_dataset(good().isel(run=[0]), tmp_path / "d.zarr", force=True)
    assert load_dataset(tmp_path / "d.zarr").sizes["run"] == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.zarr"]


def test_a_dataset_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError("no room")

    save_dataset(good(), tmp_path / "d.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_zarr", fail)
        with pytest.raises(OSError, match="no room"):
            save_dataset(good(), tmp_path / "d.zarr", force=True)
    xr.testing.assert_identical(load_dataset(tmp_path / "d.zarr"), good())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.zarr"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda ds: ds.attrs.pop("seed"), "attribute 'seed' is missing"),
        (lambda ds: ds.attrs.update(kind="song"), "kind is 'song'"),
        (lambda ds: ds.attrs.update(schema_version=SCHEMA_VERSION + 1), "was made by version"),
        (lambda ds: ds.attrs.pop("schema_version"), "no store of deeplinear's"),
        (lambda ds: ds.x.attrs.pop("units"), "'x' has no units"),
        (lambda ds: ds.update({"z": ("run", [1j, 2j, 3j])}), "'z' has dtype complex128"),
        (
            lambda ds: ds.update({"z": ("run", np.array([1, "a", None], object))}),
            "'z' has dtype object",
        ),
        (
            lambda ds: ds.update({"not a name": ("run", [True, False, True])}),
            "'not a name' is not an identifier",
        ),
        (
            lambda ds: ds.update({"z": ("my dim", [True])}),
            "dimension 'my dim' is not an identifier",
        ),
        (
            lambda ds: ds.coords.update({"depth": ("depth", [0.5, 2.0], {"units": "1"})}),
            "coordinate of 'depth'",
        ),
        (
            lambda ds: ds.coords.update({"depth": ("depth", [2.0, 2.0], {"units": "1"})}),
            "'depth' repeats a value",
        ),
        (
            lambda ds: ds.coords.update({"run": ("run", [0.5, 1.0, 2.0], {"units": "1"})}),
            "coordinate of 'run'",
        ),
        (
            lambda ds: ds.coords.update({"run": ("run", [0, np.nan, 2.0], {"units": "1"})}),
            "'run' has a NaN",
        ),
        (
            lambda ds: ds.update(
                {
                    "t": ("time", [0.0, 2, 1], {"units": "1"}),
                    "time": ("time", [0, 2.0, 1], {"units": "1"}),
                }
            ),
            "of 'time'",
        ),
        (
            lambda ds: ds.update(
                {"t": ("scale", [1.0], {"units": "1"}), "scale": ("scale", [0.0], {"units": "1"})}
            ),
            "of 'scale'",
        ),
        (
            lambda ds: ds.update(
                {"t": ("task", [1.0], {"units": "1"}), "task": ("task", [3], {"units": "1"})}
            ),
            "of 'task'",
        ),
    ],
)
def test_what_the_schema_refuses(spoil, said, tmp_path):
    ds = good()
    spoil(ds)
    with pytest.raises(dl.InputError, match=said):
        validate(ds, "here")
    with pytest.raises(dl.InputError):
        save_dataset(ds, tmp_path / "d.zarr")
    assert not (tmp_path / "d.zarr").exists()


def test_the_schema_is_written_down():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    for name in DIMENSIONS:
        assert f"| `{name}` |" in page, name
    assert f"version {SCHEMA_VERSION}" in page


# --- settings as text


def test_one_spelling_of_settings():
    assert (
        encode({"b": 2.0, "a": (1, np.inf)})
        == encode({"a": [1.0, float("inf")], "b": np.int64(2)})
        == '{"a": [1, "inf"], "b": 2}'
    )
    assert canonical(np.arange(2)) == [0, 1]
    for bad in (float("nan"), object(), {"a": [float("nan")]}):
        with pytest.raises(dl.InputError, match="a setting must be"):
            canonical(bad)
    assert differences(
        encode({"a": 1, "c": {"d": [1]}}), encode({"a": 1.0, "c": {"d": [2]}, "e": "x"})
    ) == [
        "c.d is [1] in the store and [2] now",
        'e is not set in the store and "x" now',
    ]


def test_docstrings_become_prose():
    doc = (
        "Title: *A, B* 2020, `x * y`.\n\nSecond **bold**\nline with <tags> & 2*3*4.\n\n- one\n- "
        "two\n  more\n\n    code * here"
    )
    assert prose(doc) == [
        "<p>Title: <em>A, B</em> 2020, <code>x * y</code>.</p>",
        "<p>Second <strong>bold</strong> line with &lt;tags&gt; &amp; 2*3*4.</p>",
        "<ul><li>one</li><li>two more</li></ul>",
        "<pre>code * here</pre>",
    ]
