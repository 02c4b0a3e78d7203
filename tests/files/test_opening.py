"""Compressed files and encodings: read as what they hold, written back as they were."""

import bz2
import gzip
import io
import lzma
import zipfile

import numpy as np
import pytest
from table_files import file

from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table
from deeplinear.files.opening import file_type, open_text

TEXT = "name;x;y\nMüller;1,5;\nŻak;;2\nàb;3;4\n"
FILLED = "name;x;y\nMüller;1,5;9\nŻak;9;2\nàb;3;4\n"


def archive(name, data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(name, data)
        made.writestr("__MACOSX/._" + name, b"")
    return buffer.getvalue()


PACKED = {
    "t.csv.gz": gzip.compress,
    "t.csv.bz2": bz2.compress,
    "t.csv.xz": lzma.compress,
    "t.zip": lambda data: archive("t.csv", data),
}


@pytest.mark.parametrize("name", PACKED)
def test_compressed_tables_come_back_compressed(tmp_path, name):
    path = file(tmp_path, name, PACKED[name](TEXT.encode()))
    assert file_type(path) == ".csv"
    table = read_table(path)
    out = tmp_path / ("out." + name.split(".", 1)[1] if "csv" in name else "out.csv.zip")
    out.write_bytes(table.pack(table.encode(np.full((3, 2), 9.0), ".csv"), out))
    with open_text(out) as found:
        assert found.read() == FILLED


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("cut", [3, 30, 60])
def test_damaged_archives_are_one_sentence(tmp_path, name, cut):
    data = PACKED[name](TEXT.encode())
    with pytest.raises(InputError, match=r"cannot be unpacked|quotation|is empty|no missing"):
        read_table(file(tmp_path, name, data[: len(data) * cut // 100]))


def test_an_archive_of_two_files_is_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("a.csv", "x")
        made.writestr("b.csv", "y")
    with pytest.raises(InputError, match=r"holds 2 files \('a.csv', 'b.csv'\); unpack it"):
        read_table(file(tmp_path, "t.zip", buffer.getvalue()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_comes_back_in_its_encoding(tmp_path, encoding):
    path = file(tmp_path, "t.csv", TEXT.encode(encoding))
    table = read_table(path)
    np.testing.assert_array_equal(table.values, [[1.5, np.nan], [np.nan, 2], [3, 4]])
    assert table.encode(np.full((3, 2), 9.0), ".csv") == FILLED.encode(encoding)


def test_other_encodings_are_named(tmp_path):
    text = "n;x\nMüller;1\nÖz;\nß;3\n"
    path = file(tmp_path, "t.csv", text.encode("cp1252"))
    table = read_table(path, text=TextOptions(encoding="cp1252"))
    assert table.encode(np.full((3, 1), 2.0), ".csv") == text.replace("Öz;", "Öz;2").encode(
        "cp1252"
    )
    with pytest.raises(InputError, match=r"--encoding: .* is not utf-8 text"):
        read_table(path, text=TextOptions(encoding="utf-8"))
    with pytest.raises(InputError, match="--encoding: 'klingon' is no known encoding"):
        TextOptions(encoding="klingon")
