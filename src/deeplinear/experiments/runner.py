"""Run an experiment and lay out its folder: dataset, pictures, manifest and page."""

import io
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..atomic import write_atomically
from ..errors import InputError
from ..interrupts import uninterrupted
from ..progress import ProgressCallback
from ..results.manifest import command, machine, now, read_manifest, versions, write_manifest
from ..results.parameters import differences, encode
from ..results.schema import label
from ..results.store import load_dataset, open_dataset, save_dataset
from .page import experiment_page
from .registry import Experiment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA, MANIFEST, PAGE = "data.zarr", "manifest.json", "index.html"


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    smoke: bool = False,
    seed: int = 0,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> bool:
    """Simulate into ``out``/NAME and draw; False if a dataset of the same settings is there, which
    is kept.

    ``force`` computes it again. A dataset of other settings is an `InputError` that says which,
    unless ``force``.
    """
    folder = out / experiment.name
    parameters = encode({**experiment.settings(smoke), "seed": seed})
    if (folder / DATA).exists() and not force:
        stored = open_dataset(folder / DATA)
        other = differences(stored.attrs.get("parameters", "{}"), parameters)
        if other:
            raise InputError(
                f"--out: '{folder}' holds this experiment with other settings "
                f"({'; '.join(other)}); "
                "add --force to replace it, or give another folder."
            )
        if not (folder / PAGE).exists():  # the process that computed it did not live to draw it
            draw_experiment(experiment, folder)
        return False
    started, clock = now(), time.perf_counter()
    ds = experiment.run(smoke=smoke, seed=seed, progress=progress)
    ds = label(ds, kind="experiment", name=experiment.name, parameters=parameters, seed=seed)
    record = {
        "command": command(),
        "experiment": experiment.name,
        "machine": machine(),
        "seconds": round(time.perf_counter() - clock, 2),
        "seed": seed,
        "settings": "smoke" if smoke else "full",
        "started": started,
        "versions": versions(),
    }
    with uninterrupted(folder):
        save_dataset(ds, folder / DATA, force=force)
        write_manifest(folder / MANIFEST, record)
        draw_experiment(experiment, folder)
    return True


def draw_experiment(experiment: Experiment, folder: Path) -> list[Path]:
    """Draw PNG, SVG and page from the dataset in ``folder``; returns their paths."""
    ds = load_dataset(folder / DATA)
    if ds.attrs["name"] != experiment.name:
        raise InputError(
            f"NAME: '{folder}' holds the experiment '{ds.attrs['name']}', not '{experiment.name}'."
        )
    pictures = {suffix: picture(experiment.draw(ds), suffix) for suffix in ("png", "svg")}
    paths = [folder / f"{experiment.name}.{suffix}" for suffix in pictures]
    page = experiment_page(
        experiment, ds, experiment.summary(ds), pictures["png"], read_manifest(folder / MANIFEST)
    )
    with uninterrupted(folder / PAGE):
        for path, data in zip(paths, pictures.values(), strict=True):
            write_atomically(path, data)
        write_atomically(folder / PAGE, page.encode())
    return [*paths, folder / PAGE]


def picture(figure: "Figure", suffix: str) -> bytes:
    """The figure as bytes: the same for the same figure, without date or random identifiers."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata = {"Date": None} if suffix == "svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "deeplinear"}):
        figure.savefig(buffer, format=suffix, dpi=150, metadata=metadata)
    return buffer.getvalue()
