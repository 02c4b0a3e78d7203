"""The comparison with other packages: our own side of it runs, with the settings of its grids."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import deeplinear as dl

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


@pytest.fixture
def peers(monkeypatch):
    """The modules of the comparison, which are scripts in one folder."""
    monkeypatch.syspath_prepend(str(PEERS))
    names = ("methods", "worker", "curve", "run")
    yield {name: __import__(name) for name in names}
    for name in names:
        del sys.modules[name]


@pytest.fixture
def split(peers, tmp_path):
    run, file = peers["run"], tmp_path / "split.npz"
    run.split(*run.load(None, None, 900), 0, file)
    return file


def test_our_settings_are_parameters_of_the_estimator(peers):
    methods = peers["methods"]
    ours = [name for name in methods.METHODS if name.startswith("deeplinear")]
    settings = [setting for name in ours for setting in methods.grid(name)]
    assert len(ours) == 8
    assert len(settings) == 6 + 18 + 9
    for setting in settings:
        dl.DeepMatrixCompletion(**setting)


def test_our_error_over_time(peers, split, tmp_path, monkeypatch):
    curve = peers["curve"]
    monkeypatch.setattr(curve, "CAPS", (3,))
    monkeypatch.setattr(curve, "CAPS_OF_AVERAGES", (3,))
    monkeypatch.setattr(curve, "STRENGTHS", (0.3,))
    curve.main(split, 1, tmp_path / "found.json")
    points = json.loads((tmp_path / "found.json").read_text())["points"]
    assert [told.split(",")[0] for told, *_ in points[-5:]] == [
        f"average of {count}" for count in (20, 5, 5, 10, 20)
    ]
    sweeps = points[:-5]
    assert len(sweeps) > 5
    assert (np.diff([seconds for _, _, seconds, _ in sweeps]) > 0).all()
    errors = np.array([point[1:] for point in points])
    assert np.isfinite(errors).all()
    assert (errors[:, 2] < 2).all()
