"""Standard input as a file whose type its first bytes tell."""

import bz2
import gzip
import io
import lzma
import sys
from pathlib import Path

import pandas as pd
import pytest
from long_files import ITEMS, TRUTH, USERS, VALUES, entries

from deeplinear.errors import InputError
from deeplinear.files.long import read_long
from deeplinear.files.spool import STANDARD, on_disk

TEXT = "".join(f"{u},{i},{x}\n" for u, i, x in zip(USERS, ITEMS, VALUES, strict=True)).encode()


def feed(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def parquet():
    frame = pd.DataFrame({"u": USERS, "i": ITEMS, "x": VALUES})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["text", "utf-16", "gz", "bz2", "xz", "parquet"])
def test_what_comes_is_read(monkeypatch, kind):
    data = {
        "text": TEXT,
        "utf-16": TEXT.decode().encode("utf-16"),
        "gz": gzip.compress(TEXT),
        "bz2": bz2.compress(TEXT),
        "xz": lzma.compress(TEXT),
        "parquet": parquet(),
    }[kind]
    feed(monkeypatch, data)
    with on_disk(STANDARD) as path:
        assert entries(read_long(path)) == TRUTH
    assert not path.exists()


def test_a_matrix(monkeypatch):
    feed(monkeypatch, b"%%MatrixMarket matrix coordinate real general\n2 2 1\n2 1 3.5\n")
    with on_disk(STANDARD) as path:
        assert entries(read_long(path)) == {(1, 0): 3.5}


def test_errors_speak_of_the_argument(monkeypatch):
    feed(monkeypatch, b"1,2,x\n1,3,4\n2,2,5\n")
    with (
        pytest.raises(InputError, match=r"^INPUT: '-', line 1: the value is 'x'"),
        on_disk(STANDARD) as path,
    ):
        read_long(path)


def test_other_files_stay_where_they_are(tmp_path):
    with on_disk(Path(tmp_path / "a.csv")) as path:
        assert path == tmp_path / "a.csv"
