"""Quotation marks in long text files: cells over several lines, and marks that are not closed."""

import pytest
from long_files import entries

from deeplinear.errors import InputError
from deeplinear.files import columns, long_lines
from deeplinear.files.long import read_long


def written(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_text(content)
    return path


def read(tmp_path, content):
    return entries(read_long(written(tmp_path, content)))


class TestQuotationMarks:
    @pytest.mark.parametrize("stray", ['"u5,3,2', 'u5,"3,2', 'u5,3,"2'])
    def test_one_that_is_not_closed_names_its_line(self, tmp_path, monkeypatch, stray):
        """Looking for its end costs the same in a file of any length: characters are counted."""
        seen, plain = [], long_lines.cells_of

        def counted(content, separator):
            seen[-1] += len(content)
            return plain(content, separator)

        monkeypatch.setattr(long_lines, "cells_of", counted)
        for count in (20_000, 160_000):
            seen.append(0)
            lines = [f"u{k % 100},{k % 77},{k % 5}" for k in range(count)]
            lines[99] = stray
            path = written(tmp_path, "\n".join(lines))
            with pytest.raises(InputError, match="line 100: a quotation mark is opened and not"):
                read_long(path)
        assert seen[-1] == seen[-2]

    def test_two_swallow_nothing(self, tmp_path):
        for one, other in (('"a,1,2', 'b",1,3'), ('a,1,2,"x', 'b,1,3,y"'), ('a,1,"2', 'b,1,"3')):
            with pytest.raises(InputError, match="line 2: a quotation mark is opened"):
                read(tmp_path, f"c,1,2{',z' * ('x' in one)}\n{one}\n{other}\n")

    def test_marks_inside_a_cell_are_text(self, tmp_path):
        assert read(tmp_path, 'a 5" b,1,2.0\n"the ""best""",2,3\n') == {
            ('a 5" b', 1): 2.0,
            ('the "best"', 2): 3.0,
        }

    @pytest.mark.parametrize("chunk", [1, 3, 1 << 14])
    def test_cells_over_several_lines(self, tmp_path, monkeypatch, chunk):
        monkeypatch.setattr(columns, "CHUNK", chunk)
        content = 'u,i,x,note\n1,2,3,"a\nb, c\n"\n2,3,4,d\n\n4,5,6,"e"\n7,8,,f\n'
        with pytest.raises(InputError, match="line 8: the value is ''"):
            read(tmp_path, content)
        assert read(tmp_path, content.replace(",,", ",9,")) == {
            (1, 2): 3.0, (2, 3): 4.0, (4, 5): 6.0, (7, 8): 9.0,
        }  # fmt: skip
