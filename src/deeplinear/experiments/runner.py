"""Run an experiment and lay out its folder: dataset, pictures, manifest and page."""

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic import write_atomically
from ..errors import InputError
from ..interrupts import uninterrupted
from ..plots import letter_panels
from ..progress import ProgressCallback
from ..results.manifest import command, machine, now, read_manifest, versions, write_manifest
from ..results.parameters import differences, encode
from ..results.schema import label
from ..results.store import load_dataset, open_dataset, save_dataset
from .page import experiment_page
from .registry import Experiment

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

DATA, MANIFEST, PAGE = "data.zarr", "manifest.json", "index.html"


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    smoke: bool = False,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
    force: bool = False,
    letters: bool = False,
    progress: ProgressCallback | None = None,
) -> bool:
    """Simulate into ``out``/NAME and draw; False if a dataset of the same settings is there, which
    is kept.

    ``force`` computes it again. A dataset of other settings is an `InputError` that says which,
    unless ``force``.
    """
    folder = out / experiment.name
    settings = experiment.settings(smoke, changes)
    if (folder / DATA).exists() and not force:
        stored = open_dataset(folder / DATA)
        other = differences(
            stored.attrs.get("parameters", "{}"), encode({**settings, "seed": seed})
        )
        if other:
            raise InputError(
                f"--out: '{folder}' holds this experiment with other settings "
                f"({'; '.join(other)}); "
                "add --force to replace it, or give another folder."
            )
        # letters are asked for now, or the process that computed it did not live to draw it
        if letters or not (folder / PAGE).exists():
            draw_experiment(experiment, folder, letters=letters)
        return False
    ds, record = simulate(experiment, smoke, seed, changes, progress)
    write_experiment(experiment, ds, record, folder, force=force, letters=letters)
    return True


def simulate(
    experiment: Experiment,
    smoke: bool,
    seed: int,
    changes: Mapping[str, Any] | None,
    progress: ProgressCallback | None,
) -> "tuple[xr.Dataset, dict[str, Any]]":
    """The labelled dataset of an experiment, and the record of its making for the manifest."""
    started, clock = now(), time.perf_counter()
    ds = experiment.run(smoke=smoke, seed=seed, changes=changes, progress=progress)
    parameters = encode({**experiment.settings(smoke, changes), "seed": seed})
    ds = label(ds, kind="experiment", name=experiment.name, parameters=parameters, seed=seed)
    kind = "smoke" if smoke else "full"
    return ds, {
        "command": command(),
        "experiment": experiment.name,
        "machine": machine(),
        "seconds": round(time.perf_counter() - clock, 2),
        "seed": seed,
        "settings": f"{kind}, with changes" if changes else kind,
        "started": started,
        "versions": versions(),
    }


def write_experiment(
    experiment: Experiment,
    ds: "xr.Dataset",
    record: dict[str, Any],
    folder: Path,
    *,
    force: bool,
    letters: bool = False,
) -> None:
    """Dataset, manifest, pictures and page into ``folder``."""
    with uninterrupted(folder):
        save_dataset(ds, folder / DATA, force=force)
        write_manifest(folder / MANIFEST, record)
        draw_experiment(experiment, folder, letters=letters)


def draw_experiment(experiment: Experiment, folder: Path, *, letters: bool = False) -> list[Path]:
    """Draw PNG, SVG, PDF and page from the dataset in ``folder``; returns their paths.

    ``letters`` marks the panels a, b, c, as papers do.
    """
    ds = load_dataset(folder / DATA)
    if ds.attrs["name"] != experiment.name:
        raise InputError(
            f"NAME: '{folder}' holds the experiment '{ds.attrs['name']}', not '{experiment.name}'."
        )
    pictures = {
        suffix: picture(letter_panels(figure) if letters else figure, suffix)
        for suffix in ("png", "svg", "pdf")
        for figure in [experiment.draw(ds)]
    }
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
    """The figure as bytes: the same for the same figure, without date or random identifiers.

    Letters of a PDF stay letters (TrueType), as journals ask.
    """
    import matplotlib as mpl

    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(
        suffix, {"Software": None}
    )
    with mpl.rc_context({"svg.hashsalt": "deeplinear", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=suffix, dpi=150, metadata=metadata)
    return buffer.getvalue()
