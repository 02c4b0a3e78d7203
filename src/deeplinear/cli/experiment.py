"""``deeplinear experiment``: list, run, draw and all. Light to import: the rest loads inside the
commands.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from ..places import check_folder, writing
from .console import BarFollower, prepare_jax, progress_bar, say, terminal
from .endings import FAILED, REFUSED, judge
from .options import check_range

experiment_app = typer.Typer(
    help="The experiments of the literature, each by one command.", no_args_is_help=True
)

Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder for the results; each experiment gets its own in it."),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="Small settings: seconds instead of minutes.")]
Seed = Annotated[int, typer.Option("--seed", help="Chooses every random number.")]
Force = Annotated[bool, typer.Option("--force", help="Compute again, and replace what is there.")]
OUT = Path("experiments")


@experiment_app.command("list")
def list_experiments() -> None:
    """Name every experiment and say what it shows."""
    from ..experiments.registry import experiment_names, experiment_title

    out = terminal()
    for name in experiment_names():
        say(out, f"{name:<20} {experiment_title(name)}")


@experiment_app.command("run")
def run(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME…", help="Experiments, as `experiment list` names them."),
    ],
    smoke: Smoke = False,
    out: Out = OUT,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Simulate experiments and write dataset, PNG, SVG and page of each into a folder."""
    from ..experiments.registry import load_experiment

    for name in names:
        load_experiment(name)  # a misspelt name is reported before anything is computed
    _run(names, smoke=smoke, out=out, seed=seed, force=force, index=False)


@experiment_app.command("all")
def run_all(smoke: Smoke = False, out: Out = OUT, seed: Seed = 0, force: Force = False) -> None:
    """Run every experiment and write an index of their pages; one that fails does not stop the
    others.
    """
    from ..experiments.registry import experiment_names

    _run(experiment_names(), smoke=smoke, out=out, seed=seed, force=force, index=True)


@experiment_app.command("draw")
def draw(
    target: Annotated[
        str, typer.Argument(metavar="NAME|PATH", help="An experiment in --out, or its folder.")
    ],
    out: Out = OUT,
) -> None:
    """Draw again from the stored dataset, without computing it again."""
    prepare_jax()
    from ..experiments.registry import load_experiment
    from ..experiments.runner import DATA, draw_experiment
    from ..results.store import open_dataset

    folder = Path(target)
    if folder.name == DATA:
        folder = folder.parent
    if not os.path.exists(folder / DATA):
        load_experiment(target)  # neither a folder nor a name: says which name is nearest
        folder = out / target
    experiment = load_experiment(str(open_dataset(folder / DATA).attrs.get("name")))
    check_folder(folder, argument="--out")
    console = terminal()
    for path in draw_experiment(experiment, folder):
        say(console, str(path))


def _run(names: list[str], *, smoke: bool, out: Path, seed: int, force: bool, index: bool) -> None:
    console, errors = terminal(), terminal(stderr=True)
    check_range("--seed", seed, 0, 2**32 - 1)
    check_folder(out, argument="--out")
    prepare_jax()
    from ..experiments.registry import load_experiment
    from ..experiments.runner import PAGE, run_experiment
    from ..results.store import import_xarray

    import_xarray()  # none of them could be kept without it
    failures: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            with progress_bar(errors) as bar:
                ran = run_experiment(
                    load_experiment(name),
                    out,
                    smoke=smoke,
                    seed=seed,
                    force=force,
                    progress=BarFollower(bar, f"{name}: "),
                )
        except Exception as error:  # of any kind: the other experiments go on
            code, failures[name] = judge(error)
            if code > REFUSED:
                raise
            say(errors, f"{name}: {failures[name]}", label="Failed:", style="bold red")
            continue
        note = "" if ran else " (kept: made with the same settings; --force computes it again)"
        say(console, f"{name}: {out / name / PAGE}{note}")
    if index:
        say(console, f"Index: {_write_index(out, names, failures)}")
    if failures:
        listed = ", ".join(failures)
        say(errors, f"{len(failures)} of {len(names)} experiments failed: {listed}")
        raise typer.Exit(FAILED)


def _write_index(out: Path, names: list[str], failures: dict[str, str]) -> Path:
    from ..atomic import write_atomically
    from ..experiments.page import index_page
    from ..experiments.registry import load_experiment
    from ..experiments.runner import PAGE

    entries: list[tuple[str, str, Path | None]] = []
    for name in names:
        if (out / name / PAGE).exists() and name not in failures:
            image = Path(name) / f"{name}.png"
            entries.append(
                (name, load_experiment(name).title, image if (out / image).exists() else None)
            )
    with writing(out / PAGE):
        write_atomically(out / PAGE, index_page(entries, failures).encode())
    return out / PAGE
