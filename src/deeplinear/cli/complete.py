"""``deeplinear complete``: tables and images, with their missing entries filled in."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..atomic import write_atomically
from ..errors import InputError
from .console import Interrupted, Watch, gathered_warnings, progress_bar, summary, tidy_exit
from .options import (
    Depth,
    Device,
    Draws,
    Force,
    MaxIter,
    MaxRank,
    Quiet,
    Regularization,
    Report,
    Seed,
    Strength,
    ValidationFraction,
    check_checkpoint,
    check_fit,
    check_report,
    command_line,
    parse_depths,
    parse_strength,
)

if TYPE_CHECKING:
    from ..files import Table
    from ..report.compare import Candidate


def complete(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="CSV, TSV, .npy, .npz, Parquet or an image.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the same kind as INPUT.")],
    depth: Depth = "2,3,inf",
    regularization: Regularization = "explicit",
    strength: Strength = "auto",
    max_rank: MaxRank = None,
    max_iter: MaxIter = None,
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
    validation_fraction: ValidationFraction = 0.1,
    seed: Seed = 0,
    draws: Draws = 0,
    device: Device = "cpu",
    knn: Annotated[
        bool, typer.Option("--knn", help="Compare with scikit-learn's KNNImputer too.")
    ] = False,
    report: Report = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File for the best iterate if you press Ctrl-C.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    rows: Annotated[str | None, typer.Option(hidden=True)] = None,
    cols: Annotated[str | None, typer.Option(hidden=True)] = None,
    values: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Fill in the missing entries of a table or an image; observed entries stay as they are.

    Missing are NaN, transparent pixels, what --mask marks, and in CSV the cells that are empty or
    NA, N/A, NaN, null, none, missing, ?, ., - (in any case).

    For lists of entries (one line per rating or measurement), .mtx and sparse .npz there is
    `deeplinear ratings`.
    """
    out, errors = Console(quiet=quiet), Console(stderr=True)
    with tidy_exit(errors):
        depths = parse_depths(depth)
        _refuse_long(source, (rows, cols, values))
        # The only place that builds the parameters of the estimator.
        options: dict[str, Any] = {
            "regularization": regularization,
            "strength": parse_strength(strength),
            "max_rank": max_rank,
            "max_iter": max_iter,
            "validation_fraction": validation_fraction,
            "n_draws": draws,
            "device": device,
            "random_state": seed,
        }
        check_fit(
            regularization=regularization,
            strength=options["strength"],
            max_rank=max_rank,
            max_iter=max_iter,
            draws=draws,
            device=device,
        )
        if len(depths) > 1 and not validation_fraction > 0:
            raise InputError(
                "--validation-fraction: 0 leaves nothing to compare depths on; give one --depth."
            )
        from .. import files

        table = files.read_table(
            source, mask=mask, text=files.TextOptions(tuple(missing or ()), header, labels)
        )
        files.check_output(output, table, force=force, argument="--output")
        if checkpoint is not None:
            check_checkpoint(checkpoint, source, output)
            files.check_output(checkpoint, table, force=force, argument="--checkpoint")
        if report is not None:
            check_report(report, force)
        out.print(f"{source.name}: {table.describe()}", highlight=False, soft_wrap=True)

        fits = _Fits(table, depths, options, checkpoint, knn)
        candidates, winner = fits.run(errors, quiet=quiet)
        write_atomically(output, table.encode(winner.filled, output.suffix.lower()))
        out.print(summary(candidates, winner))
        out.print(f"Wrote {output} ({winner.name}).", highlight=False, soft_wrap=True)
        if report is not None:
            from ..report.report import study_of_file, write_report

            study = study_of_file(table, candidates, regularization, source.name)
            title = f"Completion of {source.name}"
            page, _ = write_report(report, [study], title=title, command=command_line())
            out.print(f"Report: {page}", highlight=False, soft_wrap=True)


def _refuse_long(source: Path, columns: tuple[str | None, ...]) -> None:
    """Lists of entries are for another command."""
    from ..files.long import is_long

    named = any(name is not None for name in columns)
    if named or (source.is_file() and is_long(source)):
        which = "--rows, --cols and --values name columns of" if named else f"'{source}' is"
        raise InputError(
            f"INPUT: {which} a list of entries, and complete fills in tables and images; run "
            "deeplinear ratings instead."
        )


@dataclass(frozen=True)
class _Fits:
    """What is fitted to one table."""

    table: "Table"
    depths: list[float]
    options: dict[str, Any]
    checkpoint: Path | None
    knn: bool

    def run(self, errors: Console, *, quiet: bool) -> tuple[list["Candidate"], "Candidate"]:
        """Every depth and the baselines, and the best depth.

        On Ctrl-C the best iterate so far is saved, and `Interrupted` raised.
        """
        from ..report.compare import best, column_means, compare_depths, nearest_neighbours

        values = self.table.values
        with gathered_warnings(errors), progress_bar(errors, quiet=quiet) as bar:
            watch = Watch(bar, self.depths)
            try:
                networks, held_out = compare_depths(
                    values, self.depths, progress=watch.report, on_done=watch.done, **self.options
                )
                methods = [column_means] + [nearest_neighbours] * self.knn
                baselines = [method(values, held_out) for method in methods]
            except KeyboardInterrupt:
                if self.checkpoint is None:
                    raise
                raise self._saved(watch, self.checkpoint) from None
        return [*networks, *baselines], best(networks)

    def _saved(self, watch: Watch, checkpoint: Path) -> Interrupted:
        if watch.complete is None:
            return Interrupted("Interrupted before the first iterate: nothing was written.")
        data = self.table.encode(watch.complete(), checkpoint.suffix.lower())
        write_atomically(checkpoint, data)
        return Interrupted(
            f"Interrupted: the best iterate so far (held-out RMSE {watch.rmse:.4g}) is in "
            f"{checkpoint}."
        )
