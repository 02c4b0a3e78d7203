"""Files in, files of the same kind out: tables, arrays, data frames and images."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..completion.data.features import FeatureKind
from ..errors import InputError
from ..extras import EXTRAS
from . import arrays, excel, frames, hdf5, masks, matlab
from .arrays import read_array
from .excel import read_excel
from .frames import read_frame
from .hdf5 import read_hdf5
from .images import read_image
from .markers import MISSING, Markers
from .matlab import read_matlab
from .opening import file_type
from .selection import Selection
from .sentinels import likely_markers
from .table import Table, check_output
from .text import read_text
from .text_options import TextOptions

__all__ = [
    "MISSING",
    "Selection",
    "Table",
    "TextOptions",
    "check_output",
    "read_mask",
    "read_table",
]

_IMAGE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
_TEXT = (".csv", ".tsv", ".txt", ".dat", ".data", ".tab", ".asc", ".prn")
#: File types that need an optional package.
_OPTIONAL = {"pyarrow": frames.SUFFIXES, "openpyxl": excel.SUFFIXES, "h5py": hdf5.SUFFIXES}
#: File types that hold several tables, of which these options name one.
_CHOICES = {"--sheet": excel.SUFFIXES, "--variable": (".npz", *hdf5.SUFFIXES, *matlab.SUFFIXES)}


def read_table(
    path: Path,
    *,
    mask: Path | None = None,
    text: TextOptions | None = None,
    selection: Selection | None = None,
    sheet: str | None = None,
    variable: str | None = None,
) -> Table:
    """Read a matrix with missing entries and check that it can be completed; the suffix names the
    file type.

    ``sheet`` of an Excel workbook, ``variable`` of a file of arrays: which of several is meant.
    """
    table = _read(path, text, selection, sheet=sheet, variable=variable)
    if table.values.size == 0 and table.carried:
        raise InputError(
            f"INPUT: '{path}' has no column of numbers or categories; it has "
            f"{', '.join(table.carried[:5])}."
        )
    if table.values.size == 0:
        raise InputError(
            f"INPUT: '{path}' is empty; give a matrix with at least one row and one column."
        )
    if mask is not None:
        table.hide(read_mask(mask, table))
    if text is not None and text.missing and file_type(path) not in _TEXT:
        table.hide(_marked(table, text.missing))
    infinite = np.argwhere(np.isinf(table.values))
    if len(infinite):
        row, column = infinite[0]
        raise InputError(
            f"INPUT: '{path}' has {len(infinite)} infinite "
            f"entr{'y' if len(infinite) == 1 else 'ies'}, "
            f"the first at {table.place(row, column)}; replace them by numbers or by NaN for "
            "missing."
        )
    unknown = np.isnan(table.values)
    if unknown.all():
        raise InputError(
            f"INPUT: '{path}' has no observed entry; there is nothing to learn from, give some "
            "numbers."
        )
    likely = likely_markers(table.values, table.features) if table.kind == "table" else []
    if not unknown.any():
        raise InputError(
            f"INPUT: '{path}' has no missing entry; name its markers with --missing, or mark "
            f"entries with --mask{_hint(table, likely)}."
        )
    table.notes = (*table.notes, *likely)
    return table


def _hint(table: Table, likely: list[str]) -> str:
    """What a table without missing entries may be, for the message about it."""
    if likely:
        return "; " + "; ".join(likely)
    empty = [phrase.removesuffix(" (empty)") for phrase in table.carried if "(empty)" in phrase]
    if empty:
        return f"; {', '.join(empty[:5])} without any entry is carried through, unless in --columns"
    values = table.values
    repeated = [len(np.unique(x)) < len(x) and bool((x == np.rint(x)).all()) for x in values.T[:2]]
    if table.kind == "table" and 2 < values.shape[1] < 6 and len(values) > 9 and all(repeated):
        return "; lists of entries (one line per rating or measurement) are for deeplinear ratings"
    return ""


def _marked(table: Table, missing: tuple[str, ...]) -> np.ndarray:
    """Where a number, not the code of a category, is one of the markers of missing entries."""
    numeric = [feature.kind is not FeatureKind.category for feature in table.features]
    return np.isin(table.values, list(Markers(missing).numbers)) & np.array(numeric)


def read_mask(path: Path, table: Table) -> np.ndarray:
    """Read a mask for ``table`` from any file type: non-zero (white, in an image) means missing."""
    _exists(path, "--mask")
    suffix = file_type(path)
    kind = "image" if suffix in _IMAGE else "text" if suffix in _TEXT else "table"
    return masks.read_mask(path, table, _read, kind)


def _read(
    path: Path,
    text: TextOptions | None = None,
    selection: Selection | None = None,
    *,
    sheet: str | None = None,
    variable: str | None = None,
) -> Table:
    _exists(path, "INPUT")
    suffix = file_type(path)
    for option, value in (("--sheet", sheet), ("--variable", variable)):
        if value is not None and suffix not in _CHOICES[option]:
            raise InputError(
                f"{option}: it chooses in files of the types {', '.join(_CHOICES[option])}; leave "
                f"it out for '{path}'."
            )
    if suffix in _TEXT or not suffix:
        return read_text(path, text, selection)
    text, selection = text or TextOptions(), selection or Selection()
    _check_options(path, suffix, text, selection)
    if suffix in excel.SUFFIXES:
        return read_excel(path, text, selection, sheet=sheet)
    if suffix in frames.SUFFIXES:
        return read_frame(path, text.missing, selection)
    if suffix in arrays.SUFFIXES:
        return read_array(path, variable=variable)
    if suffix in matlab.SUFFIXES:
        return read_matlab(path, variable=variable)
    if suffix in hdf5.SUFFIXES:
        return read_hdf5(path, variable=variable)
    if suffix in _IMAGE:
        return read_image(path)
    raise _unknown(path, suffix)


def _check_options(path: Path, suffix: str, text: TextOptions, selection: Selection) -> None:
    """`InputError` for an option that means nothing in files of this type: none is ignored."""
    allowed = set() if suffix in _IMAGE else {"--missing"}
    if suffix in excel.SUFFIXES:
        allowed |= {"--header", "--labels", "--decimal", "--thousands"}
        allowed |= {"--present", "--notes", "--skip-lines"}
    for option in text.given():
        if option not in allowed:
            raise InputError(f"{option}: it means nothing for '{path}', which is no text file.")
    if suffix not in (*excel.SUFFIXES, *frames.SUFFIXES) and selection != Selection():
        raise InputError(
            f"--columns, --keep, --drop, --categorical: '{path}' is a plain matrix without "
            "columns of several kinds; leave them out."
        )


def _unknown(path: Path, suffix: str) -> InputError:
    """What can be read, and which extra reads more."""
    known = [*_TEXT, *arrays.SUFFIXES, *matlab.SUFFIXES, *_IMAGE]
    more = []
    for package, suffixes in _OPTIONAL.items():
        if find_spec(package) is not None:
            known += suffixes
        else:
            more.append(f"{', '.join(suffixes)} after pip install 'deeplinear[{EXTRAS[package]}]'")
    fix = "save it as .xlsx, or give" if suffix in (".xls", ".xlsb", ".ods") else "give"
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            fix = "its content is Parquet: let its name end in .parquet, or give"
    return InputError(
        f"INPUT: '{path}' is of the unknown type '{suffix}'; {fix} one of {', '.join(known)}"
        f"{', or ' if more else ''}{', or '.join(more)}."
    )


def _exists(path: Path, argument: str) -> None:
    if not os.path.exists(path):  # also False for a name that no file can have
        raise InputError(f"{argument}: '{path}' does not exist; check the name.")
    if path.is_dir():
        raise InputError(f"{argument}: '{path}' is a folder; give a file.")
    if path.is_char_device() or path.is_block_device():
        raise InputError(f"{argument}: '{path}' is a device; give a file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{argument}: '{path}' may not be read; change its permissions.")
