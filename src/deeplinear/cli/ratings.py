"""``deeplinear ratings``: long data, one line per observed entry (ratings, measurements)."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..errors import InputError
from ..places import check_apart, check_file, writing
from .bounds import Clip, parse_clip
from .console import BarFollower, fitted_lines, gathered_warnings, progress_bar, say, terminal
from .endings import Interrupted
from .options import (
    FEATURES,
    STANDARD,
    Average,
    ColFeatures,
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
    Quiet,
    Regularization,
    Report,
    RowFeatures,
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
from .streams import check_standard_output

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..completion.matrix_completion import DeepMatrixCompletion
    from ..files.long import Triples
    from ..files.text_options import TextOptions
    from ..report.lists import Pairs


def ratings(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="CSV, TSV, Parquet, MatrixMarket, sparse .npz; - is standard input.",
        ),
    ],
    rows: Annotated[
        str | None, typer.Option(help="Column of row ids (number from 1, or name); default: 1.")
    ] = None,
    cols: Annotated[str | None, typer.Option(help="Column of column ids; default: 2.")] = None,
    values: Annotated[str | None, typer.Option(help="Column of values; default: 3.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="CSV, TSV or Parquet for predictions; - is standard."),
    ] = None,
    at: Annotated[
        Path | None, typer.Option(help="File with the pairs of ids to predict; default: all.")
    ] = None,
    at_header: Annotated[
        bool | None, typer.Option(help="The first line of --at is a heading, or not.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Save the model there, for `predict` and `recommend`.")
    ] = None,
    row_features: RowFeatures = None,
    col_features: ColFeatures = None,
    missing: Missing = None,
    header: Header = None,
    separator: Separator = None,
    decimal: Decimal = None,
    thousands: Thousands = None,
    encoding: Encoding = None,
    comment: Comment = None,
    skip_lines: SkipLines = 0,
    depth: Depth = "2,3,inf",
    loss: Loss = None,
    regularization: Regularization = "explicit",
    strength: Strength = "auto",
    max_rank: MaxRank = None,
    max_iter: MaxIter = None,
    validation_fraction: ValidationFraction = 0.1,
    holdout: HoldOut = "entries",
    seed: Seed = 0,
    average: Average = 0,
    clip: Clip = None,
    implicit_feedback: Annotated[
        bool,
        typer.Option(
            "--implicit-feedback", help="Learn also from which entries there are; with --average."
        ),
    ] = False,
    duplicates: Annotated[
        str, typer.Option(help="Entries that come more than once: error, mean or last.")
    ] = "error",
    device: Device = "cpu",
    report: Report = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File from which a killed fit goes on when called again.")
    ] = None,
    escape_formulas: EscapeFormulas = False,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Learn from a list of entries (one line per rating or measurement) and predict the others.

    --rows, --cols and --values name columns of INPUT; MatrixMarket .mtx and sparse .npz have none.
    How INPUT is written is recognized, or said by the options of text. The output lists predictions
    with 90 % intervals, of the pairs in --at or of all missing entries. Ids in --at without any
    entry are predicted from the averages, with one warning, or from --row-features and
    --col-features: tables with a heading, ids in the first column and what is known of them.
    """
    out, errors = terminal(quiet=quiet, stderr=output == STANDARD), terminal(stderr=True)
    with ExitStack() as stack:
        from ..files.spool import on_disk
        from ..files.text_options import TextOptions

        text = TextOptions(
            missing=tuple(missing or ()),
            header=header,
            separator=separator,
            decimal=decimal,
            thousands=thousands,
            encoding=encoding,
            comment=comment,
            skip_lines=skip_lines,
        )
        if source == at == STANDARD:
            raise InputError("--at: standard input is INPUT already; give a file for one of them.")
        source = stack.enter_context(on_disk(source))
        at = None if at is None else stack.enter_context(on_disk(at, "--at"))
        columns = rows, cols, values
        files = source, output, at, model, checkpoint, report
        features = row_features, col_features
        job = Job(*files, features, columns, text, at_header, escape_formulas, force, quiet)
        parameters = _parameters(
            depths=parse_depths(depth),
            loss=parse_loss(loss, by_column=False),
            regularization=regularization,
            strength=parse_strength(strength),
            max_rank=max_rank,
            max_iter=max_iter,
            validation_fraction=validation_fraction,
            holdout=holdout,
            average=average,
            clip=parse_clip(clip),
            implicit_feedback=implicit_feedback,
            duplicates=duplicates,
            device=device,
            seed=seed,
        )
        job.check(implicit=regularization == "implicit")
        _run(job, parameters, out, errors)


