"""The optional packages: which extra brings each, and one sentence where it is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from .errors import MissingPackageError

#: The extra of deeplinear that brings a package.
EXTRAS = {
    "jax": "lab",
    "jaxtyping": "lab",
    "equinox": "lab",
    "diffrax": "lab",
    "lineax": "lab",
    "optimistix": "lab",
    "optax": "lab",
    "numba": "fast",
    "llvmlite": "fast",
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
    """Around imports: `MissingPackageError` that says which extra brings what ``what`` needs.

    Other imports that fail do so as ever.

    >>> with needed_by("loops"):
    ...     raise ModuleNotFoundError("No module named 'numba'", name="numba.core")
    Traceback (most recent call last):
    deeplinear.errors.MissingPackageError: loops need numba; run: pip install 'deeplinear[fast]'.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise MissingPackageError(
            f"{what} need {package}; run: pip install 'deeplinear[{EXTRAS[package]}]'."
        ) from None


def installed(package: str) -> bool:
    """Whether ``package`` could be imported; it is not.

    >>> installed("numpy"), installed("no_such_package")
    (True, False)
    """
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False
