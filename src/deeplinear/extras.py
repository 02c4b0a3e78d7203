"""The optional packages: which extra brings each, and one sentence where it is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import InputError

#: The extra of deeplinear that brings a package.
EXTRAS = {
    "pandas": "frames",
    "polars": "frames",
    "pyarrow": "frames",
    "openpyxl": "excel",
    "h5py": "hdf5",
    "dask": "experiments",
    "distributed": "experiments",
    "xarray": "experiments",
    "zarr": "experiments",
    "panel": "explorer",
    "bokeh": "explorer",
}


@contextmanager
def needed_by(what: str) -> Iterator[None]:
    """Around imports: `InputError` that says ``what`` needs a package and which extra brings it.

    Other imports that fail do so as ever.

    >>> with needed_by("experiments"):
    ...     raise ModuleNotFoundError("No module named 'zarr'", name="zarr.storage")
    Traceback (most recent call last):
    deeplinear.errors.InputError: experiments need zarr; run: pip install 'deeplinear[experiments]'.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise InputError(
            f"{what} need {package}; run: pip install 'deeplinear[{EXTRAS[package]}]'."
        ) from None
