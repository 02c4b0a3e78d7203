"""Which columns of text are categories."""

_MOST_LABELS = 20


def few_labels(labels: int, observed: int) -> bool:
    """Whether a column of text with so many distinct values among its observed cells is a category.

    At most 20, and each used twice on average: names and free text are not.

    >>> few_labels(2, 4), few_labels(2, 3), few_labels(21, 1000), few_labels(0, 0)
    (True, False, False, False)
    """
    return 0 < labels <= min(_MOST_LABELS, observed / 2)
