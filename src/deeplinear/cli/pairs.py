"""Lists of pairs (row id, column id) on the command line, and predictions for them."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..atomic import write_atomically
from ..completion.data.id_encoder import integer_of
from ..completion.data.ids import Ids
from ..errors import InputError
from ..files.long import column_names, is_text, read_long
from ..files.long_output import is_writable, write_long
from ..files.side_table import read_side_table
from ..files.spool import STANDARD
from ..files.text_options import TextOptions
from ..places import writing
from ..report.lists import Pairs
from .options import FEATURES
from .streams import write_result

if TYPE_CHECKING:
    from ..files.long import Triples


def typed_ids(labels: Sequence[object], ids: Ids, argument: str) -> np.ndarray:
    """Ids from a file or the command line in the types that the model's ids have.

    Unknown ids stay as they are. Matrices count from 1 on files; `InputError` for what is not a
    row or column of theirs, and for bytes of the command line that are no text.
    """
    texts = [str(label) for label in labels]
    for text in texts:
        if not is_writable(text):
            raise InputError(f"{argument}: {text!a} holds bytes that are no text; correct it.")
    if ids.extent is not None:
        return _positions(texts, ids.extent, argument)
    if ids.labels.dtype == np.int64:
        numbers = [_integer(text) for text in texts]
        whole = all(isinstance(number, int) for number in numbers)
        return np.array(numbers, dtype=np.int64 if whole else object)
    known = {str(label): label for label in ids.labels.tolist()}
    return np.fromiter((known.get(text, text) for text in texts), object, len(texts))


def _integer(text: str) -> int | str:
    number = integer_of(text)
    return text if number is None or abs(number) >= 2**63 else number


def _positions(texts: Sequence[str], size: int, argument: str) -> np.ndarray:
    numbers = [_integer(text) for text in texts]
    for number in numbers:
        if not isinstance(number, int):
            raise InputError(
                f"{argument}: {number!r} is not a number; for a matrix this must hold row and "
                "column numbers from 1."
            )
        if not 1 <= number <= size:
            raise InputError(
                f"{argument}: {number} is not between 1 and {size}, the last row or column of the "
                "matrix; correct it."
            )
    return np.array(numbers, np.int64) - 1


def _about_pairs(message: str) -> str:
    """A reader's message with the option that names the file of pairs."""
    return message.replace("INPUT:", "--at:", 1)


def beside_data(message: str) -> str:
    """The same where the options of text files are for the data, but for --at-header."""
    message = re.sub(r"--(no-)?header", r"--\1at-header", _about_pairs(message))
    other = r"--(separator|encoding|comment|skip-lines)"
    return re.sub(other, r"\g<0> of deeplinear predict", message)


@contextmanager
def _retold(tell: Callable[[str], str]) -> Iterator[None]:
    """Errors and warnings in other words."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except InputError as error:
            raise InputError(tell(str(error))) from None
    for warning in caught:
        warnings.warn(tell(str(warning.message)), warning.category, stacklevel=4)


def check_pairs(
    path: Path, text: TextOptions | None = None, *, tell: Callable[[str], str] = _about_pairs
) -> None:
    """`InputError` before any work if there is no file that `read_pairs` could read."""
    with _retold(tell):
        column_names(path, text)


def read_pairs(
    path: Path,
    names: Sequence[str],
    ids: tuple[Ids, Ids],
    *,
    places: tuple[str | None, str | None] = (None, None),
    text: TextOptions | None = None,
    tell: Callable[[str], str] = _about_pairs,
) -> tuple[Pairs, tuple[str, ...]]:
    """The pairs in the file ``path``, and the names of their columns.

    The two columns called ``names``, or else those at ``places`` (numbers; by default the first
    two). Unless ``text`` says so, the first line is a pair if it holds an id of ``ids`` or looks
    like the lines below it. ``tell`` puts errors and warnings in words of the command.
    """
    with _retold(tell):
        return _read_pairs(path, names, ids, places, text or TextOptions())


def _read_pairs(
    path: Path,
    names: Sequence[str],
    ids: tuple[Ids, Ids],
    places: tuple[str | None, str | None],
    text: TextOptions,
) -> tuple[Pairs, tuple[str, ...]]:
    header = column_names(path, text)
    there = [name in header for name in names] if text.header is not False else [False]
    if all(there):
        places, text = _named(path, names, header, ids, text)
    elif any(there):
        raise InputError(
            f"--at: '{path}' has no column '{names[there.index(False)]}'; name both columns as in "
            "the data, or neither."
        )
    elif text.header is None and is_text(path) and _holds_ids(header, ids, places):
        text = replace(text, header=False)
    found = read_long(path, *places, pairs=True, text=text)
    if found.positional:
        raise InputError(
            f"--at: '{path}' must list pairs of ids, not a matrix; give a CSV or Parquet file."
        )
    sides = ((found.row_ids, found.rows, ids[0]), (found.col_ids, found.cols, ids[1]))
    rows, cols = (
        typed_ids(own.labels.tolist(), side, f"--at: '{path}'")[codes] for own, codes, side in sides
    )
    return (rows, cols), found.names


def _named(
    path: Path,
    names: Sequence[str],
    header: Sequence[str],
    ids: tuple[Ids, Ids],
    text: TextOptions,
) -> tuple[tuple[str | None, str | None], TextOptions]:
    """(the numbers of the columns called ``names``, ``text`` with what that says)."""
    for name in names:
        if header.count(name) > 1:
            raise InputError(f"--at: '{path}' has two columns '{name}'; rename one of them.")
    first, second = (header.index(name) for name in names)
    places = str(first + 1), str(second + 1)
    if not is_text(path):
        return places, text
    if text.header is None and "".join(names).isdigit() and _holds_ids(header, ids, places):
        raise InputError(
            f"--at: the first line of '{path}' may be a heading or a pair; say which with --header "
            "or --no-header."
        )
    return places, replace(text, header=True)


def _holds_ids(
    cells: Sequence[str], ids: tuple[Ids, Ids], places: tuple[str | None, str | None]
) -> bool:
    """Whether a cell of the first line is an id of the model, which headings hardly are."""
    for k, (place, side) in enumerate(zip(places, ids, strict=True)):
        position = k if place is None else int(place) - 1
        if side.positional or position >= len(cells):
            continue
        if side.codes(typed_ids([cells[position]], side, "--at"), "--at")[0] >= 0:
            return True
    return False


def read_features(
    paths: tuple[Path | None, Path | None], data: "Triples"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``row_features`` and ``col_features`` from files, with ids in the types of the data."""
    found = {}
    names = ("row_features", "col_features")
    for path, option, name, ids in zip(
        paths, FEATURES, names, (data.row_ids, data.col_ids), strict=True
    ):
        if path is not None:
            labels, features = read_side_table(path, option)
            found[name] = typed_ids(labels, ids, f"{option}: '{path}'"), features
    return found


def write_list(
    output: Path | None, columns: dict[str, np.ndarray], *, escape_formulas: bool
) -> None:
    """A list of predictions into a file, or as CSV to standard output."""
    standard = output is None or output == STANDARD
    path = Path("list.csv") if standard else output
    assert path is not None
    data = write_long(path, columns, escape_formulas=escape_formulas)
    if standard:
        write_result(data)
        return
    with writing(path):
        write_atomically(path, data)
