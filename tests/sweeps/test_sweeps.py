"""Sweeps: grids, seeds, stores, resuming, what is refused and how it is told. (Killed processes:
test_sweep_failures.)
"""

import asyncio
import json
import math
import re
import socket
from collections import Counter

import dask
import numpy as np
import pytest
from sweep_processes import contents
from typer.testing import CliRunner

import deeplinear as dl
from deeplinear.cli import app
from deeplinear.experiments import Output, Sweep, open_sweep, read_sweep, run_sweep, task
from deeplinear.results.parameters import derive_seed
from deeplinear.results.schema import SCHEMA_VERSION
from deeplinear.sweeps.grid import expand

CALLS: Counter = Counter()


@task(
    value=Output(units="m"),
    draws=Output(("k",), (2,), description="two numbers"),
    whole=Output(dtype="int32"),
)
def cheap(x, depth=2, seed=0, key=0):
    CALLS[key] += 1
    return {
        "value": x ** (2 / depth),
        "draws": np.random.default_rng(key).normal(size=2),
        "whole": x,
    }


@task(value=Output(), runs_excluded=Output(dtype="int64", units="runs"))
def troubled(x):
    """1: a NaN; 2: runs left out; 3: raises; else fine."""
    if x == 3:
        raise RuntimeError("three is too much")
    return {"value": math.nan if x == 1 else 1.0, "runs_excluded": 4 if x == 2 else 0}


def run(sweep, store, **options):
    return run_sweep(sweep, store, workers=0, **options)


# --- grids


def test_a_grid_multiplies_axes_groups_and_lists():
    rows = expand(
        {"depth": [2, math.inf], "scale": {"geomspace": [1e-3, 1e-1, 3]}},
        zipped=[{"size": [10, 20], "observed": [50, 150]}],
        tasks=[{"rank": 1, "seed": 0}, {"rank": 2, "seed": 5}],
    )
    assert len(rows) == 2 * 3 * 2 * 2
    assert rows[0] == {"depth": 2, "scale": 1e-3, "size": 10, "observed": 50, "rank": 1, "seed": 0}
    assert rows[1] == {"depth": 2, "scale": 1e-3, "size": 10, "observed": 50, "rank": 2, "seed": 5}
    assert {row["scale"] for row in rows} == set(np.geomspace(1e-3, 1e-1, 3).tolist())
    assert {(row["size"], row["observed"]) for row in rows} == {(10, 50), (20, 150)}
    assert len({json.dumps(row) for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "there is no axis"),
        ({"grid": {"x": []}}, "the axis 'x' is empty"),
        ({"grid": {"x": 3}}, r"'x' must be a list of values, got 3: write \[3\]"),
        ({"grid": {"x": "abc"}}, "must be a list"),
        ({"grid": {"x": [1, 2, 1.0]}}, "'x' has 1.* twice"),
        ({"grid": {"x": [1, math.nan]}}, "NaN"),
        ({"grid": {"x": [[1, 2]]}}, "must hold numbers or texts"),
        ({"grid": {"x": {"logspace": [1, 2]}}}, "range, linspace, geomspace"),
        ({"grid": {"x": {"geomspace": [0, 1, 3]}}}, "geomspace of the axis 'x'"),
        (
            {"grid": {"x": [1]}, "zipped": [{"depth": [1, 2], "seed": [1]}]},
            "lists of one length, got depth 2, seed 1",
        ),
        ({"grid": {"x": [1]}, "zipped": [{"x": [1, 2]}]}, "'x' is set in two places"),
        ({"tasks": [{"x": 1}, {"x": 2, "seed": 1}]}, "task 1 sets x, seed where the first sets x"),
        ({"tasks": [{"x": 1}, {"x": 1}]}, "tasks 0 and 1 are the same"),
        ({"grid": {"x": [1], "dpeth": [2]}}, "no parameter 'dpeth': did you mean 'depth'"),
        ({"grid": {"x": [1]}, "fixed": {"sed": 2}}, "no parameter 'sed': did you mean 'seed'"),
        ({"grid": {"x": [1]}, "fixed": {"x": 2}}, "'x' is an axis too"),
        ({"grid": {"depth": [1]}}, "needs 'x'"),
        ({"grid": {"x": [1]}, "chunk": 0}, "chunk must be a whole number"),
    ],
)
def test_what_a_grid_refuses(arguments, said):
    with pytest.raises(dl.InputError, match=said):
        Sweep(cheap, **arguments)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("completoin", "did you mean 'completion'"),
        ("no_such_module:f", "cannot be imported"),
        ("math:sqtr", "did you mean 'sqrt'"),
        ("math:sqrt", "does not say what it returns"),
    ],
)
def test_unknown_tasks(what, said):
    with pytest.raises(dl.InputError, match=said):
        Sweep(what, grid={"x": [1]})


