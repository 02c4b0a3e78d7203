"""Masks: by the lines and columns of the table that they are for."""

import numpy as np
import pytest
from table_files import file

from deeplinear.errors import InputError
from deeplinear.files import read_table

TABLE = "name,x,y,when\nann,1,2,2024-01-01\nbob,3,4,2024-01-02\n,,,\ncyd,5,6,2024-01-03\n"
EXPECTED = [[True, False], [False, False], [False, True]]


@pytest.mark.parametrize(
    "mask",
    [
        "1,0\n0,0\n0,1\n",
        "1,0\n0,0\n,\n0,1\n",  # with the empty line of the table
        "x,y\n1,0\n0,0\n0,1\n",
        "x,y\n1,0\n0,0\n,\n0,1\n",
        "1,0,0\n0,0,0\n0,1,0\n",  # with the column that is not fitted
        ",x,y\n0,1,0\n1,0,0\n2,0,1\n",  # as a data frame writes it
        "name,x,y\nann,True,False\nbob,False,False\ncyd,False,True\n",
        "0.5;0\n0;0\n0;-2\n",
    ],
)
def test_the_same_mask_in_many_forms(tmp_path, mask):
    table = read_table(file(tmp_path, "t.csv", TABLE), mask=file(tmp_path, "m.csv", mask))
    np.testing.assert_array_equal(np.isnan(table.values), EXPECTED)


def test_names_in_another_encoding(tmp_path):
    mask = file(tmp_path, "m.csv", "n,x,y\nM\xfcller,1,0\nb,0,0\nc,0,1\n".encode("latin-1"))
    table = read_table(file(tmp_path, "t.csv", TABLE), mask=mask)
    np.testing.assert_array_equal(np.isnan(table.values), EXPECTED)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("y,x\n1,0\n0,0\n0,1\n", "--mask: .* columns of the table in another order"),
        ("1,0\n0,0\n", "--mask: .* is 2 × 2 where the input is 3 × 2"),
        ("1,0\n0,perhaps\n0,1\n", "--mask: .* holds 'perhaps'"),
        ("1,0\n0\n0,1\n", "--mask: .* (is no table|holds '0,1')"),
        ("", "--mask: .* is no table"),
    ],
)
def test_refusals(tmp_path, mask, message):
    with pytest.raises(InputError, match=message):
        read_table(file(tmp_path, "t.csv", TABLE), mask=file(tmp_path, "m.csv", mask))
