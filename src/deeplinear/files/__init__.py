"""Files in, files of the same kind out: tables, arrays, data frames and images."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..completion.data.features import FeatureKind
from ..errors import InputError
from . import arrays, excel, frames, hdf5, matlab
from .arrays import read_array
from .excel import read_excel
from .frames import read_frame
from .hdf5 import read_hdf5
from .images import read_image, read_image_mask
from .matlab import read_matlab
from .numbers import is_number, parse_number
from .table import Table, check_free, check_output
from .text import MISSING, read_text

__all__ = ["MISSING", "Table", "check_free", "check_output", "read_mask", "read_table"]

_IMAGE = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
_TEXT = (".csv", ".tsv", ".txt")
#: File types that need an optional package, with its extra.
_OPTIONAL = {
    "frames": ("pyarrow", frames.SUFFIXES),
    "excel": ("openpyxl", excel.SUFFIXES),
    "hdf5": ("h5py", hdf5.SUFFIXES),
}
#: File types that hold several tables, of which these options name one.
_CHOICES = {"--sheet": excel.SUFFIXES, "--variable": (".npz", *hdf5.SUFFIXES, *matlab.SUFFIXES)}


def read_table(
    path: Path,
    *,
    mask: Path | None = None,
    missing: frozenset[str] = frozenset(),
    header: bool | None = None,
    labels: bool | None = None,
    sheet: str | None = None,
    variable: str | None = None,
) -> Table:
    """Read a matrix with missing entries and check that it can be completed; the suffix names the
    file type.

    ``sheet`` of an Excel workbook, ``variable`` of a file of arrays: which of several is meant.
    """
    table = _read(
        path, missing=missing, header=header, labels=labels, sheet=sheet, variable=variable
    )
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
    if missing and table.kind == "table":
        table.hide(_marked(table, missing))
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
    if not unknown.any():
        raise InputError(
            f"INPUT: '{path}' has no missing entry; name its markers with --missing, or mark "
            "entries with --mask."
        )
    return table


def _marked(table: Table, missing: frozenset[str]) -> np.ndarray:
    """Where a number, not the code of a category, is one of the markers of missing entries."""
    numbers = [parse_number(text) for text in missing if is_number(text)]
    numeric = [feature.kind is not FeatureKind.category for feature in table.features]
    return np.isin(table.values, numbers) & np.array(numeric)


def read_mask(path: Path, table: Table) -> np.ndarray:
    """Read a mask for ``table`` from any file type: non-zero (white, in an image) means missing."""
    if path.suffix.lower() in _IMAGE:
        _exists(path, "--mask")
        mask = read_image_mask(path)
    else:
        try:
            mask = _flags(path, _read(path))
        except InputError as error:
            raise InputError(str(error).replace("INPUT", "--mask", 1)) from None
    if table.unfitted and mask.shape[1] == table.mask_shape[1] + len(table.unfitted):
        mask = np.delete(mask, table.unfitted, axis=1)
    if mask.shape != table.mask_shape:
        raise InputError(
            f"--mask: '{path}' is {_size(mask.shape)} where the input is "
            f"{_size(table.mask_shape)}; "
            "give a mask of the same shape."
        )
    return mask


def _flags(path: Path, mask: Table) -> np.ndarray:
    for feature in mask.features:
        if feature.categories not in ((), (False, True)):
            raise InputError(
                f"INPUT: '{path}' has text in column '{feature.name}'; give numbers or booleans."
            )
    return np.nan_to_num(mask.values, nan=0.0) != 0


def _read(
    path: Path,
    *,
    missing: frozenset[str] = frozenset(),
    header: bool | None = None,
    labels: bool | None = None,
    sheet: str | None = None,
    variable: str | None = None,
) -> Table:
    _exists(path, "INPUT")
    suffix = path.suffix.lower()
    for option, value in (("--sheet", sheet), ("--variable", variable)):
        if value is not None and suffix not in _CHOICES[option]:
            raise InputError(
                f"{option}: it chooses in files of the types {', '.join(_CHOICES[option])}; leave "
                f"it out for '{path}'."
            )
    if suffix in _TEXT:
        return read_text(path, missing=missing, header=header, labels=labels)
    if suffix in arrays.SUFFIXES:
        return read_array(path, variable=variable)
    if suffix in frames.SUFFIXES:
        return read_frame(path, missing=missing)
    if suffix in excel.SUFFIXES:
        return read_excel(path, missing=missing, header=header, labels=labels, sheet=sheet)
    if suffix in matlab.SUFFIXES:
        return read_matlab(path, variable=variable)
    if suffix in hdf5.SUFFIXES:
        return read_hdf5(path, variable=variable)
    if suffix in _IMAGE:
        return read_image(path)
    raise _unknown(path, suffix)


def _unknown(path: Path, suffix: str) -> InputError:
    """What can be read, and which extra reads more."""
    known = [*_TEXT, *arrays.SUFFIXES, *matlab.SUFFIXES, *_IMAGE]
    more = []
    for extra, (module, suffixes) in _OPTIONAL.items():
        if find_spec(module) is not None:
            known += suffixes
        else:
            more.append(f"{', '.join(suffixes)} after pip install 'deeplinear[{extra}]'")
    fix = "save it as .xlsx, or give" if suffix in (".xls", ".xlsb", ".ods") else "give"
    return InputError(
        f"INPUT: '{path}' is of the unknown type '{suffix}'; {fix} one of {', '.join(known)}"
        f"{', or ' if more else ''}{', or '.join(more)}."
    )


def _exists(path: Path, argument: str) -> None:
    if not path.exists():
        raise InputError(f"{argument}: '{path}' does not exist; check the name.")
    if path.is_dir():
        raise InputError(f"{argument}: '{path}' is a folder; give a file.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{argument}: '{path}' may not be read; change its permissions.")


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
