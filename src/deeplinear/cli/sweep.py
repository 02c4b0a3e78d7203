"""``deeplinear sweep FILE``. Light to import: the rest loads inside the command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import InputError, SweepError
from ..interrupts import written
from ..places import check_apart, check_folder
from .console import BarFollower, progress_bar, say, terminal, warn
from .endings import FAILED, Interrupted

if TYPE_CHECKING:
    from ..sweeps.sweep import SweepReport


def sweep(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="TOML, with the task and its grid (docs/experiments.md)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The zarr store; default: FILE's name + .zarr."),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler; default: local processes.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Local processes; default: all processors; 0: this one.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a store: compute only what is missing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a store that exists.")] = False,
    retries: Annotated[int, typer.Option(help="How often a task that fails is tried again.")] = 2,
    timeout: Annotated[
        float, typer.Option(help="Seconds that a scheduler may take to answer.")
    ] = 15.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")] = False,
) -> None:
    """Compute one task for each point of a grid, on any number of processes, into one store."""
    console, errors = terminal(quiet=quiet), terminal(stderr=True)
    if resume and force:
        raise InputError(
            "--force replaces the store and --resume goes on with it; give one of them."
        )
    from ..sweeps.record import manifest_path
    from ..sweeps.sweep import read_sweep, run_sweep

    what = read_sweep(file)
    store = out if out is not None else Path(file.stem + ".zarr")
    check_folder(store.parent, argument="--out")
    check_apart({"--out": store}, {"FILE": file})
    follow = None
    try:
        with progress_bar(errors, quiet=quiet, remaining=True) as bar:
            follow = BarFollower(bar)
            report = run_sweep(
                what,
                store,
                scheduler=scheduler,
                workers=workers,
                resume=resume,
                force=force,
                retries=retries,
                timeout=timeout,
                callback=follow,
            )
    except SweepError as error:
        say(errors, f"{error}{_so_far(follow)}", label="Stopped:", style="bold red")
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        if store not in written() and not (resume and store.exists()):
            raise
        raise Interrupted(
            f"Interrupted.{_so_far(follow)} --resume goes on with '{store}'."
        ) from None
    say(console, f"{store}: {_counts(report)}. Manifest: {manifest_path(store)}")
    _warn(errors, report)
    if report.failures:
        raise typer.Exit(FAILED)


def _so_far(follow: BarFollower | None) -> str:
    """How much a call that was stopped has left in the store."""
    last = None if follow is None else follow.last
    return "" if last is None else f" So far: {last.stage}."


def _counts(report: "SweepReport") -> str:
    kept = f", {report.kept:,} were there already" if report.kept else ""
    return f"{report.done:,} of {report.tasks:,} tasks ({report.computed:,} computed now{kept})"


def _warn(errors: Console, report: "SweepReport") -> None:
    if report.damaged:
        errors.print(
            f"[yellow]Warning:[/] the results of {report.damaged:,} tasks had been damaged on "
            "disk, and were computed again.",
            soft_wrap=True,
        )
    if report.version_changes and report.kept and report.computed:
        warn(
            errors,
            "the store was begun with other versions "
            f"({'; '.join(report.version_changes)}): its numbers come from both.",
        )
    if report.excluded:
        warn(
            errors,
            f"{report.excluded:,} runs in {report.partial:,} tasks were not converged or not a "
            "number; they are left out of the statistics (status 2, runs_excluded).",
        )
    if report.empty:
        warn(errors, f"{report.empty:,} tasks have a NaN among their results (status 3).")
    if report.failures:
        task, why = next(iter(sorted(report.failures.items())))
        say(
            errors,
            f"{len(report.failures):,} tasks, such as task {task}: {why}; they are missing in the "
            "store, and --resume tries them again.",
            label="Failed:",
            style="bold red",
        )
