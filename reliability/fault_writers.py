"""What is written: components that are killed while they write, or that find no room."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .fault_formats import digest, fitted, ratings, read_a_model


@dataclass
class Writer:
    """A component that writes ``file`` (or a folder) again and again, in several versions.

    ``write`` takes the place and the number of the version; ``check`` says which version lies
    there, or raises. ``steps``: it is one long computation, which goes on after a kill; ``write``
    ends with the result then, and ``check`` looks at nothing.
    """

    file: str
    write: Callable[[Path, int], object]
    check: Callable[[Path], object]
    steps: bool = False
    versions: set[object] = field(default_factory=set)


def model(folder: Path) -> Writer:
    """Two models under one name."""
    models = [fitted(seed) for seed in (0, 1)]
    for k, one in enumerate(models):
        one.save(folder / f"{k}.dln")
    known = {read_a_model(folder / f"{k}.dln") for k in (0, 1)}
    return Writer("a.dln", lambda path, k: models[k % 2].save(path), read_a_model, versions=known)


def table(folder: Path) -> Writer:
    """A table with its holes filled in two ways."""
    from deeplinear.atomic import write_atomically
    from deeplinear.files import read_table

    rng = np.random.default_rng(0)
    rows = [
        ",".join("" if x < 0.1 else f"{x:.3f}" for x in line) for line in rng.random((3000, 20))
    ]
    source = folder / "in.csv"
    source.write_text("\n".join(rows) + "\n")
    read = read_table(source)
    data = [
        read.pack(read.encode(np.full(read.values.shape, k / 2), ".csv"), source) for k in (0, 1)
    ]
    known: set[object] = set(map(digest, data))
    return Writer(
        "a.csv",
        lambda path, k: write_atomically(path, data[k % 2]),
        lambda path: digest(path.read_bytes()),
        versions=known,
    )


def _csv(folder: Path, X: np.ndarray, rng: np.random.Generator) -> Path:
    """X with holes, as a file."""
    path = folder / "in.csv"
    cells = [["" if rng.random() < 0.2 else f"{x:.3f}" for x in row] for row in X]
    path.write_text("\n".join(map(",".join, cells)) + "\n")
    return path


def report(folder: Path) -> Writer:
    """A page and its pictures, under two titles."""
    from deeplinear.files import read_table
    from deeplinear.report.compare import Comparison, Verdict, compare_depths
    from deeplinear.report.report import study_of_file, write_report

    rng = np.random.default_rng(0)
    source = _csv(folder, rng.normal(size=(20, 2)) @ rng.normal(size=(2, 8)) + 10, rng)
    read = read_table(source)
    comparison = Comparison(read.coded, by_column=True)
    candidates, held_out = compare_depths(comparison, [2.0], random_state=0)
    verdict = Verdict.of(comparison, candidates, held_out)
    study = study_of_file(read, candidates, verdict, "explicit", "in.csv")

    def write(path: Path, k: int) -> None:
        write_report(path, [study], title=f"Title {k % 2}", command="none")

    for k in (0, 1):
        write(folder / str(k), k)
    return Writer("report", write, whole_report, versions={whole_report(folder / k) for k in "01"})


def whole_report(path: Path) -> bytes:
    """A digest of the page, which has its pictures inside; the files beside it must be whole."""
    from PIL import Image

    page = (path / "index.html").read_bytes()
    assert page.rstrip().endswith(b"</html>"), "the page is cut off"
    for file in path.glob("*.png"):
        Image.open(io.BytesIO(file.read_bytes())).load()
    return digest(page)


def checkpoint(folder: Path) -> Writer:
    """A fit that writes every state."""
    import deeplinear.completion.matrix_completion  # noqa: F401  here, once
    from deeplinear.completion.solver import checkpoint as solver

    def write(path: Path, k: int) -> bytes:
        solver.SHARE = np.inf
        options = {"depth": (2, 3), "strength": (0.5, 0.3, 0.2), "max_iter": 30}
        found = fitted(**options, checkpoint=path)
        return digest(found.predict(*ratings()[:2]), found.trials_)

    known: set[object] = {write(folder / "whole", 0)}
    return Writer("a.check", write, lambda path: None, steps=True, versions=known)


def store(folder: Path) -> Writer:
    """A sweep of small tasks, resumed after every kill."""
    import dask.array  # noqa: F401  here, once, and not in every process that is killed

    from deeplinear.results.store import import_xarray, load_dataset
    from deeplinear.sweeps.sweep import Sweep, run_sweep
    from deeplinear.sweeps.task import Output, task

    import_xarray()

    @task(value=Output(), spectrum=Output(("k",), (3,)))
    def spectrum(size: int, key: int) -> dict[str, object]:
        s = np.linalg.svd(np.random.default_rng(key).normal(size=(size, size)), compute_uv=False)
        return {"value": float(s[0]), "spectrum": s[:3]}

    def write(path: Path, k: int) -> bytes:
        sweep = Sweep(spectrum, grid={"size": list(range(3, 43))}, chunk=2)
        run_sweep(sweep, path, workers=0, resume=path.exists())
        ds = load_dataset(path)
        return digest(*(ds[name].values for name in sorted(map(str, ds.data_vars))))

    return Writer("a.zarr", write, lambda path: None, steps=True)


WRITERS = {
    "model save": model,
    "table output": table,
    "report": report,
    "checkpoint": checkpoint,
    "sweep store": store,
}
