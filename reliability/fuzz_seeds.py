"""Write the smallest good file of every format into the corpus of `fuzz`, as ``seed-…``.

    python -m reliability.fuzz_seeds

To be repeated when one of the library's own formats changes. Other files of the corpus are past
findings, and stay.
"""

import io
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from .fuzz import CORPUS
from .fuzz_readers import hidden_outer, readers, small_sweep, stop_early

TESTS = Path(__file__).parents[1] / "tests"

TABLES = {
    "plain": b"a,b,c\n1,2.5,\n,3,4e2\nNA,-1,0\n",
    "labels": b'id;"x;1";kind;day\nu1;1,5;"a ""b""";2020-01-02\nu2;;c;2021-03-04\nu3;2,5;c;\n',
    "blanks": b"# x y\n 1 2\n 3  NaN\n 5\t6 \n",
    "marks": b"\xef\xbb\xbfsep=;\r\nn;p\r\n1.234,5;10 %\r\n;20 %\r\n2.000,0;\r\n",
    "quotes": b'"a\nb",c\n"1",\n"2","3"\n',
    "wide": "naïve\t²\n1\t\n\t2\n".encode("utf-16"),
}
LISTS = {
    "plain": b"user,item,rating\n1,2,3.5\n2,1,4\n2,2,0\n",
    "blocks": b"1:\n7,3,2005-09-06\n8,5,2005-05-13\n2:\n7,4,2005-09-05\n",
    "films": b"1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978301968\n",
    "quotes": b'% c\n"a,b";"x\ny";"1,5"\nu;v;2,5\n',
    "blanks": b"\tA B\n0\t1 2.5\n1\t2 3.5\n",
}
SWEEPS = {
    "grid": b'task = "completion"\nchunk = 2\n[grid]\ndepth = [2, inf]\n'
    b"size = {range = [4, 8, 2]}\n"
    b"[[zip]]\nobserved = [8, 9]\nscale = [0.1, 1e-3]\n[fixed]\nrank = 1\nruns = 3\n",
    "tasks": b'task = "completion"\n[[tasks]]\ndepth = 2.0\nobserved = 9\n[[tasks]]\ndepth = 3\n'
    b"observed = 5\n[fixed]\nsize = 4\nmethod = 'auto'\n",
}
MASKS = {
    "flags": b"1,0,0\n0,0,1\n0,0,0\n0,1,0\n",
    "words": b"id,a,b,c\nu,true,no,f\nv,0,0,y\nw,1,0,0\nx,0,0,0\n",
}
MARKET = b"%%MatrixMarket matrix coordinate real general\n% c\n3 2 2\n1 1 5.0\n3 2 -1e3\n"
OPTIONS = {"bounds": b"x=1\n0\ny=z=none\n", "marks": b",.\n-999\nNA\n", "columns": b"2\na\n1\n"}


def seeds(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """(reader, name of the seed, bytes)."""
    sys.path.insert(0, str(TESTS))
    from damaged_files import FORMATS, sparse_archive

    texts = {"csv": TABLES, "long": LISTS, "sweep": SWEEPS, "mask": MASKS}
    texts |= {"options": OPTIONS, "market": {"plain": MARKET}}
    for reader, files in texts.items():
        yield from ((reader, name, data) for name, data in files.items())
    known = readers()
    for name, (file_name, write) in FORMATS.items():
        path = folder / file_name
        write(path)
        suits = [key for key, reader in known.items() if reader.suffix == path.suffix]
        reader = {".arrow": "feather", ".tif": "image", ".npz": "npz"}.get(path.suffix) or suits[0]
        yield reader, name.replace(" ", "-"), path.read_bytes()
    for form in ("csr", "bsr", "dia"):
        sparse_archive(folder / "s.npz", form)
        yield "npz", form, (folder / "s.npz").read_bytes()
    yield from _own(folder)


def _mixed() -> np.ndarray:
    """A small table of numbers and labels with gaps."""
    X = hidden_outer().astype(object)
    X[:, 1] = ["u", "v", None, "u", "w", "v"]
    X[:, 2] = [True, False, True, None, True, False]
    return X


def _own(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """The formats of the library."""
    import deeplinear as dl
    from deeplinear.sweeps.sweep import run_sweep

    X, path = hidden_outer(), folder / "model.dln"
    dl.DeepLinearImputer(2, strength=0.1, random_state=0, n_draws=0).fit(X).save(path)
    yield "model", "table", path.read_bytes()
    rows, cols = np.nonzero(~np.isnan(X))
    long = dl.DeepMatrixCompletion(2, strength=0.1, random_state=0, n_draws=0)
    long.fit((rows + 10, np.array(list("abcde"))[cols], X[rows, cols])).save(path)
    yield "model", "long", path.read_bytes()
    dl.DeepLinearImputer(2, strength=0.1, random_state=0).fit(_mixed()).save(path)
    yield "model", "mixed", path.read_bytes()
    drawn = dl.DeepMatrixCompletion(2, strength=0.1, random_state=0, n_draws=2, clip="range")
    ids = [date(2020, 1, 1 + row) for row in rows], [("t", int(col)) for col in cols]
    drawn.fit((*ids, X[rows, cols])).save(path)
    yield "model", "drawn", path.read_bytes()
    laws = np.random.default_rng(0).integers(0, 4, (12, 5)).astype(float)
    laws[np.arange(12), np.arange(12) % 5] = np.nan
    kinds = {0: "huber", 1: "ordinal", 2: "poisson"}
    dl.DeepLinearImputer(2, loss=kinds, strength=0.1, random_state=0).fit(laws).save(path)
    yield "model", "losses", path.read_bytes()
    featured = dl.DeepMatrixCompletion(2, strength=0.1, random_state=0)
    known_rows = np.array([[0.5 * k, "uv"[k % 2]] for k in range(len(X) + 2)], object)
    told = {"row_features": ([*range(10, 12 + len(X))], known_rows)}
    featured.fit((rows + 10, cols, X[rows, cols]), **told).save(path)
    yield "model", "featured", path.read_bytes()
    stop_early(folder / "c.npz")
    yield "checkpoint", "fit", (folder / "c.npz").read_bytes()
    run_sweep(small_sweep(), folder / "s.zarr", workers=0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.glob("s.zarr*/**/*")) + sorted(folder.glob("s.zarr.*")):
            if file.is_file():
                archive.writestr(zipfile.ZipInfo(str(file.relative_to(folder))), file.read_bytes())
    yield "store", "sweep", buffer.getvalue()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for reader, name, data in seeds(Path(folder)):
            path = CORPUS / reader / f"seed-{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{len(data):>8,}  {reader}/{path.name}")


if __name__ == "__main__":
    main()
