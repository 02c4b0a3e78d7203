"""What the page shows and saves of a table is what the command writes; hostile files get one
sentence.
"""

import contextlib
import io
import math
import os
import zipfile
from functools import partial

import numpy as np
import pytest
from command_line import run
from damaged_files import FORMATS, damages

import deeplinear as dl
from deeplinear.errors import InputError
from deeplinear.explorer.jobs import sentence
from deeplinear.explorer.sheets import ROWS
from deeplinear.explorer.table_tasks import Request, complete, understand
from deeplinear.files import read_table

SCRIPT = "<script>alert(1)</script>"
QUIET = lambda part, said: None  # noqa: E731


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table_text(rng, m=40, n=5, names=None):
    X = np.outer(rng.normal(size=m), rng.normal(size=n)) + 0.1 * rng.normal(size=(m, n))
    hole = rng.random((m, n)) < 0.2
    lines = [",".join(names or [f"x{j}" for j in range(n)])]
    for i in range(m):
        lines.append(",".join("" if hole[i, j] else f"{X[i, j]:.4f}" for j in range(n)))
    return "\n".join(lines) + "\n"


@pytest.fixture
def asked(tmp_path, rng):
    path = written(tmp_path, "some table.csv", table_text(rng))
    folder = tmp_path / "visitor"
    folder.mkdir()
    return Request("", path, folder, depths=(2.0, math.inf), missing=("-999",), keep=("x4",))


def test_the_command_that_is_printed_writes_what_is_saved(asked, monkeypatch):
    found = complete(QUIET, asked)
    monkeypatch.chdir(asked.path.parent)
    import shlex

    program, *words = shlex.split(found.command)
    assert program == "deeplinear"
    assert run(*words).exit_code == 0
    output = asked.path.parent / words[words.index("-o") + 1]
    assert output.read_bytes() == found.files["completed data"].read_bytes()


@pytest.mark.parametrize("method", ["explicit", pytest.param("implicit", marks=pytest.mark.slow)])
def test_the_lines_of_python_do_the_same(asked, monkeypatch, method):
    import dataclasses

    found = complete(QUIET, dataclasses.replace(asked, method=method, seed=3))
    monkeypatch.chdir(asked.path.parent)
    names = {}
    exec(found.python, names)
    assert names["output"].read_bytes() == found.files["completed data"].read_bytes()


def test_what_is_drawn_is_what_was_computed(asked):
    found = complete(QUIET, asked)
    table = read_table(asked.path, selection=None)
    X = table.values[:, :4]
    assert found.frame.missing.tolist() == np.isnan(X)[:ROWS].tolist()
    imputer = dl.DeepLinearImputer(2.0, random_state=0, row_order=True).fit(X)
    low, high = imputer.interval(X)
    i, j = np.argwhere(np.isnan(X))[3]
    assert found.sheets[1].words[i][j].endswith(f"(90 %: {low[i, j]:.5g} to {high[i, j]:.5g})")
    i, j = np.argwhere(~np.isnan(X))[7]
    assert found.sheets[1].words[i][j] == f"{X[i, j]:.5g}, as given"
    assert list(found.spectra) == ["depth 2", "depth ∞"]
    np.testing.assert_allclose(found.spectra["depth 2"], imputer.singular_values_)
    strengths = sorted(t.strength for t in imputer.trials_ if t.strength)
    np.testing.assert_allclose(found.trials["depth 2"][0], strengths)


def test_bundled_tables_are_understood(tmp_path):
    sea = understand(QUIET, Request("sea", tmp_path, tmp_path))
    assert "61 × 12 matrix" in sea.lines[0]
    iris = understand(QUIET, Request("iris", tmp_path, tmp_path))
    assert any("carried through: 'label'" in line for line in iris.lines)
    assert any("'species' (3)" in line for line in iris.lines)
    photograph = understand(QUIET, Request("photograph", tmp_path, tmp_path))
    assert photograph.frame.is_image
    assert 0.55 < photograph.frame.missing.mean() < 0.65


def test_labels_are_escaped_everywhere(tmp_path, rng):
    names = [SCRIPT, '"><img src=x onerror=alert(1)>', "a&b", "c", "d"]
    text = table_text(rng, names=['"' + n.replace('"', '""') + '"' for n in names])
    path = written(tmp_path, "table.csv", text)
    folder = tmp_path / "visitor"
    folder.mkdir()
    asked = Request("", path, folder, depths=(2.0,))
    preview, found = understand(QUIET, asked), complete(QUIET, asked)
    report = found.files["report"].read_text()
    for shown in (preview.head, *found.texts.values(), report):
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
    assert "&lt;script&gt;" in preview.head


def bomb(name, size):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"1," * (size // 2))
    return out.getvalue()


def npy(header):
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def pickled():
    class Evil:
        def __reduce__(self):
            return os.system, ("touch /tmp/should-not-be-there",)

    out = io.BytesIO()
    np.save(out, np.array([Evil(), None], dtype=object), allow_pickle=True)
    return out.getvalue()


HOSTILE = {
    "shape.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (100000, 10000000), }"),
    "negative.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 5), }"),
    "pickled.npy": pickled(),
    "bomb.csv.zip": partial(bomb, "a.csv", 2**29),
    "bomb.xlsx": partial(bomb, "xl/worksheets/sheet1.xml", 2**29),
    "bomb.npz": partial(bomb, "a.npy", 2**29),
    "nan.csv": "a,b\nNaN,NaN\nNaN,NaN\n",
    "words.csv": "some words\nand no number,\n",
    "binary.csv": bytes(range(256)) * 20,
    "fake.png": b"\x89PNG\r\n\x1a\n" + b"x" * 300,
    "fake.parquet": b"PAR1" + b"x" * 300 + b"PAR1",
    "fake.xlsx": b"PK\x03\x04" + b"x" * 300,
    "program.exe": b"MZ" + b"x" * 300,
    "long.csv": "a," * 5_000 + "\n",
    "infinite.csv": "a,b\n1,inf\n,2\n3,4\n",
    "complete.csv": "a,b\n1,2\n3,4\n5,6\n",
    "heading.csv": "a\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_sentence(tmp_path, name):
    data = HOSTILE[name]
    path = written(tmp_path, name, data() if callable(data) else data)
    with pytest.raises(InputError) as caught:
        understand(QUIET, Request("", path, tmp_path))
    said = sentence(caught.value)
    assert str(tmp_path) not in said
    assert "\n" not in said
    assert len(said) < 400
    assert not os.path.exists("/tmp/should-not-be-there")


@pytest.mark.parametrize("kind", ["npy", "parquet", "excel", "png"])
def test_a_damaged_file_is_read_or_gets_one_sentence(tmp_path, kind):
    name, write = FORMATS[kind]
    whole = tmp_path / name
    write(whole)
    for data in damages(whole.read_bytes(), np.random.default_rng(0), 12):
        path = written(tmp_path, f"damaged-{name}", data)
        with contextlib.suppress(InputError):
            understand(QUIET, Request("", path, tmp_path))
