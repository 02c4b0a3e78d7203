"""Long data in text: CSV, TSV and files with other separators, a block of lines at a time."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from ..errors import InputError
from . import columns
from .columns import Encoders, Piece, Source, Wanted, find_columns
from .numbers import is_number, parse_number, parse_numbers, spelling

SUFFIXES = (".csv", ".tsv", ".txt", ".dat")


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are read."""

    separator: str
    columns: list[int]  # of row ids, column ids and perhaps values
    names: tuple[str, ...]
    no_header: bool


def open_text(path: Path, wanted: Wanted, no_header: bool | None, encoders: Encoders) -> Source:
    """Read the first line of a text file, and its entries when they are asked for.

    With ``no_header`` None the first line is a heading unless the last wanted column is a number
    there.
    """
    separator, header = _first(path)
    if any(name in header for name in wanted if name is not None and not name.isdigit()):
        no_header = False
    elif no_header is None:
        no_header = _begins_with_entry(wanted, header, path)
    places = find_columns(wanted, header, path, headed=not no_header)
    names = tuple(f"column {c + 1}" if no_header else header[c] for c in places)
    layout = _Layout(separator, places, names, no_header)
    return Source(names, no_header, 0, _pieces(path, layout, encoders))


def _begins_with_entry(wanted: Wanted, first: list[str], path: Path) -> bool:
    """Whether the last wanted column, by its number, is a number in the first line."""
    try:
        return is_number(first[find_columns(wanted, first, path, headed=False)[-1]])
    except InputError:  # a name, or a number that is too large: of a heading, or of nothing
        return False


def first_line(path: Path) -> list[str]:
    """The cells of the first line."""
    return _first(path)[1]


def _first(path: Path) -> tuple[str, list[str]]:
    """The separator of the file's cells, and the cells of the first line."""
    with _open(path) as file:
        line = file.readline()
        separator = next((mark for mark in ("::", "\t", ";", ",") if mark in line), " ")
        file.seek(0)
        try:
            return separator, next(_records(file, separator))
        except (StopIteration, csv.Error):
            raise InputError(f"INPUT: '{path}' is empty; give at least one line of data.") from None


def _pieces(path: Path, layout: _Layout, encoders: Encoders) -> Iterator[Piece]:
    with _open(path) as file:
        lines = _records(file, layout.separator)
        done = 0
        if not layout.no_header:
            next(lines)
            done = 1
        block: list[list[str]] = []
        try:
            for line in lines:
                block.append(line)
                if len(block) == columns.CHUNK:
                    yield _piece(block, layout.columns, done, path, encoders)
                    done += len(block)
                    block = []
        except csv.Error as error:
            raise InputError(f"INPUT: '{path}', after line {done + len(block)}: {error}.") from None
        if block:
            yield _piece(block, layout.columns, done, path, encoders)


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """The file as UTF-8; `InputError` that names the line where it is something else."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield file
    except UnicodeDecodeError:
        raise _not_utf8(path) from None


def _records(file: TextIO, separator: str) -> Iterator[list[str]]:
    if separator == "::":  # the csv module knows separators of one character only
        return (line.rstrip("\r\n").split("::") for line in file)
    return csv.reader(file, delimiter=separator)


def _not_utf8(path: Path) -> InputError:
    """Which line of a file is not UTF-8: letters that are guessed could make one id of two."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return InputError(
                    f"INPUT: '{path}', line {number} is not UTF-8 text (byte "
                    f"{line[error.start]:#04x} at place {error.start + 1}); save the file as UTF-8."
                )
    return InputError(f"INPUT: '{path}' is not UTF-8 text; save the file as UTF-8.")


def _piece(
    block: list[list[str]], places: list[int], done: int, path: Path, encoders: Encoders
) -> Piece:
    """The three columns of a block that begins after ``done`` lines."""
    try:
        rows, cols, values = _parsed(block, places)
    except (IndexError, ValueError):  # look again, line by line
        rows, cols, values = _parsed(_checked(block, places, done, path), places)
    return encoders[0].text_codes(rows), encoders[1].text_codes(cols), values


def _parsed(block: list[list[str]], places: list[int]) -> tuple[list[str], list[str], np.ndarray]:
    """(row ids, column ids, values); IndexError or ValueError if a line is not an entry."""
    rows, cols = ([line[c] for line in block] for c in places[:2])
    values = np.zeros(len(block))
    for c in places[2:]:
        values = parse_numbers([line[c] for line in block])
    if not (np.isfinite(values).all() and all(rows) and all(cols)):
        raise ValueError("an id is missing or a value is not finite")
    return rows, cols, values


def _checked(block: list[list[str]], places: list[int], done: int, path: Path) -> list[list[str]]:
    """The block without empty lines; `InputError` that names the first bad line."""
    kept = []
    for number, line in enumerate(block, done + 1):
        if not "".join(line).strip() and len(line) < 2:
            continue  # an empty line, as at the end of many files
        if len(line) <= max(places):
            raise InputError(
                f"INPUT: '{path}', line {number} has {len(line)} column(s), {max(places) + 1} are "
                "needed."
            )
        for c in places[2:]:
            if not (is_number(line[c]) and np.isfinite(parse_number(line[c]))):
                raise InputError(
                    f"INPUT: '{path}', line {number}: the value is {line[c]!r} where a finite "
                    f"number is needed{spelling(line[c])}; correct or drop the line."
                )
        if not all(line[c] for c in places[:2]):
            raise InputError(
                f"INPUT: '{path}', line {number}: an id is missing; correct or drop the line."
            )
        kept.append(line)
    return kept
