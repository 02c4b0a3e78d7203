"""What is computed of experiments: a run in small settings, and what a stored run shows. In a
process of its own (`jobs`).
"""

import html
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..experiments.page import pairs, prose, variables
from ..experiments.registry import Experiment, experiment_card, experiment_names, load_experiment
from ..experiments.runner import DATA, picture, run_experiment
from ..progress import Progress
from ..results.parameters import differences
from ..results.store import load_dataset
from .jobs import Report

_DEEP, _MOST = 3, 200  # levels of folders that are searched for stores, and stores that are listed


@dataclass(frozen=True)
class Shown:
    """A stored run: ``texts`` as HTML, the ``picture`` (PNG, "" for none), ``numbers`` and
    ``parameters`` to be compared, and the files that can be downloaded.
    """

    title: str
    texts: dict[str, str]
    picture: bytes
    numbers: dict[str, str | float]
    parameters: str
    files: dict[str, Path]


def titles() -> dict[str, str]:
    """Every experiment's title → its name; nothing of them is loaded."""
    return {experiment_card(name).title: name for name in experiment_names()}


def stored_runs(folder: Path) -> dict[str, Path]:
    """The stores below a folder, by their names in it; links out of it are not followed."""
    found: dict[str, Path] = {}

    def search(place: Path, level: int) -> None:
        try:
            inside = sorted(p for p in place.iterdir() if p.is_dir() and not p.is_symlink())
        except OSError:
            return
        for path in inside:
            if path.name.startswith(".") or len(found) >= _MOST:
                continue
            if (path / "zarr.json").is_file():
                name = path.parent if path.name == DATA else path
                found[name.relative_to(folder).as_posix()] = path
            elif level < _DEEP:
                search(path, level + 1)

    search(folder, 0)
    found.pop(".", None)
    return found


def run_small(report: Report, name: str, seed: int, folder: Path) -> Path:
    """Run an experiment in its small settings; the folder of its results."""
    import jax

    jax.config.update("jax_enable_x64", True)
    report(0.0, "Loading")
    experiment = load_experiment(name)

    def follow(state: Progress) -> None:
        report(min(state.done or 0.0, 1.0), str(state))

    out = folder / "runs" / f"seed {seed}"
    run_experiment(experiment, out, smoke=True, seed=seed, progress=follow)
    return out / name


def show_run(report: Report, store: Path, name: str, folder: Path) -> Shown:
    """What a store holds, with its figure drawn anew: stored ones may be anybody's."""
    import jax

    jax.config.update("jax_enable_x64", True)
    report(0.0, f"Reading {name}")
    try:
        ds = load_dataset(store)
    except InputError as error:
        raise InputError(str(error).replace(str(store), name)) from None
    experiment = _experiment(ds)
    parameters = str(ds.attrs["parameters"])
    place = folder / "shown" / re.sub(r"\W", "_", name)[:80]
    place.mkdir(parents=True, exist_ok=True)
    files: dict[str, Path] = {}
    image, numbers, about = b"", {}, ""
    if experiment is not None:
        report(0.5, f"Drawing {name}")
        figure = experiment.draw(ds)
        for suffix in ("png", "svg"):
            files[suffix.upper()] = place / f"{experiment.name}.{suffix}"
            files[suffix.upper()].write_bytes(picture(figure, suffix))
        image, numbers = files["PNG"].read_bytes(), experiment.summary(ds)
        about = "".join(prose(experiment.doc))
    archive = shutil.make_archive(str(place / "data"), "zip", store)
    files["data (zarr)"] = Path(archive)
    texts = {
        "about": about,
        "numbers": pairs(numbers) if numbers else "",
        "settings": pairs(json.loads(parameters)),
        "data": variables(ds),
    }
    title = experiment.title if experiment is not None else str(ds.attrs.get("name", name))
    return Shown(title, texts, image, numbers, parameters, files)


def compared(one: Shown, other: Shown) -> str:
    """How two runs differ, as HTML: settings, and numbers side by side."""
    lines = [
        line.replace(" in the store and ", " in the first run and ").removesuffix(" now")
        + " in the second"
        for line in differences(one.parameters, other.parameters)
    ]
    settings = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    told = f"<ul>{settings}</ul>" if lines else "<p>The settings are the same.</p>"
    names = list(dict.fromkeys([*one.numbers, *other.numbers]))
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{_number(one.numbers.get(name))}</td>"
        f"<td>{_number(other.numbers.get(name))}</td></tr>"
        for name in names
    )
    head = "<tr><th>number</th><th>first run</th><th>second run</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""
    return f"<h2>How they differ</h2>{told}{table}"


def _experiment(ds: Any) -> Experiment | None:
    """The experiment that made a dataset; None for a sweep, and for one that is not known here."""
    if ds.attrs["kind"] != "experiment" or ds.attrs["name"] not in experiment_names():
        return None
    return load_experiment(ds.attrs["name"])


def _number(value: str | float | None) -> str:
    if value is None:
        return "–"
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))
