"""A store whose files were changed or lost is refused with a sentence, or mended by a resume."""

import json
import shutil

import numpy as np
import pytest
from sweep_processes import contents

import deeplinear as dl
from deeplinear.experiments import (
    Output,
    Sweep,
    load_dataset,
    open_sweep,
    run_sweep,
    save_dataset,
    task,
)
from deeplinear.results.parameters import encode
from deeplinear.results.schema import label
from deeplinear.sweeps.record import manifest_path

CALLS = []


@task(square=Output(), pair=Output(("k",), (2,), "int64"))
def area(side, name):
    CALLS.append((side, name))
    return {"square": float(side) ** 2, "pair": [len(name), 0]}


SWEEP = Sweep(area, {"side": [0, 1, 2], "name": ["a", "bc"]}, chunk=2)


def run(store, **options):
    return run_sweep(SWEEP, store, workers=0, **options)


@pytest.fixture
def store(tmp_path):
    run(tmp_path / "s.zarr")
    CALLS.clear()
    return tmp_path / "s.zarr"


def flip(path, place, bit):
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)


def files(store):
    return sorted(path.relative_to(store) for path in store.rglob("*") if path.is_file())


def is_result(file):
    return file.parts[0] in ("square", "pair", "status") and file.name != "zarr.json"


def test_every_chunk_is_there_also_of_fill_values(store):
    """Side 0 has the square 0, and the second of each pair is 0: computed, and so written."""
    for name, count in (("square", 3), ("pair", 3), ("status", 3)):
        assert sum(file.parts[0] == name and is_result(file) for file in files(store)) == count


def test_flipped_bits(store, rng):
    """In any file: the sweep is refused; a resume computes results anew, and refuses the rest."""
    whole, sound = contents(store), open_sweep(store)
    for file in files(store):
        for _ in range(4):
            flip(store / file, int(rng.integers(1 << 16)), int(rng.integers(8)))
            with pytest.raises(dl.InputError, match=r"^[^\n]*$"):
                open_sweep(store)
            if is_result(file):
                report = run(store, resume=True)
                assert (report.damaged, report.computed, report.kept) == (2, 2, 4)
                assert contents(store) == whole
            else:
                with pytest.raises(dl.InputError, match=r"^[^\n]*$"):
                    run(store, resume=True)
                assert CALLS == []
                (store / file).write_bytes(whole[str(file)])
            CALLS.clear()
    assert open_sweep(store).equals(sound)


def test_lost_files(store):
    whole = contents(store)
    for file in files(store):
        (store / file).unlink()
        if file.parts[0] == "status" and is_result(file):
            assert (open_sweep(store).status == 0).sum() == 2  # as if they were not computed
        else:
            with pytest.raises(dl.InputError, match=r"^[^\n]*$"):
                open_sweep(store)
        if is_result(file):
            assert run(store, resume=True).computed == 2
            assert contents(store) == whole
        else:
            with pytest.raises(dl.InputError, match=r"^[^\n]*$"):
                run(store, resume=True)
            (store / file).write_bytes(whole[str(file)])


@pytest.mark.parametrize("name", ["side", "name", "key", "task", "square", "status"])
def test_an_array_that_is_lost_is_named(store, name):
    shutil.rmtree(store / name)
    for call in (lambda: open_sweep(store), lambda: run(store, resume=True)):
        with pytest.raises(dl.InputError, match=f"is damaged .its array '{name}' is gone"):
            call()


def test_an_array_of_another_store(store):
    shutil.copytree(store / "side", store / "more")
    with pytest.raises(dl.InputError, match="its array 'more' is none of its own"):
        open_sweep(store)


def test_datasets_of_experiments(tmp_path, rng):
    import xarray as xr

    ds = xr.Dataset(
        {"x": (("depth", "run"), np.zeros((2, 3))), "name": ("depth", ["two", "∞"])},
        {"depth": [2.0, np.inf], "run": np.arange(3)},
    )
    ds = label(ds, kind="experiment", name="e", parameters=encode({}), seed=0)
    save_dataset(ds, tmp_path / "d.zarr")
    whole = contents(tmp_path / "d.zarr")
    for file in files(tmp_path / "d.zarr"):
        path = tmp_path / "d.zarr" / file
        for _ in range(4):
            flip(path, int(rng.integers(1 << 16)), int(rng.integers(8)))
            with pytest.raises(dl.InputError, match=r"^[^\n]*$"):
                load_dataset(tmp_path / "d.zarr")
        path.unlink()
        with pytest.raises(dl.InputError, match=r"^[^\n]*$"):
            load_dataset(tmp_path / "d.zarr")
        path.write_bytes(whole[str(file)])
    assert load_dataset(tmp_path / "d.zarr").identical(ds)


def test_text_that_older_packages_hold_as_objects(tmp_path, monkeypatch):
    """With pandas before 3, xarray reads text of any length as objects, and tells what it was."""
    import xarray as xr

    ds = xr.Dataset({"name": (("x", "y"), np.array([["κ", "volume"], ["", "a longer one"]]))})
    ds = label(ds, kind="experiment", name="e", parameters=encode({}), seed=0)
    save_dataset(ds, tmp_path / "d.zarr")
    read = xr.open_zarr

    def as_objects(*args, **kwargs):
        found = read(*args, **kwargs)
        encoding = found.name.encoding
        assert encoding["dtype"] == np.dtypes.StringDType()
        found["name"] = found.name.dims, found.name.values.astype(object), found.name.attrs
        found.name.encoding = encoding
        return found

    monkeypatch.setattr(xr, "open_zarr", as_objects)
    assert load_dataset(tmp_path / "d.zarr").identical(ds)


@pytest.mark.parametrize(
    "text", ["[]", "3", '"calls"', '{"calls": 1}', '{"calls": [1]}', "{", "[" * 10**5, "\udcff"]
)
def test_a_manifest_that_is_none(store, text):
    path = manifest_path(store)
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(dl.InputError, match=r"^manifest: [^\n]* remove it"):
        run(store, resume=True)
    path.unlink()
    assert run(store, resume=True).kept == 6
    assert len(json.loads(path.read_text())["calls"]) == 1


def test_two_sweeps_at_once(tmp_path):
    """The second is refused, however it is asked for; the first's report is right."""
    store, refusals = tmp_path / "s.zarr", []

    def again(progress):
        for options in ({"resume": True}, {"force": True}):
            with pytest.raises(dl.InputError, match="another sweep is at work on"):
                run(store, **options)
            refusals.append(options)
        return False

    report = run(store, callback=again)
    assert (report.kept, report.computed, len(refusals)) == (0, 6, 8)
    assert len(json.loads(manifest_path(store).read_text())["calls"]) == 1
    assert run(store, resume=True).kept == 6
    assert run(store, force=True).computed == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.zarr", "s.zarr.manifest.json"]