@dataclass(frozen=True)
class Job:
    """The files of one call, and how they are written."""

    source: Path
    output: Path | None
    at: Path | None
    model: Path | None
    checkpoint: Path | None
    report: Path | None
    features: tuple[Path | None, Path | None]
    columns: tuple[str | None, str | None, str | None]
    text: "TextOptions"
    at_header: bool | None
    escape_formulas: bool
    force: bool
    quiet: bool

    @property
    def text_of_pairs(self) -> "TextOptions":
        """How --at is written: recognized, but for its heading, and the encoding if not UTF-8."""
        from ..files.long_text import is_decodable
        from ..files.text_options import TextOptions

        known = self.text.encoding is None or self.at is None or is_decodable(self.at)
        return TextOptions(header=self.at_header, encoding=None if known else self.text.encoding)

    def check(self, *, implicit: bool) -> None:
        """Refuse before any computing what could not be written afterwards."""
        from ..files.long_output import check_list
        from .pairs import beside_data, check_pairs

        if self.model == STANDARD:
            raise InputError("--model: a model is no text; give the name of a file.")
        if self.output is None and self.model is None and self.report is None:
            raise InputError(
                "--output: nothing would be kept; give --output for predictions, --model for the "
                "model, or --report."
            )
        results = {"--output": self.output, "--model": self.model, "--checkpoint": self.checkpoint}
        sources = {"INPUT": self.source, "--at": self.at}
        sources |= dict(zip(FEATURES, self.features, strict=True))
        check_apart(results, sources, {"--report": self.report})
        if self.output == STANDARD:
            check_standard_output()
        elif self.output is not None:
            check_file(self.output, force=self.force, argument="--output")
            check_list(self.output, "--output", escape_formulas=self.escape_formulas)
        if self.model is not None:
            check_file(self.model, force=self.force, argument="--model")
        if self.at is not None:
            if self.output is None:
                raise InputError("--at: the predictions need a file; give --output.")
            check_pairs(self.at, self.text_of_pairs, tell=beside_data)
        if self.report is not None:
            check_report(self.report, self.force)
        if self.checkpoint is not None:
            if implicit:
                raise InputError(
                    "--checkpoint: the implicit flow has none; leave it out, or take "
                    "--regularization explicit."
                )
            check_file(self.checkpoint, force=True, argument="--checkpoint")  # it may go on


def _parameters(
    *,
    depths: list[float],
    loss: str | dict[str, str],
    regularization: str,
    strength: float | str,
    max_rank: int | None,
    max_iter: int | None,
    validation_fraction: float,
    holdout: str,
    average: int,
    clip: "str | tuple[float, float] | None",
    implicit_feedback: bool,
    duplicates: str,
    device: str,
    seed: int,
) -> dict[str, Any]:
    """The options as parameters of the estimator: the only place that knows their names there."""
    check_fit(
        regularization=regularization,
        strength=strength,
        max_rank=max_rank,
        max_iter=max_iter,
        average=average,
        device=device,
        seed=seed,
        validation_fraction=validation_fraction,
    )
    check_choice("--holdout", holdout, ("entries", "rows"))
    check_choice("--duplicates", duplicates, ("error", "mean", "last"))
    if implicit_feedback and not average:
        raise InputError("--implicit-feedback: it informs posterior draws; add --average 20, say.")
    return {
        "depth": depths[0] if len(depths) == 1 else tuple(depths),
        "loss": loss,
        "regularization": regularization,
        "strength": strength,
        "max_rank": max_rank,
        "max_iter": max_iter,
        "validation_fraction": validation_fraction,
        "holdout": holdout,
        "n_draws": average,
        "clip": clip,
        "implicit_feedback": implicit_feedback,
        "duplicates": duplicates,
        "device": device,
        "random_state": seed,
    }


