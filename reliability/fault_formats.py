"""The formats that are read: a small file of each, and what its reader makes of it."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import damaged_files

#: Formats whose contents have check sums: a changed byte must not pass for data.
SUMMED = (
    "model",
    "table model",
    "checkpoint",
    "npz",
    "npz sparse",
    "excel",
    "csv.gz",
    "zarr store",
)
_TEXT = (
    "name,x,y,z\n" + "".join(f"row {k},{k}.5,{k * k},{-k}\n" for k in range(1, 20)) + "last,,3,1\n"
)


@dataclass(frozen=True)
class Format:
    """A file name; what writes such a file or folder; and what its reader finds, as bytes."""

    file: str
    write: Callable[[Path], object]
    read: Callable[[Path], bytes]


def digest(*parts: object) -> bytes:
    """A short name of arrays and texts."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode())
            part = part.tobytes() if part.dtype != object else repr(part.tolist())
        found.update(part if isinstance(part, bytes) else str(part).encode(errors="replace"))
    return found.digest()


def read_a_table(path: Path) -> bytes:
    from deeplinear.files import read_table

    table = read_table(path)
    table.encode(np.zeros(table.values.shape), path.suffix)
    return digest(table.values, getattr(table, "features", ""))


def read_a_list(path: Path) -> bytes:
    from deeplinear.files.long import read_long

    found = read_long(path)
    return digest(found.rows, found.cols, found.values, found.row_ids.lines, found.col_ids.lines)


def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from deeplinear.datasets import make_ratings

    return make_ratings(40, 30, 400, seed=1).triples


def fitted(seed: int = 0, **options: object):
    """A small model of ratings."""
    from deeplinear import DeepMatrixCompletion

    given = {"depth": 2, "strength": 0.3, "max_rank": 3, "random_state": seed, "threads": 1}
    return DeepMatrixCompletion(**given | options).fit(ratings())


def fitted_table(seed: int = 0):
    """A small model of a table with categories."""
    from deeplinear import DeepLinearImputer

    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(30, 4)), 2).astype(object)
    X[:, 3] = rng.choice(["red", "green", "blue"], 30)
    X[rng.random(X.shape) < 0.2] = np.nan
    options = {"depth": 2, "strength": 0.3, "random_state": 0, "threads": 1}
    return DeepLinearImputer(**options).fit(X), X


def read_a_model(path: Path) -> bytes:
    from deeplinear import DeepMatrixCompletion

    model = DeepMatrixCompletion.load(path)
    return digest(model.predict(*ratings()[:2]), model.interval(*ratings()[:2])[0])


def read_a_table_model(path: Path) -> bytes:
    from deeplinear import DeepLinearImputer

    return digest(DeepLinearImputer.load(path).transform(fitted_table()[1]))


class Stopped(BaseException):
    """In the middle of a fit."""


def begin_a_fit(path: Path) -> None:
    """The checkpoint of a fit that was stopped at its fourth state."""
    from deeplinear.completion.solver import checkpoint

    write, left = checkpoint.write_atomically, [4]

    def counted(place: Path, data: bytes) -> None:
        write(place, data)
        left[0] -= 1
        if not left[0]:
            raise Stopped

    checkpoint.SHARE, checkpoint.write_atomically = np.inf, counted
    try:
        fitted(strength=(0.5, 0.2), checkpoint=path)
    except Stopped:
        pass
    finally:
        checkpoint.write_atomically = write


def go_on_with_a_fit(path: Path) -> bytes:
    from deeplinear.completion.solver import checkpoint

    checkpoint.SHARE = 1e-9  # written once
    return digest(fitted(strength=(0.5, 0.2), checkpoint=path).predict(*ratings()[:2]))


def _sparse(path: Path) -> None:
    damaged_files.sparse_archive(path)


def _long_parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(dict(zip(("user", "item", "rating"), ratings(), strict=True))), path)


def _gz(path: Path) -> None:
    import gzip

    path.write_bytes(gzip.compress(_TEXT.encode()))


def _store(path: Path) -> None:
    import xarray as xr

    from deeplinear.results.schema import label
    from deeplinear.results.store import save_dataset

    about = {"units": "1", "description": "numbers"}
    values = np.arange(24.0).reshape(4, 6)
    ds = xr.Dataset({"value": (("row", "col"), values, about)}, {"row": np.arange(4)})
    save_dataset(label(ds, kind="experiment", name="faults", parameters="{}", seed=0), path)


def _read_store(path: Path) -> bytes:
    from deeplinear.results.store import load_dataset

    ds = load_dataset(path)
    return digest(*(ds[name].values for name in sorted(map(str, ds.variables))), sorted(ds.attrs))


def _sweep(path: Path) -> None:
    path.write_text(
        'task = "completion"\n[grid]\ndepth = [2, 3, inf]\nobserved = [20, 30]\n[fixed]\nsize = 8\n'
    )


def _read_sweep(path: Path) -> bytes:
    from deeplinear.sweeps.sweep import read_sweep

    return digest(read_sweep(path).parameters)


def _tables() -> Iterator[tuple[str, Format]]:
    for name, (file, write) in damaged_files.FORMATS.items():
        yield name, Format(file, write, read_a_table)


def formats() -> dict[str, Format]:
    """All of them, by name."""
    text = Format("a.csv", lambda path: path.write_text(_TEXT), read_a_table)
    return {
        "model": Format("a.dln", lambda path: fitted().save(path), read_a_model),
        "table model": Format("a.dln", lambda p: fitted_table()[0].save(p), read_a_table_model),
        "checkpoint": Format("a.check", begin_a_fit, go_on_with_a_fit),
        "npz sparse": Format("a.npz", _sparse, read_a_list),
        **dict(_tables()),
        "csv": text,
        "csv.gz": Format("a.csv.gz", _gz, read_a_table),
        "parquet list": Format("a.parquet", _long_parquet, read_a_list),
        "zarr store": Format("a.zarr", _store, _read_store),
        "sweep TOML": Format("a.toml", _sweep, _read_sweep),
    }