# --- results


def test_results_parameters_and_schema(tmp_path):
    sweep = Sweep(cheap, grid={"depth": [2, math.inf], "x": [1, 4, 9]}, fixed={"seed": 7}, chunk=4)
    report = run(sweep, tmp_path / "s.zarr")
    assert (report.tasks, report.computed, report.kept, report.failures) == (6, 6, 0, {})
    ds = open_sweep(tmp_path / "s.zarr")
    assert ds.attrs["schema_version"] == SCHEMA_VERSION
    assert ds.attrs["kind"] == "sweep"
    assert ds.attrs["seed"] == 7
    assert json.loads(ds.attrs["parameters"])["axes"] == {"depth": [2, "inf"], "x": [1, 4, 9]}
    assert ds.value.attrs["units"] == "m"
    assert np.array_equal(ds.value, np.array([1, 4, 9, 1, 1, 1.0]))
    assert ds.whole.dtype == np.int32
    assert np.all(ds.status == 1)
    for i in range(6):
        expected = np.random.default_rng(int(ds.key[i])).normal(size=2)
        assert np.array_equal(ds.draws[i], expected)
    square = ds.set_index(task=["depth", "x"]).unstack("task")
    assert float(square.value.sel(depth=2, x=9)) == 9
    assert float(square.value.sel(depth=math.inf, x=9)) == 1
    manifest = json.loads((tmp_path / "s.zarr.manifest.json").read_text())
    assert manifest["calls"][0]["ended"] == "complete"
    assert manifest["calls"][0]["versions"]["deeplinear"] == dl.__version__


def test_seeds_depend_on_parameters_alone(tmp_path):
    """Not on the order of axes or tasks, nor on which other tasks there are; and every task has its
    own.
    """
    run(Sweep(cheap, grid={"depth": [2, 3], "x": [1, 4]}), tmp_path / "a.zarr")
    run(Sweep(cheap, grid={"x": [9, 4, 1], "depth": [3.0, 2.0]}, chunk=5), tmp_path / "b.zarr")
    a, b = (
        open_sweep(tmp_path / f"{n}.zarr").set_index(task=["depth", "x"]).unstack("task")
        for n in "ab"
    )
    common = b.sel(x=a.x, depth=a.depth)
    assert np.array_equal(common.key, a.key.transpose(*common.key.dims))
    assert np.array_equal(
        common.draws.transpose("depth", "x", "k"), a.draws.transpose("depth", "x", "k")
    )
    assert len(np.unique(b.key)) == 6
    assert derive_seed(1, "a") != derive_seed("a", 1)


def test_any_chunk_length_gives_the_same_numbers(tmp_path):
    grid = {"x": list(range(1, 24)), "depth": [2, 3]}
    sets = []
    for chunk in (1, 5, 46, 100):
        run(Sweep(cheap, grid=grid, chunk=chunk), tmp_path / f"{chunk}.zarr")
        sets.append(open_sweep(tmp_path / f"{chunk}.zarr").drop_attrs())
    assert all(ds.identical(sets[0]) for ds in sets[1:])


def test_local_processes_write_the_same_bytes(tmp_path):
    (tmp_path / "local_chores.py").write_text(
        "import numpy as np\nfrom deeplinear.experiments import Output, task\n"
        "@task(y=Output())\ndef f(x, key):\n    return {'y': np.random.default_rng(key).normal() * "
        "x}\n"
    )
    (tmp_path / "s.toml").write_text(
        'task = "local_chores:f"\nchunk = 7\n[grid]\nx = {linspace = [0.0, 1.0, 50]}\n'
    )
    sweep = read_sweep(tmp_path / "s.toml")
    assert run_sweep(sweep, tmp_path / "processes.zarr", workers=2).computed == 50
    run(sweep, tmp_path / "here.zarr")
    assert contents(tmp_path / "processes.zarr") == contents(tmp_path / "here.zarr")


def test_resume_computes_what_is_missing_and_nothing_else(tmp_path):
    sweep = Sweep(cheap, grid={"x": list(range(1, 13))}, chunk=3)
    run(sweep, tmp_path / "calm.zarr")
    store = tmp_path / "s.zarr"
    run(sweep, store)
    for name in (
        "status",
        "value",
    ):  # as if the process of the second block had died before its end
        (store / name / "c" / "1").unlink()
    (store / "draws" / "c" / "1" / "0.0f0f.partial").write_bytes(b"half")
    CALLS.clear()
    report = run(sweep, store, resume=True)
    assert (report.kept, report.computed) == (9, 3)
    assert sum(CALLS.values()) == 3
    assert contents(store) == contents(tmp_path / "calm.zarr")
    assert run(sweep, store, resume=True).computed == 0
    assert len(json.loads((tmp_path / "s.zarr.manifest.json").read_text())["calls"]) == 3


