"""Sweeps through failures, with real processes: whatever is killed, the store ends with the same
bytes, and nothing is done twice.
"""

import collections
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sweep_processes import Lab, contents, kill, wait


def kill_everything_once(
    folder: Path, monkeypatch, *, seeds: int, work: int, chunk: int | None, rng
) -> None:
    """Kill client, worker and scheduler, each at a random point of one sweep; resume after each;
    compare with an undisturbed one.
    """
    folder.joinpath("calm").mkdir()
    folder.joinpath("rough").mkdir()
    calm, lab = (Lab(folder / name, seeds, work, chunk) for name in ("calm", "rough"))
    tasks = 4 * seeds
    calm.sweep_here(monkeypatch)
    assert len(calm.calls()) == tasks  # the log counts what it should

    points = np.sort(rng.integers(tasks // 20, tasks * 8 // 10, size=3))
    points += np.arange(3) * tasks // 20  # apart, so that each kill meets a sweep that runs
    try:
        scheduler, address = lab.scheduler()
        workers = [lab.worker(address), lab.worker(address)]

        client = lab.sweep("--scheduler", address)
        lab.wait_for_calls(points[0])
        kill(client)

        client = lab.sweep("--scheduler", address, "--resume")
        lab.wait_for_calls(points[1])
        kill(workers.pop())  # the other one goes on
        lab.wait_for_calls(points[2])
        assert client.poll() is None, (lab.folder / "client.txt").read_text()
        kill(scheduler)
        assert client.wait(120) == 1
        told = " ".join((lab.folder / "client.txt").read_text().split())
        assert "stopped answering" in told
        assert "--resume" in told
        kill(workers.pop())

        done_before = len(lab.calls())
        assert done_before < tasks
        scheduler, address = lab.scheduler()
        lab.worker(address)
        assert lab.sweep("--scheduler", address, "--resume").wait(300) == 0, (
            lab.folder / "client.txt"
        ).read_text()
    finally:
        lab.close()

    expected, found = (contents(part / "sweep.zarr") for part in (calm.folder, lab.folder))
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert len(expected) > tasks / (
        chunk or max(1, tasks // 1000)
    )  # the comparison is about as many files as it should be

    calls = collections.Counter(lab.calls())
    assert set(calls) == set(calm.calls())
    # Three kills; each may lose the block that each of two workers had in hand, and no more.
    in_flight = 3 * 2 * (chunk or -(-tasks // 1000))
    assert sum(calls.values()) - tasks <= in_flight
    print(
        f"{tasks} tasks, killed at {points}: {sum(calls.values()) - tasks} computed twice (at most "
        f"{in_flight})"
    )


@pytest.mark.slow
def test_killed_client_worker_and_scheduler(tmp_path, monkeypatch, rng):
    kill_everything_once(tmp_path, monkeypatch, seeds=100, work=20, chunk=2, rng=rng)


@pytest.mark.slow
def test_killed_client_worker_and_scheduler_of_ten_thousand_tasks(tmp_path, monkeypatch, rng):
    kill_everything_once(tmp_path, monkeypatch, seeds=2500, work=20, chunk=None, rng=rng)


def in_namespace(script: str, lab: Lab) -> subprocess.CompletedProcess:
    """Run a shell script that may mount file systems of its own; skip where the kernel does not let
    us.
    """
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    command = f'"{sys.executable}" -c "from deeplinear.cli import main; main()"'
    script = f'set -u\nsweep() {{ {command} sweep sweep.toml "$@"; }}\n' + script
    return subprocess.run(
        ["unshare", "-rm", "bash", "-c", script],
        cwd=lab.folder,
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=200,
    )


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A sweep of 160 tasks that nothing disturbed."""
    lab = Lab(tmp_path_factory.mktemp("calm"), seeds=40, chunk=1)
    with pytest.MonkeyPatch.context() as patch:
        lab.sweep_here(patch)
    return lab


@pytest.fixture
def lab(tmp_path):
    """The same sweep, to disturb."""
    lab = Lab(tmp_path, seeds=40, chunk=1)
    yield lab
    lab.close()


def test_full_disk_and_read_only_store(calm, lab):
    """A disk of 900 kB, which fills in mid-sweep; then room, but a store that may not be written;
    then both: the same bytes.
    """
    done = in_namespace(
        """
        mkdir disk && mount -t tmpfs -o size=900k tmpfs disk || exit 77
        sweep --out disk/sweep.zarr --workers 0; echo "full: $?"
        count() { head -qc 1 disk/sweep.zarr/status/c/* | tr -d '\\000' | wc -c; }
        echo "kept: $(count)"
        mount -o remount,size=50m disk
        mount --bind disk/sweep.zarr disk/sweep.zarr || exit 77
        mount -o remount,bind,ro disk/sweep.zarr || exit 77
        sweep --out disk/sweep.zarr --workers 0 --resume; echo "read-only: $?"
        umount disk/sweep.zarr
        echo "kept: $(count)"
        sweep --out disk/sweep.zarr --workers 0 --resume; echo "resumed: $?"
        cp -r disk/sweep.zarr sweep.zarr
        """,
        lab,
    )
    if done.returncode == 77:
        pytest.skip("mounting is not permitted here")
    errors, out = one_line(done.stderr), done.stdout
    assert "full: 1" in out
    assert "read-only: 1" in out
    assert "resumed: 0" in out
    for reason in ("No space left on device", "Read-only file system"):
        assert f"({reason})" in errors
    store = "disk/sweep.zarr': cannot write chunk "
    assert errors.count(store) == 2
    kept = [int(line.split()[1]) for line in out.splitlines() if line.startswith("kept")]
    assert kept[0] == kept[1] > 10  # 160 in all
    assert contents(lab.folder / "sweep.zarr") == contents(calm.folder / "sweep.zarr")
    repeated = len(lab.calls()) - len(calm.calls())
    assert repeated == 2  # the task whose chunk did not fit, and the one whose chunk was refused


def test_a_disk_that_is_full_before_the_first_task(lab):
    done = in_namespace(
        "mkdir disk && mount -t tmpfs -o size=20k tmpfs disk || exit 77\nsweep --out "
        "disk/sweep.zarr --workers 0; echo $?; ls -A disk",
        lab,
    )
    if done.returncode == 77:
        pytest.skip("mounting is not permitted here")
    assert "cannot lay it out (No space left on device)" in one_line(done.stderr)
    assert done.stdout.split() == ["1"]  # nothing half-made is left


def test_a_write_that_fails_names_store_and_chunk(tmp_path, monkeypatch):
    """The same where nothing can be mounted: the tenth file refuses."""
    import errno

    import zarr.storage

    import deeplinear as dl

    original, count = zarr.storage.LocalStore.set, [0]

    async def refuse(self, key, value, **options):
        count[0] += "/c/" in key
        if count[0] > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return await original(self, key, value, **options)

    @dl.experiments.task(y=dl.experiments.Output())
    def double(x):
        return {"y": 2.0 * x}

    sweep = dl.experiments.Sweep(double, grid={"x": list(range(20))})
    store = tmp_path / "s.zarr"
    dl.experiments.run_sweep(sweep, tmp_path / "calm.zarr", workers=0)
    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage.LocalStore, "set", refuse)
        with pytest.raises(
            dl.SweepError, match=r"s\.zarr': cannot write chunk \d+ of '(y|status)' \(No space left"
        ):
            dl.experiments.run_sweep(sweep, store, workers=0)
    ds = dl.experiments.open_sweep(store)
    kept = ds.status.values == 1
    assert 0 < kept.sum() < 20
    assert np.array_equal(ds.y.values[kept], 2.0 * ds.x.values[kept])
    report = dl.experiments.run_sweep(sweep, store, workers=0, resume=True)
    assert report.kept == kept.sum()
    assert report.computed == 20 - kept.sum()
    assert contents(store) == contents(tmp_path / "calm.zarr")


def test_interrupted_sweep_says_how_to_go_on(calm, lab, monkeypatch):
    import signal

    lab.environment["SWEEP_WORK"] = "2000"  # slow enough to be met in mid-sweep
    client = lab.sweep("--workers", "1")
    lab.wait_for_calls(5)
    client.send_signal(signal.SIGINT)
    assert client.wait(60) == 130
    told = one_line((lab.folder / "client.txt").read_text())
    assert "Interrupted" in told
    assert "--resume goes on with 'sweep.zarr'" in told
    lab.environment["SWEEP_WORK"] = "1"
    lab.sweep_here(monkeypatch, resume=True)
    assert contents(lab.folder / "sweep.zarr") == contents(calm.folder / "sweep.zarr")


def test_killed_command_with_its_own_processes(calm, lab, monkeypatch):
    """The default: scheduler and workers belong to the command. Killing it kills them all, and its
    processes do not stay behind.
    """
    lab.environment["SWEEP_WORK"] = "500"
    client = lab.sweep("--workers", "2")
    lab.wait_for_calls(20)
    kill(client)
    wait(lambda: not running_in(lab.folder), 60)
    lab.environment["SWEEP_WORK"] = "1"
    lab.sweep_here(monkeypatch, resume=True)
    assert contents(lab.folder / "sweep.zarr") == contents(calm.folder / "sweep.zarr")
    assert (
        len(lab.calls()) - len(calm.calls()) <= 2
    )  # one task of each of two processes was in hand


def running_in(folder: Path) -> list[str]:
    """Processes whose working directory is ``folder``."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if (
                place.readlink() == folder
                and (place.parent / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
            ):
                found.append(place.parent.name)
        except OSError:  # it ended meanwhile
            continue
    return found


def test_a_scheduler_whose_workers_are_gone(lab, monkeypatch):
    """Dask would wait forever; here it is told (after a shorter patience than usual)."""
    import deeplinear as dl
    from deeplinear.experiments import read_sweep, run_sweep
    from deeplinear.sweeps import cluster

    lab.environment["SWEEP_WORK"] = "2000"
    monkeypatch.setattr(cluster, "WATCH", 0.5)
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    _, address = lab.scheduler()
    worker = lab.worker(address)
    seen = []

    def kill_after_some(progress):
        seen.append(round(progress.done * 160))
        if seen[-1] >= 3 and worker.poll() is None:
            kill(worker)

    with pytest.raises(dl.SweepError, match="no worker for 1 s; what was written is kept"):
        run_sweep(
            read_sweep(lab.folder / "sweep.toml"),
            lab.folder / "sweep.zarr",
            scheduler=address,
            timeout=60,
            callback=kill_after_some,
        )
    assert 3 <= seen[-1] < 160
    assert len(contents(lab.folder / "sweep.zarr" / "status" / "c")) >= seen[-1]


def test_a_result_whose_worker_died_before_it_was_fetched(lab, monkeypatch):
    """The task has ended, its result is gone, and nobody is left to compute it again."""
    import distributed

    import deeplinear as dl
    from deeplinear.sweeps import cluster

    monkeypatch.setattr(cluster, "WATCH", 0.5)
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    _, address = lab.scheduler()
    worker = lab.worker(address)
    with distributed.Client(address, timeout=60, set_as_default=False) as client:
        future = client.submit(int, "5")
        wait(future.done, 60)
        kill(worker)
        with pytest.raises(dl.SweepError, match="no worker for 1 s; what was written is kept"):
            cluster._outcome(client, future, None)


def test_workers_that_are_away_for_a_moment(monkeypatch):
    """One look without workers, after a long wait for an answer, is no reason to give up."""
    import queue

    import deeplinear as dl
    from deeplinear.sweeps import cluster

    present = [*[True] * 8, False, *[True] * 3]
    monkeypatch.setattr(cluster, "_has_workers", lambda client: present.pop(0))

    def ask(seconds):
        if not present:
            return "answer"
        raise queue.Empty

    assert cluster._patiently(None, ask) == "answer"
    monkeypatch.setattr(cluster, "_has_workers", lambda client: False)
    waited = []

    def never(seconds):
        waited.append(seconds)
        raise TimeoutError

    with pytest.raises(dl.SweepError, match="no worker"):
        cluster._patiently(None, never)
    assert sum(waited) == pytest.approx(cluster.PATIENCE)
