"""``deeplinear predict`` and ``deeplinear recommend``: lists from a saved model."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from ..errors import InputError
from ..places import check_apart, check_file
from .console import gathered_warnings, terminal
from .options import (
    STANDARD,
    Comment,
    Encoding,
    EscapeFormulas,
    Force,
    Header,
    ListOutput,
    Separator,
    SkipLines,
    check_range,
)
from .streams import check_standard_output

if TYPE_CHECKING:
    from ..completion.matrix_completion import DeepMatrixCompletion

Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="File from `deeplinear ratings --model`.")
]


def predict(
    source: Model,
    at: Annotated[
        Path, typer.Option("--at", help="File with the pairs of ids (row, column) to predict.")
    ],
    output: ListOutput = None,
    header: Header = None,
    separator: Separator = None,
    encoding: Encoding = None,
    comment: Comment = None,
    skip_lines: SkipLines = 0,
    escape_formulas: EscapeFormulas = False,
    force: Force = False,
) -> None:
    """List the predictions of a saved model for chosen pairs of ids, with 90 % intervals.

    Ids without any entry in the fit are predicted from the averages, with one warning. --at - reads
    standard input; the options of text are for this file.
    """
    with gathered_warnings(terminal(stderr=True)):
        _check_output(output, force, escape_formulas, {"MODEL": source, "--at": at})
        from ..files.spool import on_disk
        from ..files.text_options import TextOptions
        from ..report.lists import prediction_columns
        from .pairs import read_pairs, write_list

        text = TextOptions(
            header=header,
            separator=separator,
            encoding=encoding,
            comment=comment,
            skip_lines=skip_lines,
        )
        estimator = load_model(source)
        ids = estimator.model_.row_ids, estimator.model_.col_ids
        with on_disk(at, "--at") as file:
            pairs, names = read_pairs(file, estimator.columns[:2], ids, text=text)
        columns = prediction_columns(estimator, pairs, names)
        write_list(output, columns, escape_formulas=escape_formulas)


def recommend(
    source: Model,
    ids: Annotated[str | None, typer.Option(help="Row ids, comma-separated; default: all.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many for each row.")] = 10,
    output: ListOutput = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also columns that the row has.")
    ] = False,
    escape_formulas: EscapeFormulas = False,
    force: Force = False,
) -> None:
    """List the columns with the highest predictions for each row (films for a user, say).

    Ids without any entry in the fit get what is best for the average row, with one warning.
    """
    with gathered_warnings(terminal(stderr=True)):
        check_range("-k", k, 1, 10**9)
        _check_output(output, force, escape_formulas, {"MODEL": source})
        from .pairs import typed_ids, write_list

        estimator = load_model(source)
        model = estimator.model_
        rows = model.row_ids.lines
        if ids is not None:
            rows = typed_ids([word.strip() for word in ids.split(",")], model.row_ids, "--ids")
        k = min(k, model.col_ids.size)
        found, scores = estimator.recommend(rows, k, exclude_seen=not include_seen)
        there = ~np.isnan(scores)  # rows with fewer than k columns left
        shown_rows, shown = np.repeat(rows, there.sum(axis=1)), found[there]
        if model.row_ids.positional:  # matrices on file count from 1
            shown_rows, shown = shown_rows + 1, np.array([x + 1 for x in shown])
        row_name, column_name = _names(estimator)
        columns = {
            row_name: shown_rows,
            "place": np.broadcast_to(np.arange(1, k + 1), found.shape)[there],
            column_name: shown,
            "prediction": scores[there],
        }
        write_list(output, columns, escape_formulas=escape_formulas)


def _names(estimator: "DeepMatrixCompletion") -> tuple[str, str]:
    """Headings of the ids: those of the file that was fitted, as `predict` has them."""
    row, column = map(str, estimator.columns[:2])
    if estimator.model_.row_ids.positional or len({row, column, "place", "prediction"}) < 4:
        return "row", "column"
    return row, column


def load_model(path: Path) -> "DeepMatrixCompletion":
    """The saved estimator of long data."""
    from ..completion import file_format
    from ..completion.imputer import DeepLinearImputer
    from ..completion.matrix_completion import DeepMatrixCompletion

    try:
        if file_format.kind_of(path) != DeepLinearImputer.__name__:
            return DeepMatrixCompletion.load(path)
    except InputError as error:
        raise InputError(re.sub(r"^path\b", "MODEL", str(error))) from None
    raise InputError(
        f"MODEL: '{path}' is a model of tables, which have no pairs of ids; in Python, "
        "DeepLinearImputer.load(path).transform(table) completes a table."
    )


def _check_output(
    output: Path | None, force: bool, escape_formulas: bool, sources: dict[str, Path | None]
) -> None:
    from ..files.long_output import check_list

    if output is None or output == STANDARD:
        check_standard_output()
        return
    check_list(output, "--output", escape_formulas=escape_formulas)
    check_apart({"--output": output}, sources)
    check_file(output, force=force, argument="--output")
