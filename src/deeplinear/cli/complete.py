"""``deeplinear complete``: tables and images, with their missing entries filled in."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..atomic import write_atomically
from ..errors import InputError
from ..places import check_apart, writing
from .bounds import Maximum, Minimum, parse_bounds
from .console import (
    gathered_warnings,
    say,
    terminal,
)
from .fits import Fits, print_scores, say_what_is_unlike
from .options import (
    STANDARD,
    Average,
    Comment,
    Decimal,
    Depth,
    Device,
    Encoding,
    EscapeFormulas,
    Force,
    Header,
    HoldOut,
    Loss,
    MaxIter,
    MaxRank,
    Missing,
    Notes,
    Present,
    Quiet,
    Refine,
    Regularization,
    Report,
    RowOrder,
    Seed,
    Separator,
    SkipLines,
    Strength,
    Thousands,
    ValidationFraction,
    check_choice,
    check_fit,
    check_report,
    command_line,
    parse_depths,
    parse_loss,
    parse_strength,
)
from .streams import check_standard_output, write_result
from .uncertainty import Coverage, Draws, Intervals, Uncertainty

if TYPE_CHECKING:
    from ..files import Table
    from ..report.compare import Candidate


def complete(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="Text table, Excel, Parquet, Feather, .npy, .npz, HDF5, .mat or an image; - is "
            "standard input.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File of the same kind as INPUT; - is standard.")
    ],
    depth: Depth = "2,3,inf",
    loss: Loss = None,
    regularization: Regularization = "explicit",
    strength: Strength = "auto",
    max_rank: MaxRank = None,
    max_iter: MaxIter = None,
    mask: Annotated[
        Path | None, typer.Option(help="File of INPUT's shape; non-zero (white) is missing.")
    ] = None,
    missing: Missing = None,
    present: Present = None,
    header: Header = None,
    labels: Annotated[
        bool | None, typer.Option(help="Text: the first column holds row labels, or not.")
    ] = None,
    separator: Separator = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    notes: Notes = False,
    encoding: Encoding = None,
    comment: Comment = None,
    skip_lines: SkipLines = 0,
    sheet: Annotated[str | None, typer.Option(help="Excel: the sheet to complete.")] = None,
    variable: Annotated[
        str | None, typer.Option(help=".npz, .mat, HDF5: the array to complete.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Column to fit, by number or name; repeatable. Others are carried."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(help="Column to carry through untouched; repeatable.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(help="Column to leave out of the output; repeatable.")
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(help="Column whose cells are labels, numbers included; repeatable."),
    ] = None,
    integers: Annotated[
        str, typer.Option(help="Imputed cells of whole columns: round, or keep as they come.")
    ] = "round",
    min_value: Minimum = None,
    max_value: Maximum = None,
    validation_fraction: ValidationFraction = 0.1,
    seed: Seed = 0,
    average: Average = 0,
    intervals: Intervals = None,
    coverage: Coverage = None,
    draws: Draws = 0,
    device: Device = "cpu",
    holdout: HoldOut = "entries",
    refine: Refine = "auto",
    row_order: RowOrder = "auto",
    knn: Annotated[
        bool, typer.Option("--knn", help="Compare with KNNImputer also where that takes long.")
    ] = False,
    report: Report = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File for the best iterate if you press Ctrl-C.")
    ] = None,
    escape_formulas: EscapeFormulas = False,
    force: Force = False,
    quiet: Quiet = False,
    rows: Annotated[str | None, typer.Option(hidden=True)] = None,
    cols: Annotated[str | None, typer.Option(hidden=True)] = None,
    values: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Fill in the missing cells of a table or an image; observed cells stay as they are.

    Missing are NaN, transparent pixels, what --mask marks, and in text the cells that are empty or
    NA, NaN, null, none, ?, -, #N/A and the like. How a text file is written is recognized; dates,
    labels and free text are carried through, categories are filled in too.

    For lists of entries (one line per rating or measurement), .mtx and sparse .npz there is
    `deeplinear ratings`.
    """
    standard = STANDARD in (output, intervals)
    out, errors = terminal(quiet=quiet, stderr=standard), terminal(stderr=True)
    sure = Uncertainty(intervals, coverage, draws, output)
    sure.check(force=force, escape_formulas=escape_formulas)
    places = _Places(source, mask, output, checkpoint, report, force)
    places.check(sure.results)
    depths = parse_depths(depth)
    _refuse_long(source, (rows, cols, values))
    options = _options(
        several=len(depths) > 1,
        loss=parse_loss(loss, by_column=True),
        regularization=regularization,
        strength=parse_strength(strength),
        max_rank=max_rank,
        max_iter=max_iter,
        average=average,
        device=device,
        seed=seed,
        validation_fraction=validation_fraction,
        integers=integers,
        holdout=holdout,
        refine=refine,
        row_order=row_order,
    )
    from ..files import Selection, TextOptions, read_table
    from ..files.spool import on_disk

    text = TextOptions(
        missing=tuple(missing or ()),
        present=tuple(present or ()),
        header=header,
        labels=labels,
        separator=separator,
        decimal=decimal,
        thousands=thousands,
        notes=notes,
        encoding=encoding,
        comment=comment,
        skip_lines=skip_lines,
    )
    chosen = (columns, keep, drop, categorical)
    selection = Selection(*(tuple(names or ()) for names in chosen))
    with on_disk(source) as local:
        with gathered_warnings(errors):
            table = read_table(
                local, mask=mask, text=text, selection=selection, sheet=sheet, variable=variable
            )
        places.check_kinds(table)
        sure.check_kinds(table, force=force)
        if escape_formulas:
            table.escape_formulas(output)
        options |= parse_bounds(min_value, max_value, table.coded.features)
        for line in table.understood():
            say(out, line if line.startswith(" ") else f"{source.name}: {line}")
        fits = Fits(table, depths, options, checkpoint, knn)
        candidates, verdict = fits.run(errors, quiet=quiet)
        winner, network = verdict.used, verdict.network
        _write(table, winner, output)
        print_scores(out, candidates, verdict, by_column=table.kind == "table")
        say_what_is_unlike(out, table, holdout, verdict)
        if output != STANDARD:
            say(out, f"Wrote {output} ({winner.name}).")
        assert network.imputer is not None
        with gathered_warnings(errors):
            done = sure.write(table, network.filled, network.imputer, escape=escape_formulas)
        if done and winner is not network:
            done.append(f"Intervals and draws are those of {network.name}, the best network.")
        for line in done:
            say(out, line)
        if report is not None:
            from ..report.report import study_of_file, write_report

            study = study_of_file(table, candidates, verdict, regularization, source.name)
            title = f"Completion of {source.name}"
            page, _ = write_report(report, [study], title=title, command=command_line())
            say(out, f"Report: {page}")


