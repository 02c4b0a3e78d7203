"""Small files of every format that is not text, and damaged copies of them, for tests."""

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy.io
import scipy.sparse as sp
from PIL import Image

MATRIX = np.array([[1.5, np.nan, 3.0], [4.0, 5.0, 6.5], [7.0, 8.0, np.nan], [1.0, 0.5, 2.0]])


def _npy(path: Path) -> None:
    np.save(path, MATRIX)


def _npz(path: Path) -> None:
    np.savez_compressed(path, X=MATRIX, names=np.array(["a", "b"]))


def _frame():
    import pyarrow as pa

    columns = {f"x{j}": pa.array(MATRIX[:, j], from_pandas=True) for j in range(3)}
    labels = pa.array(["u", "v", "u", None]).dictionary_encode()
    return pa.table({**columns, "c": labels, "text": ["a", "b", "c", "d"], "n": [1, None, 3, 4]})


def _parquet(path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(_frame(), path)


def _feather(path: Path) -> None:
    import pyarrow.feather as feather

    feather.write_feather(_frame(), path)


def _stream(path: Path) -> None:
    import pyarrow as pa

    with pa.ipc.new_stream(path, _frame().schema) as writer:
        writer.write_table(_frame())


def _excel(path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["name", "x", "y", "z"])
    for k, row in enumerate(MATRIX):
        book.active.append([f"row {k}", *(None if np.isnan(x) else x for x in row)])
    book.save(path)


def _mat(path: Path) -> None:
    scipy.io.savemat(path, {"X": MATRIX, "note": "text", "n": 3, "s": {"a": [1, 2]}})


def _mat_compressed(path: Path) -> None:
    scipy.io.savemat(path, {"X": MATRIX, "s": {"a": [1, 2]}}, do_compression=True)


def _mat_hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        file["X"] = MATRIX.T
        file["X"].attrs["MATLAB_class"] = np.bytes_("double")
    data = path.read_bytes()
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(126) + b"IM" + data[128:])


def _hdf5(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("group/X", data=MATRIX, chunks=(2, 2), compression="gzip")
        file["names"] = ["a", "b"]


def anndata(path: Path, matrix: np.ndarray | sp.sparray = MATRIX) -> None:
    """As AnnData writes it, with a dense or sparse ``X`` and a dense layer."""
    import h5py

    with h5py.File(path, "w") as file:
        if sp.issparse(matrix):
            group = file.create_group("X")
            group.attrs["encoding-type"] = f"{matrix.format}_matrix"
            group.attrs["shape"] = matrix.shape
            for key in ("data", "indices", "indptr"):
                group[key] = getattr(matrix, key)
        else:
            file["X"] = matrix
            file["X"].attrs["encoding-type"] = "array"
        file["layers/counts"] = MATRIX.astype("f4")
        for axis, letter, count in (("obs", "cell", 4), ("var", "gene", 3)):
            file[f"{axis}/_index"] = [f"{letter}{k}" for k in range(count)]
            file[axis].attrs["_index"] = "_index"


def _anndata_sparse(path: Path) -> None:
    anndata(path, sp.csr_array(MATRIX))


def _image(path: Path) -> None:
    alpha = np.where(np.isnan(MATRIX), 0, 255)
    pixels = np.stack([np.nan_to_num(MATRIX) * 20, alpha], axis=2)
    Image.fromarray(np.kron(pixels, np.ones((5, 5, 1))).astype(np.uint8)).save(path)


def _float_image(path: Path) -> None:
    Image.fromarray(MATRIX.astype("f4")).save(path)


#: Each with its file name and what writes it.
FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "npy": ("a.npy", _npy),
    "npz": ("a.npz", _npz),
    "parquet": ("a.parquet", _parquet),
    "feather": ("a.feather", _feather),
    "arrow stream": ("a.arrow", _stream),
    "excel": ("a.xlsx", _excel),
    "mat": ("a.mat", _mat),
    "mat compressed": ("a.mat", _mat_compressed),
    "mat 7.3": ("a.mat", _mat_hdf5),
    "hdf5": ("a.h5", _hdf5),
    "anndata": ("a.h5ad", anndata),
    "anndata sparse": ("a.h5ad", _anndata_sparse),
    "png": ("a.png", _image),
    "tiff": ("a.tif", _float_image),
}


def sparse_archive(path: Path, matrix_format: str = "csr") -> None:
    """As `scipy.sparse.save_npz` writes it."""
    sp.save_npz(path, sp.coo_array(np.nan_to_num(MATRIX)).asformat(matrix_format))


def damages(data: bytes, rng: np.random.Generator, count: int) -> Iterator[bytes]:
    """Damaged copies: nothing, another beginning, cut off, bytes changed, doubled or left out.

    Archives are also damaged inside of their members, behind the check sums.
    """
    yield from (b"", b"\0", b"PK\x03\x04", b"no such format" + data[14:], data + data, data[::-1])
    for k in range(count):
        if k % 2 and data.startswith(b"PK"):
            yield _repacked(data, rng)
        else:
            yield _damaged(data, rng)


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    place = int(rng.integers(len(data)))
    kind = rng.integers(4)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + rng.bytes(8) + data[place:]
    if kind == 2:
        return data[:place] + data[place + 1 + int(rng.integers(64)) :]
    changed = bytearray(data)
    for spot in rng.integers(len(data), size=rng.integers(1, 9)):
        changed[spot] = rng.integers(256)
    return bytes(changed)


def _repacked(data: bytes, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        members = old.infolist()
        hit = members[int(rng.integers(len(members)))]
        for info in members:
            content = old.read(info)
            if info is hit and content:
                content = _damaged(content, rng)
            new.writestr(info.filename, content)
    return buffer.getvalue()
