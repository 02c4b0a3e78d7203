"""The command line. Thin: heavy modules load inside the commands; those for long data are in
`long`.
"""

import math
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..atomic import write_atomically
from ..errors import DepthError, InputError
from .console import Interrupted, Watch, gathered_warnings, progress_bar, summary, tidy_exit
from .experiment import experiment_app
from .sweep import sweep

app = typer.Typer(
    help="Matrix completion with deep linear networks, with depth as the knob.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def main() -> None:
    """Entry point of the ``deeplinear`` command."""
    app()


@app.command()
def complete(
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="CSV, TSV, .npy, .npz, Parquet, .mtx or an image."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File of the same kind as INPUT; long data: a list."),
    ] = None,
    depth: Annotated[
        str, typer.Option(help="Real numbers ≥ 1 or inf, comma-separated: the best is kept.")
    ] = "2,3,inf",
    regularization: Annotated[
        str, typer.Option(help="explicit (weight decay) or implicit (early stop).")
    ] = "explicit",
    strength: Annotated[
        str,
        typer.Option(
            help="Weight decay (implicit: part of the energy left), or auto: by held-out entries."
        ),
    ] = "auto",
    max_rank: Annotated[int | None, typer.Option(help="Largest rank to learn.")] = None,
    max_iter: Annotated[
        int | None, typer.Option(help="Largest number of sweeps (implicit: steps).")
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="File of INPUT's shape; non-zero (white) is missing.")
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="One more text that marks a missing cell in CSV.")
    ] = None,
    header: Annotated[
        bool | None, typer.Option(help="CSV: the first line is a header, or not.")
    ] = None,
    labels: Annotated[
        bool | None, typer.Option(help="CSV: the first column holds row labels, or not.")
    ] = None,
    validation_fraction: Annotated[
        float, typer.Option(help="Part of the observed entries that is held out.")
    ] = 0.1,
    seed: Annotated[
        int, typer.Option(help="Chooses the held-out entries and every random start.")
    ] = 0,
    knn: Annotated[
        bool, typer.Option("--knn", help="Compare with scikit-learn's KNNImputer too.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Folder for an HTML + PNG report.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File for the best iterate if you press Ctrl-C.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")] = False,
    rows: Annotated[
        str | None, typer.Option(help="Long data: the column of row ids (name or number).")
    ] = None,
    cols: Annotated[str | None, typer.Option(help="Long data: the column of column ids.")] = None,
    values: Annotated[str | None, typer.Option(help="Long data: the column of values.")] = None,
    at: Annotated[
        Path | None, typer.Option(help="Long data: file with the pairs of ids to predict.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Long data: save the model there, for `recommend`.")
    ] = None,
    ensemble: Annotated[
        int, typer.Option(help="Long data: average so many posterior samples.")
    ] = 1,
    device: Annotated[
        str, typer.Option(help="Long data: cpu, gpu, or jax (its default devices).")
    ] = "cpu",
    duplicates: Annotated[
        str, typer.Option(help="Long data: entries that come again: error, mean or last.")
    ] = "error",
) -> None:
    """Fill in the missing entries of a table or an image; observed entries stay exactly as they
    are.

    Missing are NaN, transparent pixels, what --mask marks, and in CSV the cells that are empty or
    NA, N/A, NaN, null, none, missing, ?, ., - (in any case).

    Long data (one line per observed entry: ratings, measurements) are CSV or Parquet with --rows,
    --cols and --values, MatrixMarket .mtx, or a sparse .npz. The output lists predictions with 90 %
    intervals, of the pairs in --at or of all missing entries. With --checkpoint a killed fit goes
    on where it was when called again (not with --regularization implicit).
    """
    out, errors = Console(quiet=quiet), Console(stderr=True)
    with tidy_exit(errors):
        depths = parse_depths(depth)
        from ..files.long import is_long

        if is_long(source, rows, cols, values):
            from .ratings import LongJob, complete_long

            _refuse_for_long(
                {
                    "--mask": mask is not None,
                    "--missing": bool(missing),
                    "--header": header is not None,
                    "--labels": labels is not None,
                    "--knn": knn,
                    "--report": report is not None,
                }
            )
            job = LongJob(source, (rows, cols, values), output, at, model, checkpoint, force)
            estimator = {
                "depths": depths,
                "regularization": regularization,
                "strengths": None if strength == "auto" else (_parse_strength(strength),),
                "max_rank": max_rank,
                "max_sweeps": max_iter,
                "validation_fraction": validation_fraction,
                "ensemble": ensemble,
                "duplicates": duplicates,
                "device": device,
                "random_state": seed,
            }
            complete_long(job, estimator, out, errors, quiet=quiet)
            return
        if device != "cpu":
            raise InputError(
                f"--device: {device} is for long data; tables and images are fitted on JAX's "
                "default device."
            )
        if output is None:
            raise InputError("--output: give the name of a file of the same kind as INPUT.")
        options = {
            "regularization": regularization,
            "strength": _parse_strength(strength),
            "max_rank": max_rank,
            "max_iter": max_iter,
            "validation_fraction": validation_fraction,
            "random_state": seed,
        }
        if len(depths) > 1 and not validation_fraction > 0:
            raise InputError(
                "--validation-fraction: 0 leaves nothing to compare depths on; give one --depth."
            )
        from .. import files

        table = files.read_table(
            source, mask=mask, missing=frozenset(missing or ()), header=header, labels=labels
        )
        files.check_output(output, table, force=force, argument="--output")
        if checkpoint is not None:
            _check_checkpoint(checkpoint, source, output)
            files.check_output(checkpoint, table, force=force, argument="--checkpoint")
        if report is not None:
            _check_report(report, force)
        out.print(f"{source.name}: {table.describe()}", highlight=False, soft_wrap=True)

        candidates, winner = _fit(table, depths, options, errors, checkpoint, knn=knn, quiet=quiet)
        write_atomically(output, table.encode(winner.filled, output.suffix.lower()))
        out.print(summary(candidates, winner))
        out.print(f"Wrote {output} ({winner.name}).", highlight=False, soft_wrap=True)
        if report is not None:
            from ..report.report import study_of_file, write_report

            study = study_of_file(table, candidates, regularization, source.name)
            page, _ = write_report(
                report, [study], title=f"Completion of {source.name}", command=_command()
            )
            out.print(f"Report: {page}", highlight=False, soft_wrap=True)