@dataclass(frozen=True)
class _Places:
    """The files of one call."""

    source: Path
    mask: Path | None
    output: Path
    checkpoint: Path | None
    report: Path | None
    force: bool

    def check(self, others: dict[str, Path | None]) -> None:
        """Refuse before any computing what could not be written afterwards.

        ``others``: more files to write, by what names them.
        """
        results = {"--output": self.output, "--checkpoint": self.checkpoint} | others
        sources = {"INPUT": self.source, "--mask": self.mask}
        check_apart(results, sources, {"--report": self.report})
        if self.checkpoint == STANDARD:
            raise InputError("--checkpoint: it cannot be standard output; give a file's name.")
        if self.output == STANDARD:
            check_standard_output()
        if self.report is not None:
            check_report(self.report, self.force)

    def check_kinds(self, table: "Table") -> None:
        """Outputs are of the kind of the input."""
        from ..files import check_output

        for argument, path in (("--output", self.output), ("--checkpoint", self.checkpoint)):
            if path is not None and path != STANDARD:
                check_output(path, table, force=self.force, argument=argument)


def _options(
    *,
    several: bool,
    loss: str | dict[str, str],
    integers: str,
    holdout: str,
    refine: str,
    row_order: str,
    **fit: Any,
) -> dict[str, Any]:
    """The options as parameters of the estimator: the only place that knows their names there."""
    check_choice("--integers", integers, ("round", "keep"))
    check_choice("--holdout", holdout, ("auto", "entries", "rows", "blocks"))
    check_choice("--refine", refine, ("auto", "off"))
    check_choice("--row-order", row_order, ("auto", "none"))
    check_fit(**fit)
    if several and not fit["validation_fraction"] > 0:
        raise InputError(
            "--validation-fraction: 0 leaves nothing to compare depths on; give one --depth."
        )
    names = {"average": "n_draws", "seed": "random_state"}
    options = {names.get(option, option): value for option, value in fit.items()}
    options |= {"holdout": holdout, "refine": refine, "loss": loss}
    options |= {"row_order": True if row_order == "auto" else None}
    return options | {"integers": "auto" if integers == "round" else "keep"}


def _write(table: "Table", winner: "Candidate", output: Path) -> None:
    from ..files import file_type

    data = table.encode(winner.filled, file_type(output))
    if output == STANDARD:
        write_result(data)
        return
    packed = table.pack(data, output)
    with writing(output):
        write_atomically(output, packed)


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
