"""``deeplinear experiment``: list, run, copy, draw and all. Light to import: the rest loads inside
the commands.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..places import check_file, check_folder, writing
from .console import BarFollower, prepare_jax, progress_bar, say, terminal
from .endings import FAILED, REFUSED, judge
from .options import check_range

experiment_app = typer.Typer(
    help="The experiments of the literature, each by one command.", no_args_is_help=True
)


def known_names(start: str) -> list[str]:
    """The experiments whose name begins like this, for the shell."""
    from ..experiments.registry import experiment_names

    return [name for name in experiment_names() if name.startswith(start)]


Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder for the results; each experiment gets its own in it."),
]
Smoke = Annotated[bool, typer.Option("--smoke", help="Small settings: seconds instead of minutes.")]
Seed = Annotated[int, typer.Option("--seed", help="Chooses every random number.")]
Force = Annotated[bool, typer.Option("--force", help="Compute again, and replace what is there.")]
Letters = Annotated[bool, typer.Option("--letters", help="Mark the panels a, b, c, for a paper.")]
OUT = Path("experiments")


@experiment_app.command("list")
def list_experiments() -> None:
    """Name every experiment: what it shows, of which paper and figure, and how long it takes."""
    from rich.table import Table

    from ..experiments.registry import experiment_card, experiment_names

    out = terminal()
    if not out.is_terminal:
        out.width = 220  # a line each, for tools
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("name", no_wrap=True)
    table.add_column("what it shows")
    table.add_column("source")
    table.add_column("takes", no_wrap=True, justify="right")
    for name in experiment_names():
        card = experiment_card(name)
        table.add_row(name, card.title, card.source, card.duration)
    out.print(table)


@experiment_app.command("run")
def run(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME…",
            help="Experiments, as `experiment list` names them, or files of your own (mine.py).",
            autocompletion=known_names,
        ),
    ],
    smoke: Smoke = False,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Change a setting, such as depths=3,50; can be given again.",
        ),
    ] = None,
    out: Out = OUT,
    seed: Seed = 0,
    letters: Letters = False,
    force: Force = False,
) -> None:
    """Simulate experiments and write dataset, PNG, SVG, PDF and page of each into a folder."""
    from ..experiments.registry import load_experiment
    from ..experiments.settings import parse_changes

    parsed = parse_changes(changes or [])
    for name in names:  # a misspelt name or setting is reported before anything is computed
        load_experiment(name).settings(smoke, parsed)
    _run(names, smoke, out, seed, force, changes=parsed, letters=letters)


@experiment_app.command("copy")
def copy(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="As `experiment list` names it.", autocompletion=known_names
        ),
    ],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your own, such as mine.py.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Copy the one file that an experiment is, to be changed and run: `experiment run mine.py`."""
    from ..atomic import write_atomically
    from ..experiments.registry import experiment_source

    source = experiment_source(name)
    check_file(file, argument="FILE", force=force)
    with writing(file):
        write_atomically(file, source.encode())
    say(terminal(), f"{file}: change it, then deeplinear experiment run {file}")


@experiment_app.command("all")
def run_all(smoke: Smoke = False, out: Out = OUT, seed: Seed = 0, force: Force = False) -> None:
    """Run every experiment and write an index of their pages; one that fails does not stop the
    others.
    """
    from ..experiments.registry import experiment_names

    _run(experiment_names(), smoke, out, seed, force, index=True)


@experiment_app.command("draw")
def draw(
    target: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH", help="An experiment in --out, its folder, or a file of your own."
        ),
    ],
    out: Out = OUT,
    letters: Letters = False,
) -> None:
    """Draw again from the stored dataset, without computing it again."""
    prepare_jax()
    from ..experiments.registry import load_experiment
    from ..experiments.runner import DATA, draw_experiment
    from ..results.store import open_dataset

    folder = Path(target)
    if folder.name == DATA:
        folder = folder.parent
    if target.endswith(".py") or not os.path.exists(folder / DATA):
        experiment = load_experiment(target)  # none of either: says which name is nearest
        folder = out / experiment.name
        open_dataset(folder / DATA)
    else:
        experiment = load_experiment(str(open_dataset(folder / DATA).attrs.get("name")))
    check_folder(folder, argument="--out")
    console = terminal()
    for path in draw_experiment(experiment, folder, letters=letters):
        say(console, str(path))


def _run(
    names: list[str],
    smoke: bool,
    out: Path,
    seed: int,
    force: bool,
    *,
    index: bool = False,
    changes: Mapping[str, Any] | None = None,
    letters: bool = False,
) -> None:
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
            experiment = load_experiment(name)
            with progress_bar(errors) as bar:
                ran = run_experiment(
                    experiment,
                    out,
                    smoke=smoke,
                    seed=seed,
                    changes=changes,
                    force=force,
                    letters=letters,
                    progress=BarFollower(bar, f"{name}: "),
                )
        except Exception as error:  # of any kind: the other experiments go on
            code, failures[name] = judge(error)
            if code > REFUSED:
                raise
            say(errors, f"{name}: {failures[name]}", label="Failed:", style="bold red")
            continue
        note = "" if ran else " (kept: made with the same settings; --force computes it again)"
        say(console, f"{name}: {out / experiment.name / PAGE}{note}")
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