@app.command()
def recommend(
    source: Annotated[Path, typer.Argument(metavar="MODEL", help="File from `complete --model`.")],
    ids: Annotated[str | None, typer.Option(help="Row ids, comma-separated; default: all.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many for each row.")] = 10,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="CSV, TSV or Parquet; default: CSV on standard output."
        ),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also columns that the row has.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """List the columns with the highest predictions for each row (films for a user, say), best
    first.
    """
    with tidy_exit(Console(stderr=True)):
        from .ratings import recommend_long

        recommend_long(source, ids, k, output, include_seen=include_seen, force=force)


@app.command()
def demo(
    report: Annotated[Path, typer.Option(help="Folder for the HTML + PNG report.")] = Path(
        "demo-report"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier report.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Smaller data: a few seconds instead of a minute.")
    ] = False,
) -> None:
    """Complete a photograph and a table of digits at several depths, beside two common
    baselines.
    """
    out, errors = Console(), Console(stderr=True)
    with tidy_exit(errors):
        _check_report(report, force)
        from ..report import demo as demonstration
        from ..report.compare import depth_name
        from ..report.report import write_report

        studies = []
        for start in (demonstration.photograph(quick), demonstration.digits(quick)):
            with gathered_warnings(errors), progress_bar(errors) as bar:
                watch = Watch(bar, demonstration.DEPTHS, depth_name)
                study = demonstration.complete(start, progress=watch.report, on_done=watch.done)
            studies.append(study)
            out.print(summary(study.candidates, study.best, study.title))
        page, pictures = write_report(
            report, studies, title="What depth does: two matrices completed", command=_command()
        )
        out.print(f"Report: {page}", highlight=False, soft_wrap=True)
        out.print(
            f"Pictures: {', '.join(str(path) for path in pictures)}",
            highlight=False,
            soft_wrap=True,
        )


