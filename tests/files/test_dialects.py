"""Tables in random dialects, layouts and markers: read right, or refused, never something else."""

import csv
import io

import numpy as np
import pytest
from table_dialects import random_table

from deeplinear.errors import InputError
from deeplinear.files import TextOptions, read_table


def records(text, written):
    """The cells of a file's records by the csv module, an implementation of its own."""
    lines = text.removeprefix("\ufeff").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith(("# ", "sep="))]
    stream = io.StringIO("\n".join(lines))
    return list(csv.reader(stream, delimiter=written.separator, skipinitialspace=True))


def same(table, written):
    return (
        table.values.shape == written.values.shape
        and np.array_equal(table.values, written.values, equal_nan=True)
        and (not written.header or [f.name for f in table.features] == written.names)
    )


@pytest.mark.parametrize("block", range(8))
def test_every_dialect_is_read_right_or_refused(tmp_path, block):
    """A layout that nothing tells for sure may be read otherwise, if a line says how to mend it."""
    path = tmp_path / "t.csv"
    right = 0
    for seed in range(60 * block, 60 * (block + 1)):
        written = random_table(np.random.default_rng(seed))
        path.write_text(written.text, newline="", encoding="utf-8")
        table = read_table(path, text=TextOptions(missing=written.missing))
        if not same(table, written):
            assert any("header" in note for note in table.notes), (seed, written.traits)
            option = {"--header" in note: note for note in table.notes}
            again = TextOptions(missing=written.missing, header=True in option)
            table = read_table(path, text=again)
            assert same(table, written), (seed, written.traits)
            continue
        right += 1
        check_output(table, written, seed)
    assert right >= 58


def check_output(table, written, seed):
    """Only the missing cells change, and they hold what was filled in."""
    whole = np.array([feature.kind == "integer" for feature in table.features])
    filled = np.where(whole, 7.0, 7.25) * np.ones(table.values.shape)
    after = table.encode(filled, ".csv").decode()
    found = records(after, written)
    assert len(found) == len(written.cells), (seed, written.traits)
    missing = np.isnan(written.values)
    for i, (row, old) in enumerate(zip(found, written.cells, strict=True)):
        line = i - written.header
        for k, (cell, before) in enumerate(zip(row, old, strict=True)):
            column = written.numeric.index(k) if k in written.numeric else None
            if line >= 0 and column is not None and missing[line, column]:
                assert float(cell.replace(",", ".")) == filled[line, column], (seed, i, k)
            else:
                assert cell.strip() == before.strip(), (seed, i, k)
    # what surrounds the cells is left as it was
    assert after.count("\r\n") == written.text.count("\r\n")
    assert after.startswith("\ufeff") == written.text.startswith("\ufeff")
    assert [x for x in after.splitlines() if x.startswith("# ")] == [
        x for x in written.text.splitlines() if x.startswith("# ")
    ]


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_named_with_its_line(tmp_path, seed):
    """One cell of a column of numbers becomes a typing error: refused, with its line."""
    rng = np.random.default_rng(10_000 + seed)
    written = random_table(rng)
    target = int(rng.integers(2, len(written.cells)))
    column = int(rng.choice(written.numeric))
    old = written.cells[target][column]
    lines = written.text.split("\n")
    at = [
        k
        for k, x in enumerate(lines)
        if x.strip() and not x.lstrip("\ufeff").startswith(("# ", "sep="))
    ]
    line = at[target]
    row = records(lines[line], written)[0]
    if not old.strip() or sum(cell == old for cell in row) > 1 or lines[line].count(old) != 1:
        pytest.skip("the cell cannot be told from its neighbours")
    lines[line] = lines[line].replace(old, "7.x5")
    path = tmp_path / "t.csv"
    path.write_text("\n".join(lines), newline="", encoding="utf-8")
    with pytest.raises(InputError, match=rf"line {line + 1}: '7\.x5' .*--missing '7\.x5'"):
        read_table(path, text=TextOptions(missing=written.missing))
