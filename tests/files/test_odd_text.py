"""Text that is no table, and tables that are odd: a result or one sentence, in linear work."""

import warnings

import numpy as np
import pytest

from deeplinear.errors import InputError
from deeplinear.files import TextOptions, dialect, long_lines, read_table, records
from deeplinear.files.long import column_names, read_long

HEADINGS = ["²", "٣", "½", "9" * 5000, "1." * 2000, "-1", "1e999", "12:", '"²"', "1_0", "% " * 90]
BODIES = ["1,2,3\n4,,6\n7,8,9\n", "a,2,3\na,,6\nb,8,9\n", "", "\n\n\n", ",,\n,,\n", "\n1,2,3\n"]


def refusal(way, path, **options):
    """What is said, nothing where the file is read."""
    try:
        way(path, **options)
    except InputError as error:
        return str(error)
    return ""


def read(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in (TextOptions(), TextOptions(header=True), TextOptions(decimal=",")):
            for way in (read_table, read_long, column_names):
                message = refusal(way, path, text=text)
                assert len(message) < 1500
                assert "\n" not in message


@pytest.mark.parametrize("heading", HEADINGS, ids=range(len(HEADINGS)))
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_odd_headings(tmp_path, heading, body):
    path = tmp_path / "a.csv"
    for line in (f"{heading},b,c\n", f"a,{heading},c\n", ",".join([heading] * 3) + "\n"):
        for content in (line + body, body + line):
            path.write_text(content)
            read(path)


NOTHING = [
    *('"', "\0", ",", " ", "\t", ";", "\r", "\n", "\r\n", "1:\n", "# x\n", '"\n', '",\n'),
    *('"",', '"""\n', ",\n", "::", "%", "\u2212", "\x1a", "\x85", "\u2028", "a,b\n\n"),
]


@pytest.mark.parametrize("piece", NOTHING, ids=repr)
def test_no_table_at_all(tmp_path, piece):
    for count in (1, 2, 1000):
        (tmp_path / "a.csv").write_text(piece * count, newline="")
        read(tmp_path / "a.csv")


STRAY = ['"x,y,z', 'x,"y,z', 'x,y"q,z', 'x,y,z"', '"x"y,"b","c"', '"x","y,"z"', '"x","y""z"']


def work(monkeypatch, way, path):
    """How many characters are cut into cells."""
    seen = [0]
    original = dialect.cells_of

    def counted(line, separator):
        seen[0] += len(line)
        return original(line, separator)

    for module in (dialect, records, long_lines):
        monkeypatch.setattr(module, "cells_of", counted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusal(way, path)
    monkeypatch.undo()
    return seen[0]


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("line", ["1,2,3", '"1","2","3"', '1,"2,3', ",".join(['1,"2"'] * 30) + '"'])
@pytest.mark.parametrize("way", [read_table, read_long])
def test_a_stray_quotation_mark_costs_linear_work(tmp_path, monkeypatch, way, line, stray, where):
    """No character is cut more than a few times, however many lines follow the open mark."""
    path, lines = tmp_path / "a.csv", [line] * 900
    lines.insert(int(where * len(lines)), stray)
    path.write_text("a,b,c\n" + "\n".join(lines))
    sampled = 20 * sum(map(len, lines[:200]))  # first lines, by each separator
    assert work(monkeypatch, way, path) < 4 * path.stat().st_size + sampled


def test_cells_of_several_lines_with_marks_at_their_ends(tmp_path):
    """A doubled mark at the end of a line closes nothing."""
    content = 'x,note\n1,"he said ""\nyes"" ok"\n,"a\n""b"""\n3,c\n'
    (tmp_path / "a.csv").write_text(content)
    table = read_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.values[:, 0], [1, np.nan, 3])
    assert table.encode(np.full(table.values.shape, 2.0), ".csv").decode() == content.replace(
        '\n,"', '\n2,"'
    )
    (tmp_path / "b.csv").write_text('u,v,note,x\n1,2,"he said ""\nyes"" ok",5\n3,4,"a\n""b""",6\n')
    assert read_long(tmp_path / "b.csv", "u", "v", "x").values.tolist() == [5, 6]


def test_letters_behind_the_mark_that_closes_several_lines(tmp_path):
    (tmp_path / "a.csv").write_text('x,y\n"a\nb"c,1\n2,\n')
    with pytest.raises(InputError, match="opened in line 2 is never closed"):
        read_table(tmp_path / "a.csv")


def test_many_columns(tmp_path):
    """Two searches through the columns were quadratic in their number."""
    count = 20_000
    path = tmp_path / "a.csv"
    rows = [[f"c{k}" for k in range(count)], ["1"] * count, ["2"] * (count - 1) + [""]]
    path.write_text("\n".join(map(",".join, rows)) + "\n")
    assert read_table(path).values.shape == (2, count)
