"""What counts as a number, in tables and in long data."""

import numpy as np
import pytest

from deeplinear.errors import InputError
from deeplinear.files import read_table
from deeplinear.files.long import read_long
from deeplinear.files.numbers import is_number, parse_numbers


@pytest.mark.parametrize("text", ["1", " -2.5e3 ", "+.5", "inf", "nan", "1e400"])
def test_numbers(text):
    assert is_number(text)
    np.testing.assert_array_equal(parse_numbers([text, "3"]), [float(text), 3.0])


@pytest.mark.parametrize("text", ["", "x", "1_000", "１２", "0x1f", "1,5"])
def test_others(text):
    assert not is_number(text)
    with pytest.raises(ValueError):  # noqa: PT011
        parse_numbers(["3", text])


@pytest.mark.parametrize("text", ["1_000", "１２"])
def test_both_readers_refuse_alike(tmp_path, text):
    advice = "write numbers with the digits 0 to 9, without '_'"
    (tmp_path / "long.csv").write_text(f"u,i,x\na,1,2\nb,2,{text}\n")
    with pytest.raises(InputError, match=f"line 3: the value is '{text}'.*{advice}"):
        read_long(tmp_path / "long.csv")
    (tmp_path / "table.csv").write_text(f"u,x\n1,2\n,{text}\n")
    with pytest.raises(InputError, match=f"line 3: '{text}' .*the digits 0 to 9, without '_'"):
        read_table(tmp_path / "table.csv")