def test_nan_failures_and_runs_left_out_are_told(tmp_path):
    seen = []
    sweep = Sweep(troubled, grid={"x": [0, 1, 2, 3]}, chunk=4)
    report = run(sweep, tmp_path / "s.zarr", retries=0, callback=seen.append)
    assert (report.computed, report.empty, report.partial, report.excluded) == (3, 1, 1, 4)
    assert report.failures == {3: "RuntimeError: three is too much"}
    assert [(state.stage, state.done) for state in seen] == [
        ("0 of 4 tasks", 0.0),
        ("3 of 4 tasks, 1 failed", 0.75),
    ]
    ds = open_sweep(tmp_path / "s.zarr")
    assert ds.status.values.tolist() == [1, 3, 2, 0]
    assert np.isnan(ds.value.values[[1, 3]]).all()
    assert "left out" in ds.status.attrs["description"]
    again = run(sweep, tmp_path / "s.zarr", resume=True)
    assert (again.kept, again.computed, list(again.failures)) == (3, 0, [3])
    assert (again.empty, again.partial, again.excluded) == (
        1,
        1,
        4,
    )  # told again, although computed before


def test_the_callback_can_end_a_sweep_which_then_goes_on(tmp_path):
    sweep, store = Sweep(cheap, grid={"x": list(range(1, 9))}, chunk=2), tmp_path / "s.zarr"
    run(sweep, tmp_path / "calm.zarr")
    report = run(sweep, store, callback=lambda state: state.done >= 0.5)
    assert (report.computed, report.done, report.tasks) == (4, 4, 8)
    manifest = json.loads((tmp_path / "s.zarr.manifest.json").read_text())
    assert manifest["calls"][-1]["ended"] == "stopped"
    report = run(sweep, store, resume=True)
    assert (report.kept, report.computed) == (4, 4)
    assert contents(store) == contents(tmp_path / "calm.zarr")


def test_retries(tmp_path):
    tries = Counter()

    @task(y=Output())
    def flaky(x):
        tries[x] += 1
        if tries[x] <= x:
            raise OSError("try again")
        return {"y": float(x)}

    report = run(Sweep(flaky, grid={"x": [0, 1, 2, 3]}), tmp_path / "s.zarr", retries=2)
    assert dict(tries) == {0: 1, 1: 2, 2: 3, 3: 3}
    assert list(report.failures) == [3]


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"y": 1.0}, "returned y where y, z is declared"),
        (3.0, "returned float"),
        ({"y": [1.0, 2.0], "z": 1}, r"'y' has shape \(2,\) where \(\) is declared"),
        ({"y": 1.0, "z": 1.5}, "'z' has dtype float64 where int64"),
        ({"y": 1j, "z": 1}, "'y' has dtype complex128"),
    ],
)
def test_results_that_are_not_as_declared(tmp_path, result, said):
    @task(y=Output(), z=Output(dtype="int64"))
    def wrong(x):
        return result

    report = run(Sweep(wrong, grid={"x": [1]}), tmp_path / "s.zarr")
    assert re.search(said, report.failures[0])
    assert report.computed == 0


# --- what is refused


def test_stores_that_exist(tmp_path):
    store, sweep = (
        tmp_path / "s.zarr",
        Sweep(cheap, grid={"x": [1, 2], "depth": [2, 3]}, fixed={"seed": 1}),
    )
    run(sweep, store)
    before = contents(store)
    with pytest.raises(dl.InputError, match=r"s\.zarr' exists; add --resume"):
        run(sweep, store)
    for other, said in [
        (
            Sweep(cheap, grid={"x": [1, 2, 3], "depth": [2, 3]}, fixed={"seed": 1}),
            r"axes.x is \[1, 2\] in the store and \[1, 2, 3\] now",
        ),
        (
            Sweep(cheap, grid={"x": [1, 2], "depth": [2, 3]}, fixed={"seed": 2}),
            "fixed.seed is 1 in the store and 2 now",
        ),
        (
            Sweep(cheap, grid={"x": [1, 2], "depth": [2, 3]}),
            "fixed.seed is 1 in the store and not set now",
        ),
        (Sweep(cheap, grid={"depth": [2, 3], "x": [1, 2]}, fixed={"seed": 1}), "order is"),
        (
            Sweep(cheap, grid={"x": [1, 2], "depth": [2, 3]}, fixed={"seed": 1}, chunk=2),
            "chunk is 1 in the store and 2 now",
        ),
    ]:
        with pytest.raises(dl.InputError, match=said):
            run(other, store, resume=True)
    assert contents(store) == before
    run(Sweep(cheap, grid={"x": [5]}), store, force=True)
    assert open_sweep(store).x.values.tolist() == [5]