def _run(job: Job, parameters: dict[str, Any], out: Console, errors: Console) -> None:
    """Read, choose depth and strength, fit, and write model, predictions and report."""
    from ..files.long import read_long
    from ..report.lists import prediction_columns
    from .pairs import read_features, write_list

    with gathered_warnings(errors):
        data = read_long(job.source, *job.columns, text=job.text)
        wanted, features = _wanted(job, data), read_features(job.features, data)
    say(out, f"{job.source.name}: {data.describe()}")
    begin = time.perf_counter()
    with gathered_warnings(errors), progress_bar(errors, quiet=job.quiet) as bar:
        estimator = _fit(job, data, parameters, features, bar)
        seconds = time.perf_counter() - begin
        if job.model is not None:  # first: whatever happens to the predictions, the fit is kept
            with writing(job.model):
                estimator.save(job.model)
        columns = {}
        if wanted is not None:
            columns = prediction_columns(estimator, wanted, data.names[:2])
    if job.output is not None:
        write_list(job.output, columns, escape_formulas=job.escape_formulas)
    for line in fitted_lines(estimator, seconds):
        say(out, line)
    for path in (job.output, job.model):
        if path is not None and path != STANDARD:
            say(out, f"Wrote {path}")
    if job.report is not None:
        from ..report.long_report import write_long_report

        about = data.describe()
        page, _ = write_long_report(
            job.report, estimator, name=job.source.name, about=about, command=command_line()
        )
        say(out, f"Report: {page}")


def _wanted(job: Job, data: "Triples") -> "Pairs | None":
    """The pairs to predict: those of --at, or all missing ones; None without an output."""
    from ..report.lists import all_missing
    from .pairs import beside_data, read_pairs

    if job.output is None:
        return None
    if job.at is None:
        return all_missing(data)
    rows, cols = (name if name is not None and name.isdigit() else None for name in job.columns[:2])
    return read_pairs(
        job.at,
        data.names[:2],
        (data.row_ids, data.col_ids),
        places=(rows, cols),
        text=job.text_of_pairs,
        tell=beside_data,
    )[0]


def _fit(
    job: Job,
    data: "Triples",
    parameters: dict[str, Any],
    features: dict[str, Any],
    bar: "Progress",
) -> "DeepMatrixCompletion":
    from ..completion.data.observations import RepeatedEntriesError
    from ..completion.matrix_completion import DeepMatrixCompletion

    estimator = DeepMatrixCompletion(
        **parameters,
        columns=data.names,  # so that `predict` finds the columns of its pairs
        callback=BarFollower(bar),
        checkpoint=None if job.checkpoint is None else str(job.checkpoint),
    )
    try:
        return estimator.fit(data, **features)
    except KeyboardInterrupt:
        if job.checkpoint is None or not job.checkpoint.exists():
            raise
        raise Interrupted(
            f"Interrupted: '{job.checkpoint}' holds the fit so far, and the same command goes on "
            "from it; nothing else was written."
        ) from None
    except RepeatedEntriesError as error:
        shift = int(data.positional)  # matrices on file count from 1
        row, col = (error.row + 1, error.col + 1) if shift else (error.row, error.col)
        raise InputError(
            f"INPUT: '{job.source}' must name every entry once, got {error.count} repetition(s), "
            f"the first of row {row}, column {col}: add --duplicates mean or --duplicates last."
        ) from None
