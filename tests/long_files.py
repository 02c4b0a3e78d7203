"""Four entries of long files, and what a reader made of them."""

USERS = ["ann", "bob", "ann", "eve"]


ITEMS = [10, 10, 30, 20]


VALUES = [4.0, 3.5, -1.0, 0.0]


TRUTH = dict(zip(zip(USERS, ITEMS, strict=True), VALUES, strict=True))


def triples(found):
    """(row ids, column ids, values) of what was read."""
    return found.row_ids.labels[found.rows], found.col_ids.labels[found.cols], found.values


def entries(found):
    """{(row id, column id): value} of what was read."""
    rows, cols, values = triples(found)
    return {
        (r, c): v for r, c, v in zip(rows.tolist(), cols.tolist(), values.tolist(), strict=True)
    }
