"""Options that several commands share: their help, and their texts as values."""

import math
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ..errors import DepthError, InputError
from ..places import check_folder

Depth = Annotated[
    str, typer.Option("--depth", help="Real numbers ≥ 1 or inf, comma-separated: the best is kept.")
]
Regularization = Annotated[
    str,
    typer.Option("--regularization", help="explicit (weight decay) or implicit (early stop)."),
]
Strength = Annotated[
    str,
    typer.Option(
        "--strength",
        help="Weight decay (implicit: part of the energy left), or auto: by held-out entries.",
    ),
]
Loss = Annotated[
    list[str] | None,
    typer.Option(
        "--loss",
        help="What entries cost: squared, huber, logistic, ordinal or poisson; of one column: "
        "COLUMN=NAME, repeatable.",
    ),
]
LOSSES = ("squared", "huber", "logistic", "ordinal", "poisson")
MaxRank = Annotated[int | None, typer.Option("--max-rank", help="Largest rank to learn.")]
MaxIter = Annotated[
    int | None, typer.Option("--max-iter", help="Largest number of sweeps (implicit: steps).")
]
ValidationFraction = Annotated[
    float,
    typer.Option("--validation-fraction", help="Part of the observed entries that is held out."),
]
HoldOut = Annotated[
    str,
    typer.Option(
        "--holdout",
        help="What is held out: entries, rows (most of some), blocks (runs of rows), or auto.",
    ),
]
Refine = Annotated[
    str,
    typer.Option("--refine", help="auto: by a Gaussian field where held-out cells gain; or off."),
]
RowOrder = Annotated[
    str,
    typer.Option("--row-order", help="auto: try whether rows near each other are alike; or none."),
]
RowFeatures = Annotated[
    Path | None,
    typer.Option("--row-features", help="Table of what is known of rows: ids in its column 1."),
]
ColFeatures = Annotated[
    Path | None, typer.Option("--col-features", help="The same of columns, as genres of films.")
]
FEATURES = ("--row-features", "--col-features")
Seed = Annotated[
    int, typer.Option("--seed", help="Chooses the held-out entries and every random start.")
]
Average = Annotated[
    int, typer.Option("--average", help="Average this many posterior draws; 0: the fit alone.")
]
Device = Annotated[str, typer.Option("--device", help="cpu, gpu, or jax (its default devices).")]
DEVICES = ("cpu", "gpu", "jax")
Report = Annotated[Path | None, typer.Option("--report", help="Folder for an HTML + PNG report.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")]
ListOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="CSV, TSV or Parquet; default: CSV on standard output."),
]
#: In place of a file: standard input, or standard output.
STANDARD = Path("-")
Missing = Annotated[
    list[str] | None,
    typer.Option("--missing", help="A text or number that marks a missing value; repeatable."),
]
Present = Annotated[
    list[str] | None,
    typer.Option("--present", help="Text: a value here, though it often means missing (none, NA)."),
]
Header = Annotated[
    bool | None, typer.Option(help="Text: the first line is a heading, or not; default: by looks.")
]
Separator = Annotated[
    str | None, typer.Option("--separator", help="Text: between cells, as ';', tab, blank or ::.")
]
Decimal = Annotated[str | None, typer.Option("--decimal", help="Text: decimal mark, '.' or ','.")]
Thousands = Annotated[
    str | None, typer.Option("--thousands", help="Text: mark between groups of three digits.")
]
Notes = Annotated[
    bool, typer.Option("--notes", help="Text: numbers may have a note behind them, as 153 p, 12*.")
]
Encoding = Annotated[
    str | None, typer.Option("--encoding", help="Text: cp1252, latin-1, …; default: UTF-8.")
]
Comment = Annotated[
    str | None,
    typer.Option("--comment", help="Text: what comment lines begin with; '' for no comments."),
]
EscapeFormulas = Annotated[
    bool,
    typer.Option(
        "--escape-formulas",
        help="Output in text: an apostrophe before cells that a spreadsheet would run (=, +, @ …).",
    ),
]
SkipLines = Annotated[
    int, typer.Option("--skip-lines", min=0, help="Text: lines to leave out at the beginning.")
]


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


def parse_strength(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"--strength: '{text}' is not a number; give a positive number or auto."
        ) from None


def parse_loss(words: list[str] | None, *, by_column: bool) -> str | dict[str, str]:
    """``["huber"]`` → "huber", and ``["age=huber", "visits=poisson"]`` → a mapping of columns."""
    if not words:
        return "squared"
    pairs = [word.rpartition("=")[::2] for word in words]
    for column, name in pairs:
        check_choice("--loss", name, LOSSES)
        if column and not by_column:
            raise InputError(f"--loss: '{column}={name}' names a column; give one name for all.")
    if len(pairs) > 1 and not all(column for column, _ in pairs):
        raise InputError("--loss: one name for all columns comes alone; else give COLUMN=NAME.")
    return dict(pairs) if pairs[0][0] else pairs[0][1]


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{option}: '{value}' is none of {', '.join(choices)}; give one of them.")


def check_fit(
    *,
    regularization: str,
    strength: float | str,
    max_rank: int | None,
    max_iter: int | None,
    average: int,
    device: str,
    seed: int,
    validation_fraction: float,
) -> None:
    """`InputError` that names the option, for what no fit takes."""
    check_choice("--regularization", regularization, ("explicit", "implicit"))
    check_choice("--device", device, DEVICES)
    for option, value, least, most in (
        ("--max-rank", max_rank, 1, 10**9),
        ("--max-iter", max_iter, 1, 10**9),
        ("--average", average, 0, 10**5),
        ("--seed", seed, 0, 2**32 - 1),
    ):
        if value is not None:
            check_range(option, value, least, most)
    if not 0 <= validation_fraction < 1:  # also refuses NaN
        raise InputError(
            "--validation-fraction must be a number from 0 to less than 1, got "
            f"{validation_fraction:g}."
        )
    if isinstance(strength, str):
        return
    if regularization == "implicit" and not 0 < strength < 1:
        raise InputError(
            "--strength: of the implicit flow the part of the energy where it stops, between 0 and "
            "1."
        )
    if not 0 <= strength < math.inf:
        raise InputError(f"--strength: {strength:g} is no strength; give a number ≥ 0, or auto.")


def check_range(option: str, value: int, least: int, most: int) -> None:
    """`InputError` unless least ≤ value ≤ most."""
    if value < least:
        raise InputError(f"{option}: {value} is too small; give {least} or more.")
    if value > most:
        raise InputError(f"{option}: {value} is too large; give {most:,} or less.")


def check_report(folder: Path, force: bool) -> None:
    """`InputError` before any work if a report cannot be written there."""
    check_folder(folder, argument="--report")
    if (folder / "index.html").exists() and not force:
        raise InputError(
            f"--report: '{folder}' holds a report; add --force to replace it, or give another "
            "folder."
        )


def command_line() -> str:
    """How this process was called, for reports."""
    return shlex.join(["deeplinear", *sys.argv[1:]])
