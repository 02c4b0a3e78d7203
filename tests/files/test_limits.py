"""Small files that would become gigabytes are refused before they do."""

import bz2
import gzip
import io
import lzma
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from deeplinear.errors import InputError
from deeplinear.files import read_table
from deeplinear.files.long import read_long


def zipped(data, name="a.csv"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def header(shape):
    buffer = io.BytesIO()
    content = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, content)
    return buffer.getvalue()


def image(mode, size):
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def hdf5():
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("X", (20_000, 20_000), "f8", chunks=(1000, 1000), fillvalue=np.nan)
    return buffer.getvalue()


def parquet():
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": pa.nulls(2 * 10**7, pa.int8())}), buffer)
    return buffer.getvalue()


COORDINATES = b"%%MatrixMarket matrix coordinate real general\n3 3 10000000000\n1 1 5\n"
ARRAY = b"%%MatrixMarket matrix array real general\n100000 100000\n1\n"
BOMBS = {
    "a.csv.gz": lambda: gzip.compress(b",,\n" * 2 * 10**6),
    "a.csv.bz2": lambda: bz2.compress(b"1,\n" * 2 * 10**6),
    "a.csv.xz": lambda: lzma.compress(b"\n" * 5 * 10**6),
    "a.csv.zip": lambda: zipped(b"," * 5 * 10**6),
    "a.npy": lambda: header((10**5, 10**5)),
    "b.npy": lambda: header((-1, 3)),
    "c.npy": lambda: header((2**40, 2**40)),
    "a.npz": lambda: zipped(header((30_000, 30_000)), "X.npy"),
    "a.png": lambda: image("1", (9000, 9000)),
    "a.mtx": lambda: COORDINATES,
    "b.mtx": lambda: ARRAY,
    "a.mtx.gz": lambda: gzip.compress(ARRAY),
    "a.h5": hdf5,
    "a.parquet": parquet,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < 100_000
    for read in (read_table, read_long) if path.suffix != ".mtx" else (read_long,):
        if read is read_long and path.suffix in (".png", ".h5", ".npy", ".npz"):
            continue
        tracemalloc.start()
        try:
            with pytest.raises(InputError, match=r"^[^\n]*$"):
                read(path)
            assert tracemalloc.get_traced_memory()[1] < 2e8
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zip"])
def test_what_compresses_well_is_read(tmp_path, suffix):
    """0.5 MB of zeros and gaps, which compress by a factor of hundreds."""
    data = b"a,b,c\n" + b"0,,0\n" * 100_000 + b",1,2\n"
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zip": zipped}
    path = tmp_path / f"a.csv{suffix}"
    path.write_bytes(pack[suffix](data))
    assert len(data) > 100 * path.stat().st_size
    assert read_table(path).values.shape == (100_001, 3)


def test_other_formats_of_images_are_not_opened(tmp_path):
    """Pillow would run another program for PostScript."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(InputError, match="cannot be read as an image"):
        read_table(tmp_path / "a.png")