def test_another_schema_version_is_refused(tmp_path):
    store, sweep = tmp_path / "s.zarr", Sweep(cheap, grid={"x": [1, 2]})
    run(sweep, store)
    path = store / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"]["schema_version"] = SCHEMA_VERSION + 1
    path.write_text(json.dumps(content))
    said = (
        f"made by version {SCHEMA_VERSION + 1} of the schema, and this is version {SCHEMA_VERSION}"
    )
    for call in (lambda: run(sweep, store, resume=True), lambda: open_sweep(store)):
        with pytest.raises(dl.InputError, match=said):
            call()
    del content["attributes"]["schema_version"]
    path.write_text(json.dumps(content))
    with pytest.raises(dl.InputError, match="no store of deeplinear's"):
        open_sweep(store)
    path.write_text("{")
    with pytest.raises(dl.InputError, match="cannot be read"):
        open_sweep(store)
    with pytest.raises(dl.InputError, match="does not exist"):
        open_sweep(tmp_path / "none.zarr")


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    """A port where nothing listens, one that accepts and stays silent, and texts that are no
    address: told, nothing touched. What is waited for has the time that was asked for.
    """
    store, sweep = tmp_path / "s.zarr", Sweep(cheap, grid={"x": [1, 2]})
    waits, plain = [], asyncio.wait_for
    monkeypatch.setattr(asyncio, "wait_for", lambda what, t: waits.append(t) or plain(what, t))
    run(sweep, store)
    before = contents(store)
    with socket.socket() as silent, socket.socket() as closed:
        for place in (silent, closed):
            place.bind(("127.0.0.1", 0))
        silent.listen()
        addresses = [f"tcp://127.0.0.1:{place.getsockname()[1]}" for place in (silent, closed)]
        for address in [*addresses, "nowhere", "carrier-pigeon://a:1"]:
            with pytest.raises(
                dl.InputError, match=f"--scheduler: no answer from '{address}' within 0.5 s"
            ):
                run_sweep(sweep, store, scheduler=address, timeout=0.5, force=True)
    assert waits.count(0.5) >= len(addresses)
    assert contents(store) == before


def test_what_a_worker_of_an_earlier_call_still_wrote_is_counted(tmp_path, monkeypatch):
    """A call that was stopped leaves workers of a scheduler that finish what they are at."""
    from deeplinear.sweeps import cluster
    from deeplinear.sweeps.worker import run_block

    plain = cluster.compute

    def late(specs, **settings):
        run_block(specs[0])
        yield from plain(specs, **settings)

    monkeypatch.setattr(cluster, "compute", late)
    report = run(Sweep(cheap, grid={"x": [1, 2, 3]}, chunk=1), tmp_path / "s.zarr")
    assert (report.done, report.kept, report.computed) == (3, 1, 2)
    assert report.stage == "3 of 3 tasks"


def test_a_scheduler_is_asked_from_a_notebook(tmp_path):
    """There an event loop is running already, and a second one is refused."""
    sweep = Sweep(cheap, grid={"x": [1, 2]})

    async def cell():
        run_sweep(sweep, tmp_path / "s.zarr", scheduler="nowhere", timeout=0.5)

    with pytest.raises(dl.InputError, match="no answer from 'nowhere'"):
        asyncio.run(cell())


@pytest.mark.parametrize(
    "options", [{"workers": -1}, {"workers": 1.5}, {"retries": -1}, {"timeout": 0}]
)
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(dl.InputError, match=f"--{next(iter(options))} must be"):
        run_sweep(Sweep(cheap, grid={"x": [1]}), tmp_path / "s.zarr", **options)


# --- the command line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("task = ", "is not TOML"),
        ("[grid]\nx = [1]", "names no task"),
        ('task = "completion"\n[gird]\ndepth = [2]', "unknown key 'gird': did you mean 'grid'"),
        ('task = "completion"\ngrid = 3', "write [grid]"),
        ('task = "completion"\n[zip]\ndepth = [2]', "write [[zip]]"),
        (
            'task = "completion"\n[grid]\nsize = [5]\nobserved = [10]\ndepht = [2]',
            "did you mean 'depth'",
        ),
        ('task = "completion"\n[grid]\nsize = [5]\nobserved = [10]', "needs 'depth'"),
    ],
)
def test_files_that_are_refused(tmp_path, text, said):
    (tmp_path / "s.toml").write_text(text)
    done = CliRunner().invoke(
        app, ["sweep", str(tmp_path / "s.toml"), "--out", str(tmp_path / "s.zarr")]
    )
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "s.zarr").exists()


