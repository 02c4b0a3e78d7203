"""``deeplinear experiment``: list, run, draw and all. Light to import: the rest loads inside the
commands.
"""

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import InputError
from .console import BarFollower, progress_bar, tidy_exit

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
    from ..experiments.registry import experiment_names, load_experiment

    with tidy_exit(Console(stderr=True)):
        _prepare_jax()
        for name in experiment_names():
            typer.echo(f"{name:<20} {load_experiment(name).title}")


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

    with tidy_exit(Console(stderr=True)):
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
    console, errors = Console(), Console(stderr=True)
    with tidy_exit(errors):
        _prepare_jax()
        from ..experiments.registry import load_experiment
        from ..experiments.runner import DATA, draw_experiment
        from ..results.store import open_dataset

        folder = Path(target)
        if folder.name == DATA:
            folder = folder.parent
        if not (folder / DATA).exists():
            load_experiment(target)  # neither a folder nor a name: says which name is nearest
            folder = out / target
        experiment = load_experiment(str(open_dataset(folder / DATA).attrs.get("name")))
        for path in draw_experiment(experiment, folder):
            console.print(str(path), highlight=False, soft_wrap=True)


def _run(names: list[str], *, smoke: bool, out: Path, seed: int, force: bool, index: bool) -> None:
    console, errors = Console(), Console(stderr=True)
    failures: dict[str, str] = {}
    with tidy_exit(errors):
        _prepare_jax()
        check_folder(out)
        from ..experiments.registry import load_experiment
        from ..experiments.runner import PAGE, run_experiment
        from ..results.store import import_xarray

        import_xarray()  # none of them could be kept without it

        for name in names:
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
                failures[name] = (
                    f"{type(error).__name__}: {error}"
                    if not isinstance(error, InputError)
                    else str(error)
                )
                errors.print(
                    f"[bold red]Failed:[/] {name}: {escape(failures[name])}", soft_wrap=True
                )
                continue
            note = "" if ran else " (kept: made with the same settings; --force computes it again)"
            console.print(f"{name}: {out / name / PAGE}{note}", highlight=False, soft_wrap=True)
        if index:
            console.print(
                f"Index: {_write_index(out, names, failures)}", highlight=False, soft_wrap=True
            )
    if failures:
        listed = ", ".join(failures)
        errors.print(
            f"{len(failures)} of {len(names)} experiments failed: {listed}", soft_wrap=True
        )
        raise typer.Exit(1)


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
    write_atomically(out / PAGE, index_page(entries, failures).encode())
    return out / PAGE


def check_folder(out: Path, argument: str = "--out") -> None:
    """Make the folder ``out``; `InputError` if it cannot be made or written in."""
    import tempfile

    if out.exists() and not out.is_dir():
        raise InputError(f"{argument}: '{out}' is a file; give a folder.")
    try:  # asking the file system is the only test that also sees read-only mounts
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise InputError(
            f"{argument}: cannot write in '{out}' ({error.strerror}); give another place."
        ) from None


def _prepare_jax() -> None:
    """64 bits, and compiled programs kept for the next command: most of an experiment's time at
    small settings.
    """
    import jax

    from ..compilation import cache_compilations

    jax.config.update("jax_enable_x64", True)
    with contextlib.suppress(OSError):  # a home that cannot be written in is no reason to stop
        cache_compilations()
