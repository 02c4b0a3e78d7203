"""Where the rules of headings and labels turn: small tables at the limits of each.

Most were found by changing the rules one operator at a time, and searching for a table that the
change reads otherwise.
"""

import pytest

from deeplinear.files.cells import parse_cells
from deeplinear.files.layout import find_layout
from deeplinear.files.markers import Markers
from deeplinear.files.numbers import PLAIN

HEADINGS, DATA = "was taken for headings: --no-header", "was read as data: --header"
# (header, labels) as given or None, as found, and the note
FREE = (None, None)
TABLES = [
    (
        "1;2|5;7|8;3|2;2",
        FREE,
        (False, False),
        DATA,
    ),
    (
        ";9;3;6;7|3;1;3;4;",
        FREE,
        (False, False),
        DATA,
    ),
    (
        "0.5;0.75|2024-03-06;2464",
        FREE,
        (False, False),
        DATA,
    ),
    (
        "Unnamed: 0;5|1;16",
        (None, True),
        (True, True),
        HEADINGS,
    ),
    (
        "1990;1991|1891;5|1390;7",
        FREE,
        (False, False),
        "",
    ),
    (
        (
            "id;0;1;2;3|;8;9;8;7|1982;1;1;6;|907;9;4;7;6|894;5;5;3;6|1822;0;0;0;3|706;8;;9;|"
            "339;1;5;8;1|2857;3;8;3;2|1100;1;1;2;6|;6;6;7;|586;7;2;9;2|1734;6;6;7;"
        ),
        FREE,
        (True, False),
        "",
    ),
    (
        "-1;0;1|-1.0;1724;519",
        FREE,
        (False, False),
        DATA,
    ),
    (
        "11;12;12|6.4;9;|-1.5;3;7|-1.3;1;1|;;1|4.8;7;0|-2.2;2;9|4.8;7;",
        FREE,
        (False, False),
        "",
    ),
    (
        "sample_id;4|;|-8;3",
        (None, True),
        (True, True),
        "",
    ),
    (
        "|2024-03-10",
        FREE,
        (False, False),
        "",
    ),
    (
        "gene;1.0|-1.5;2417|5.6;416",
        FREE,
        (False, False),
        "",
    ),
    (
        "sample_id;0.75|A;1|A;4",
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        "9;11;9|;2.7;1.7|0;0.9;8.4",
        FREE,
        (False, False),
        "",
    ),
    (
        ("1;2;3;4|7;8;5;3|7;1;6;6|<0.5;3;0;1|2;7;7;0|2;3;0;6|1.5;3;2;6|;6;9;8|12*;3;0;4|7;1;2;9"),
        FREE,
        (False, False),
        DATA,
    ),
    (
        "geo;1991|g023;1",
        FREE,
        (False, True),
        DATA,
    ),
    (
        "sample_id;0;1|3,5;;1",
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        (
            "3 mg;-16;-20;15;18|12*;13;-8;-7;13|;-10;17;-19;-7|7;-17;11;-15;16|"
            "1.5;-16;-7;-16;19|<0.5;;20;2;-8|<0.5;-20;3;17;17|<0.5;-4;-10;-10;15|"
            "1.5;-9;8;18;|<0.5;;;-16;-12|<0.5;-20;20;-18;15|12*;-18;-1;;9|12*;16;-12;-20;-18"
        ),
        FREE,
        (False, False),
        "",
    ),
    (
        "sample_id",
        FREE,
        (False, False),
        "",
    ),
    (
        "gene;2|1;2",
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        "rownames;4044|0;883",
        FREE,
        (True, True),
        HEADINGS,
    ),
    (
        "2000;12*;19|0;4.5;2",
        FREE,
        (False, False),
        "",
    ),
    (
        ";2|1;3.8|2;5.6",
        FREE,
        (True, True),
        "",
    ),
    (
        "gene;12;6|2024-03-25;2024-03-06;",
        FREE,
        (True, True),
        HEADINGS,
    ),
    (
        "name;2;3|b;8.5;4.1",
        FREE,
        (True, True),
        "",
    ),
    (
        "rownames;1.0;1.0|0;-4;",
        FREE,
        (False, False),
        "",
    ),
    (
        "rownames;0.75;1.0|2024-03-15;1;2",
        FREE,
        (True, True),
        HEADINGS,
    ),
    (
        ";0|0;7|2;4",
        FREE,
        (False, False),
        DATA,
    ),
    (
        "11;6|1;1.0|;7.3|;-1.9",
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        (
            "Unnamed: 0;1;2|8;-2.0;1,2|-4;2.7;1,2|20;-2.2;1,2|-19;;3,5|;-2.7;1,2|13;0.6;2,25|"
            "11;4.8;1,5|13;-1.8;2,25|-4;5.9;1,5|11;;1,5|-10;0.0;3,5|17;7.3;1,5"
        ),
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        (
            "sample_id;0;1;2;3;4|g026;-3;5;15;-7;-5|g021;3;-20;-8;-19;2|g019;-4;;-19;-14;8|"
            ";3;-1;-6;-8;-13|g017;-9;-13;-18;7;-15|g001;3;14;-14;16;16|g009;-13;18;18;-14;-3|"
            "g027;-9;;8;3;1|g022;10;-2;;;5|g010;-5;-16;-10;8;-1|g027;-6;-10;5;10;-20|"
            "g018;-4;-17;11;-18;-7"
        ),
        FREE,
        (True, True),
        "",
    ),
    (
        "6817;0;0|;2;|42;3;|44;2;|;;|42;3;",
        FREE,
        (False, False),
        DATA,
    ),
    (
        "7;1689;7;7|4;0;42;|1;4;41;|1;4;41;|4;1;41;|4;3;42;",
        FREE,
        (False, False),
        "",
    ),
    (
        (
            "s;0;4;24;26|s0;0;1;0;3|s1;2;2;4;1|s2;3;4;5;3|s3;3;5;3;4|s4;5;5;7;8|s5;6;6;8;6|"
            "s6;6;8;9;9|s7;7;8;10;11|s8;9;9;9;12|s9;10;10;11;13|s10;11;11;11;14"
        ),
        (None, True),
        (False, True),
        DATA,
    ),
    (
        ";y|3,75;0|q;1",
        FREE,
        (True, True),
        "",
    ),
    (
        "2;2024-01-01|0;7|1;2024-03-02",
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        "12;10|1;1.0|1.0;1",
        FREE,
        (False, False),
        "",
    ),
    (
        "a;b;2.5|3;7;6|1;8;0",
        FREE,
        (True, False),
        "",
    ),
    (
        "3;3;3|3;6;5|9;8;8",
        FREE,
        (False, False),
        "",
    ),
    (
        (
            "gene;9;5;29|s0;7;13;7|s1;16;4;16|s2;26;29;26|s3;28;6;28|s4;14;29;14|s5;11;19;11|"
            "s6;24;5;24|s7;21;4;21|s8;6;17;6|s9;30;25;30"
        ),
        FREE,
        (True, True),
        HEADINGS,
    ),
    (
        "900;900;3;1|;2;4;1|42;3;2;1|;2;2;2|;2;2;2|;3;3;2",
        FREE,
        (False, False),
        "",
    ),
    (
        "10;3|0;5|0;7|0;4|0;5|0;7|0;4|0;5|0;7|0;4|0;5|0;6|0;7",
        FREE,
        (True, False),
        HEADINGS,
    ),
    (
        "900;900;3|;1;4|42;40;2|;2;2|;2;2|;3;3",
        FREE,
        (False, False),
        DATA,
    ),
]


@pytest.mark.parametrize(("content", "given", "found", "note"), TABLES)
def test_layout_at_the_limits_of_its_rules(content, given, found, note):
    """Rows end with ``|``, cells with ``;``."""
    rows = [line.split(";") for line in content.split("|")]
    layout = find_layout(parse_cells(rows, Markers(), PLAIN), *given)
    assert (layout.header, layout.labels) == found
    assert note in layout.note
    assert bool(note) == bool(layout.note)
    numbers = [cell for cell in rows[0] if PLAIN.reads(cell)]
    assert ("…" in layout.note) == (bool(note) and len(numbers) > 3)
