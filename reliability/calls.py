"""Calls of the command line that work, what they read, and a process to run them in."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy loads: forks must find no threads

import numpy as np

EXPERIMENT = "depth_limit"  # a short one
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT = 300.0  # seconds that a call may take: these are small problems, on a busy machine


_TASK = """
from deeplinear.experiments import Output, task

@task(square=Output(units="1"))
def squares(x):
    return {"square": x * x}
"""


@dataclass
class Case:
    """One call: its words, and what surrounds it."""

    words: list[str]
    streams: set[str] = field(default_factory=set)
    changes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    code: int
    text: str  # of both streams
    seconds: float
    new: frozenset[str]  # files that were not there before


def calls() -> dict[str, list[str]]:
    """A call of each command that works, and takes a second."""
    fit = ["--depth", "2", "--strength", "0.3", "--max-rank", "2"]
    return {
        "complete": ["complete", "input.csv", "-o", "out.csv", *fit],
        "ratings": ["ratings", "long.csv", "-o", "out.csv", "--model", "out.dln", *fit],
        "predict": ["predict", "model.dln", "--at", "pairs.csv", "-o", "out.csv"],
        "recommend": ["recommend", "model.dln", "--ids", "1,2", "-k", "3", "-o", "out.csv"],
        "sweep": ["sweep", "grid.toml", "--workers", "0", "-o", "out.zarr"],
        "experiment list": ["experiment", "list"],
        "experiment run": ["experiment", "run", EXPERIMENT, "--smoke", "--out", "out"],
        "experiment draw": ["experiment", "draw", EXPERIMENT, "--out", "drawn"],
        "demo": ["demo", "--quick", "--report", "out"],
        "doctor": ["doctor"],
    }


#: Commands that need what is slow to load, and computations that are replaced by their results.
HEAVY = {"sweep", "experiment list", "experiment run", "experiment draw", "demo", "doctor"}


def preload(names: Collection[str]) -> None:
    """Import once what the commands import, and start nothing: forks must find no threads."""
    modules = ["sklearn.impute", "pandas"]
    if HEAVY & set(names):
        modules += ["xarray", "zarr", "matplotlib.figure", "numba", "jax"]
        modules.append(f"deeplinear.experiments.figures.{EXPERIMENT}")
    for module in modules:
        import_module(module)


def write_inputs(folder: Path) -> None:
    """The files that the calls read, and obstacles."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(12, 2)) @ rng.normal(size=(2, 5))).round(3)
    hidden = rng.random(X.shape) < 0.25
    cells = np.where(hidden, "", X.astype(str)).tolist()
    table = "\n".join(["a,b,c,d,e", *map(",".join, cells)]) + "\n"
    (folder / "input.csv").write_text(table)
    entries = [(i, j, X[i, j]) for i, j in np.argwhere(~hidden)]
    lines = ["user,item,rating", *(f"{i + 1},{j + 1},{x}" for i, j, x in entries)]
    (folder / "long.csv").write_text("\n".join(lines) + "\n")
    (folder / "pairs.csv").write_text("user,item\n1,1\n2,3\n")
    (folder / "grid.toml").write_text('task = "tasks:squares"\n[grid]\nx = [1.0, 2.0]\n')
    (folder / "tasks.py").write_text(_TASK)
    (folder / "folder").mkdir()
    (folder / "closed").mkdir(mode=0o500)
    (folder / "link.csv").symlink_to("target.csv")
    (folder / "loop.csv").symlink_to("loop.csv")


def prepare(folder: Path, names: Collection[str]) -> None:
    """`write_inputs`, a model, and for the commands that need it an experiment."""
    write_inputs(folder)
    fit = ["--depth", "2", "--strength", "0.3", "--max-rank", "2", "--quiet"]
    before = [["ratings", "long.csv", "--model", "model.dln", *fit]]
    if HEAVY & set(names):
        before.append(["experiment", "run", EXPERIMENT, "--smoke", "--out", "drawn"])
    for words in before:
        done = run(Case(words), folder)
        if done.code:
            raise SystemExit(f"deeplinear {words} ended with {done.code}: {done.text}")
    if HEAVY & set(names):
        _replace_computations(folder / "drawn" / EXPERIMENT / "data.zarr")


def _replace_computations(store: Path) -> None:
    """What takes long, by its result, for this process and its forks."""
    from deeplinear.diagnosis import mathematics
    from deeplinear.experiments import runner
    from deeplinear.experiments.registry import Experiment
    from deeplinear.report import demo, long_report, report
    from deeplinear.results.store import load_dataset

    dataset = load_dataset(store)
    dataset.attrs.clear()
    studies = [demo.photograph(quick=True), demo.digits(quick=True)]
    completed = {study.title: demo.complete(study) for study in studies}
    Experiment.run = lambda self, **_: dataset.copy()  # type: ignore[method-assign]
    demo.complete = lambda study, **_: completed[study.title]
    mathematics.findings = lambda: []
    report.png = long_report.png = lambda figure: b"a picture"
    runner.picture = lambda figure, suffix: b"a picture"


def run(case: Case, folder: Path, stop: tuple[int, float] | None = None) -> Outcome:
    """Run a call in a fork of this process, in ``folder``; ``stop`` = (a signal, after seconds)."""
    before = set(listing(folder))
    output = tempfile.TemporaryFile()  # noqa: SIM115
    ready, tell = os.pipe()  # a byte when the command itself begins
    child = os.fork()
    if child == 0:
        _be_the_command(case, folder, output.fileno(), tell)
    os.close(tell)
    os.read(ready, 1)
    os.close(ready)
    begin = time.monotonic()
    code: int | None = None
    while code is None and time.monotonic() - begin < LIMIT:
        done, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        if code is None and stop is not None and time.monotonic() - begin > stop[1]:
            os.kill(child, stop[0])
            stop = None
        if code is None:
            time.sleep(0.002)
    seconds = time.monotonic() - begin
    if code is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        code, seconds = -signal.SIGKILL, LIMIT
    output.seek(0)
    text = output.read().decode("utf-8", "replace")
    output.close()
    return Outcome(code, text, seconds, frozenset(set(listing(folder)) - before))


def _be_the_command(case: Case, folder: Path, output: int, tell: int) -> None:
    """The life of the child: the streams of the case, then the command."""
    try:
        os.chdir(folder)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        if "full" in case.streams:
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        if "pipe" in case.streams:
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)
        encoding = next((s for s in ("ascii", "latin-1") if s in case.streams), "utf-8")
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding=encoding, closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)
        for stream, number in (("no stdin", 0), ("closed", 1), ("no stderr", 2)):
            if stream in case.streams:
                os.close(number)
                setattr(sys, ("stdin", "stdout", "stderr")[number], None)
        sys.argv = ["deeplinear", *case.words]
        from deeplinear.__main__ import main

        os.write(tell, b"!")
        os.close(tell)
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        os.write(output, traceback.format_exc().encode("utf-8", "replace"))
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except Exception as error:
            os.write(output, f"Traceback (most recent: at the end {error!r})".encode())
    os._exit(code)


def listing(folder: Path) -> Iterator[str]:
    """Every file and folder below, but for caches."""
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if name != "__pycache__"]
        yield from (os.path.join(place, name) for name in (*inner, *names))