def test_the_command_tells_what_it_did(tmp_path):
    (tmp_path / "troubles.py").write_text(
        "from deeplinear.experiments import Output, task\n"
        "@task(y=Output(), runs_excluded=Output(dtype='int64', units='runs'))\ndef f(x):\n"
        "    return {'y': float('nan') if x == 1 else 1 / (x - 3), 'runs_excluded': 2 * (x == 2)}\n"
    )
    (tmp_path / "s.toml").write_text('task = "troubles:f"\n[grid]\nx = {range = [5]}\n')
    store = tmp_path / "s.zarr"
    arguments = [
        "sweep",
        str(tmp_path / "s.toml"),
        "--out",
        str(store),
        "--workers",
        "0",
        "--retries",
        "0",
    ]
    done = CliRunner().invoke(app, arguments)
    told = " ".join((done.stdout + done.stderr).split())
    assert done.exit_code == 1
    assert "4 of 5 tasks (4 computed now)" in told
    assert "2 runs in 1 tasks were not converged" in told
    assert "1 tasks have a NaN" in told
    assert "1 tasks, such as task 3: ZeroDivisionError" in told
    done = CliRunner().invoke(app, [*arguments, "--resume"])
    assert "4 were there already" in done.stdout
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "add --resume to go on" in " ".join(done.stderr.split())
    done = CliRunner().invoke(app, [*arguments, "--resume", "--force"])
    assert done.exit_code == 2
    assert CliRunner().invoke(app, ["sweep", str(tmp_path / "none.toml")]).exit_code == 2


def test_a_task_that_kills_its_process_is_told_and_stops_nobody_else(tmp_path):
    (tmp_path / "killers.py").write_text(
        "import os, signal\nfrom deeplinear.experiments import Output, task\n"
        "@task(y=Output())\ndef f(x):\n    if x == 3:\n        os.kill(os.getpid(), "
        "signal.SIGKILL)\n    return {'y': x}\n"
    )
    (tmp_path / "s.toml").write_text('task = "killers:f"\n[grid]\nx = {range = [8]}\n')
    # each process that dies is replaced, which takes seconds: two of them, not the usual four
    with dask.config.set({"distributed.scheduler.allowed-failures": 1}):
        report = run_sweep(read_sweep(tmp_path / "s.toml"), tmp_path / "s.zarr", workers=1)
    assert list(report.failures) == [3]
    assert "its worker died every time" in report.failures[3]
    assert open_sweep(tmp_path / "s.zarr").status.values.tolist() == [1, 1, 1, 0, 1, 1, 1, 1]


def test_resuming_with_other_versions_is_told(tmp_path, monkeypatch):
    from deeplinear.results import manifest

    sweep, store = Sweep(cheap, grid={"x": [1, 2]}), tmp_path / "s.zarr"
    assert run(sweep, store).version_changes == []
    monkeypatch.setattr(manifest, "_PACKAGES", ("numpy", "no-such-package"))
    assert run(sweep, store, resume=True).version_changes == [
        "no-such-package none → not installed"
    ]


def test_force_does_not_delete_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("…")
    with pytest.raises(dl.InputError, match="is not a zarr store; --force does not replace it"):
        run(Sweep(cheap, grid={"x": [1]}), tmp_path / "precious", force=True)
    assert (tmp_path / "precious" / "thesis.tex").exists()


def test_the_examples_of_the_documentation(tmp_path):
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    blocks = dict(re.findall(r"```(toml|python)\n# (?:.*?)\n(.*?)```", page, flags=re.DOTALL))
    (tmp_path / "recovery.toml").write_text(blocks["toml"])
    assert len(read_sweep(tmp_path / "recovery.toml").table) == 3 * 2 * 10 * 2
    (tmp_path / "mytasks.py").write_text(blocks["python"])
    (tmp_path / "own.toml").write_text(
        'task = "mytasks:spectrum"\n[grid]\nsize = [4, 5]\n[fixed]\ndepth = 3\n'
    )
    assert run(read_sweep(tmp_path / "own.toml"), tmp_path / "own.zarr").computed == 2
    assert open_sweep(tmp_path / "own.zarr").sigma.shape == (2, 3)
