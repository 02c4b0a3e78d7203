"""Stored runs: which there are, what they show, how two of them differ; and hostile stores."""

import zipfile

import numpy as np
import pytest

from deeplinear.errors import InputError
from deeplinear.experiments import experiment_names
from deeplinear.explorer.experiment_tasks import (
    compared,
    run_small,
    show_run,
    stored_runs,
    titles,
)
from deeplinear.explorer.folders import VisitorFolder, server_folder
from deeplinear.results.parameters import encode
from deeplinear.results.schema import label
from deeplinear.results.store import save_dataset

QUIET = lambda part, said: None  # noqa: E731


def stored(folder, name="some_sweep", **parameters):
    xr = pytest.importorskip("xarray")
    ds = xr.Dataset({"x": ("run", np.arange(4.0), {"long_name": "<script>alert(1)</script>"})})
    ds = label(ds, kind="sweep", name=name, parameters=encode(parameters), seed=0)
    save_dataset(ds, folder)
    return folder


def test_every_experiment_is_offered_by_its_title():
    assert sorted(titles().values()) == experiment_names()


def test_stores_are_found_below_a_folder_and_links_are_not_followed(tmp_path):
    folder, other = tmp_path / "experiments", tmp_path / "other"
    stored(folder / "one" / "data.zarr")
    stored(folder / "deep" / "two.zarr")
    stored(other / "data.zarr")
    (folder / "link").symlink_to(other)
    (folder / "empty").mkdir()
    assert list(stored_runs(folder)) == ["deep/two.zarr", "one"]
    assert stored_runs(tmp_path / "nowhere") == {}


def test_a_stored_run_is_shown_escaped_and_can_be_saved(tmp_path):
    path = stored(tmp_path / "data.zarr", depth=3, note="<b>bold</b>")
    found = show_run(QUIET, path, "../<i>name", tmp_path / "visitor")
    for text in found.texts.values():
        assert "<script>" not in text
        assert "<b>bold" not in text
    assert found.picture == b""
    with zipfile.ZipFile(found.files["data (zarr)"]) as archive:
        assert "zarr.json" in archive.namelist()
    assert tmp_path / "visitor" in found.files["data (zarr)"].parents


def test_two_runs_are_compared_by_their_settings(tmp_path):
    one, other = (
        show_run(QUIET, stored(tmp_path / f"{k}.zarr", depth=k, runs=9), str(k), tmp_path / "v")
        for k in (3, 4)
    )
    told = compared(one, other)
    assert "depth is 3 in the first run and 4 in the second" in told
    assert "runs is" not in told
    assert "The settings are the same." in compared(one, one)


def test_a_damaged_store_gets_one_sentence(tmp_path):
    path = stored(tmp_path / "data.zarr")
    (path / "zarr.json").write_text("{" * 1000)
    with pytest.raises(InputError) as caught:
        show_run(QUIET, path, "mine", tmp_path / "visitor")
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.slow
def test_an_experiment_runs_in_small_settings_and_is_shown(tmp_path):
    said = []
    path = run_small(lambda *state: said.append(state), "cmv_fig4", 1, tmp_path)
    assert list(stored_runs(tmp_path / "runs")) == ["seed 1/cmv_fig4"]
    found = show_run(QUIET, path / "data.zarr", "mine", tmp_path)
    assert found.picture.startswith(b"\x89PNG")
    assert found.numbers
    assert max(part for part, _ in said) <= 1


def test_a_visitor_s_folder_goes_with_the_visitor_and_all_with_the_server(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with server_folder() as folder:
        one, other = VisitorFolder(folder), VisitorFolder(folder)
        (one.path / "a").write_text("x")
        (other.path / "b").write_text("x")
        assert one.path.stat().st_mode & 0o077 == 0
        one.empty()
        assert len(list(folder.iterdir())) == 1
        monkeypatch.setattr("deeplinear.explorer.folders.MOST_KEPT", 0)
        with pytest.raises(InputError, match="full"):
            VisitorFolder(folder).path  # noqa: B018
    assert list(tmp_path.iterdir()) == []