app.command()(sweep)  # after the others, as the help lists them
app.add_typer(experiment_app, name="experiment")


def _fit(
    table: Any,
    depths: list[float],
    options: dict[str, Any],
    errors: Console,
    checkpoint: Path | None,
    *,
    knn: bool,
    quiet: bool,
) -> tuple[list[Any], Any]:
    """Fit every depth and the baselines; on Ctrl-C save the best iterate so far and raise
    :class:`Interrupted`.
    """
    from ..report.compare import best, column_means, compare_depths, depth_name, nearest_neighbours

    with (
        gathered_warnings(errors),
        progress_bar(Console(stderr=True, quiet=True) if quiet else errors) as bar,
    ):
        watch = Watch(bar, depths, depth_name)
        try:
            networks, held_out = compare_depths(
                table.values, depths, progress=watch.report, on_done=watch.done, **options
            )
            baselines = [
                method(table.values, held_out)
                for method in [column_means] + [nearest_neighbours] * knn
            ]
        except KeyboardInterrupt:
            if checkpoint is None:
                raise
            if watch.complete is None:
                raise Interrupted(
                    "Interrupted before the first iterate: nothing was written."
                ) from None
            write_atomically(checkpoint, table.encode(watch.complete(), checkpoint.suffix.lower()))
            raise Interrupted(
                f"Interrupted: the best iterate so far (held-out RMSE {watch.rmse:.4g}) is in "
                f"{checkpoint}."
            ) from None
    return [*networks, *baselines], best(networks)


def parse_depths(text: str) -> list[float]:
    """``"2,3,inf"`` → [2.0, 3.0, inf], each a real number ≥ 1, without repeats."""
    depths = []
    for word in text.split(","):
        try:
            depth = math.inf if word.strip() == "∞" else float(word)
        except ValueError:
            raise DepthError(
                f"--depth: '{word.strip()}' is not a number; give numbers ≥ 1 or inf, as in "
                "2,3,inf."
            ) from None
        if not depth >= 1:  # also refuses NaN
            raise DepthError(
                f"--depth: {word.strip()} is not a depth; give numbers ≥ 1 or inf, as in 2,3,inf."
            )
        depths.append(depth)
    return list(dict.fromkeys(depths))


def _parse_strength(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--strength: '{text}' is not a number; give a positive number or auto."
        ) from None


def _refuse_for_long(given: dict[str, bool]) -> None:
    """Options that long data have no use for are told, not ignored."""
    told = ", ".join(name for name, used in given.items() if used)
    if told:
        raise InputError(
            f"{told}: for tables and images, not for long data; leave out what does not apply."
        )


def _check_checkpoint(checkpoint: Path, source: Path, output: Path) -> None:
    for name, other in (("INPUT", source), ("--output", output)):
        if checkpoint.resolve() == other.resolve():
            raise InputError(f"--checkpoint: '{checkpoint}' is {name} itself; give another name.")


def _check_report(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--report: '{folder}' is a file; give a folder.")
    if (folder / "index.html").exists() and not force:
        raise InputError(
            f"--report: '{folder}' holds a report; add --force to replace it, or give another "
            "folder."
        )
    parent = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    if not os.access(parent, os.W_OK):
        raise InputError(f"--report: cannot write in '{parent}'; give another folder.")


def _command() -> str:
    return shlex.join(["deeplinear", *sys.argv[1:]])
