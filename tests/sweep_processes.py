"""Real processes for the tests of sweeps: a scheduler, workers and clients that can be killed, and
tasks that leave a log.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Each call appends one line before it computes: what was computed twice shows.
TASKS = """
import os
import numpy as np
from deeplinear.experiments import Output, task

@task(value=Output(), spectrum=Output(("k",), (3,)), count=Output(dtype="int64"))
def cheap(size, depth, key, seed=0):
    log = os.open(os.environ["SWEEP_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{key}\\n".encode())
    os.close(log)
    W = np.random.default_rng(key).normal(size=(size, size))
    for _ in range(int(os.environ.get("SWEEP_WORK", "1"))):
        s = np.linalg.svd(W, compute_uv=False)
    value = float(np.sum(s ** (2 / depth)))
    return {"value": value, "spectrum": s[:3], "count": int(np.sum(W > 0))}
"""

THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Lab:
    """A folder with a sweep's file and tasks, and the processes that were started in it."""

    def __init__(self, folder: Path, seeds: int, work: int = 1, chunk: int | None = None):
        self.folder, self.log = folder, folder / "log"
        (folder / "chores.py").write_text(TASKS)
        chunks = f"chunk = {chunk}\n" if chunk else ""
        (folder / "sweep.toml").write_text(
            f'task = "chores:cheap"\n{chunks}'
            f"[grid]\ndepth = [2, inf]\nsize = [3, 8]\nseed = {{range = [0, {seeds}]}}\n"
        )
        self.environment = {
            **os.environ,
            **THREADS,
            "SWEEP_LOG": str(self.log),
            "SWEEP_WORK": str(work),
        }
        self.processes: list[subprocess.Popen] = []

    def start(self, *arguments: str, output: str) -> subprocess.Popen:
        with (self.folder / output).open("w") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=file,
            )
        self.processes.append(process)
        return process

    def sweep(self, *arguments: str, output: str = "client.txt") -> subprocess.Popen:
        code = "from deeplinear.cli import main; main()"
        return self.start("-c", code, "sweep", "sweep.toml", *arguments, output=output)

    def sweep_here(self, monkeypatch, *, resume: bool = False) -> None:
        """The same in the process of the test, which saves the seconds of starting another one."""
        from deeplinear.experiments import read_sweep, run_sweep

        monkeypatch.chdir(self.folder)
        for name in ("SWEEP_LOG", "SWEEP_WORK"):
            monkeypatch.setenv(name, self.environment[name])
        report = run_sweep(
            read_sweep(self.folder / "sweep.toml"), "sweep.zarr", workers=0, resume=resume
        )
        assert report.done == report.tasks

    def scheduler(self) -> tuple[subprocess.Popen, str]:
        where = self.folder / "scheduler.json"
        where.unlink(missing_ok=True)
        arguments = (
            "--port",
            "0",
            "--host",
            "127.0.0.1",
            "--no-dashboard",
            "--scheduler-file",
            str(where),
        )
        process = self.start(
            "-m", "distributed.cli.dask_scheduler", *arguments, output="scheduler.txt"
        )
        wait(lambda: where.exists() and where.read_text().endswith("}"), 60)
        return process, json.loads(where.read_text())["address"]

    def worker(self, address: str) -> subprocess.Popen:
        arguments = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        return self.start(
            "-m", "distributed.cli.dask_worker", address, *arguments, output="worker.txt"
        )

    def calls(self) -> list[str]:
        """What the tasks logged: the key of each call."""
        return self.log.read_text().split() if self.log.exists() else []

    def wait_for_calls(self, count: int) -> None:
        wait(lambda: len(self.calls()) >= count, 200)

    def close(self) -> None:
        for process in self.processes:
            kill(process)


def kill(process: subprocess.Popen) -> None:
    """SIGKILL: nothing in the process can tidy up."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(30)


def wait(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def contents(store: Path) -> dict[str, bytes]:
    """Every file of a store."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file()
    }
