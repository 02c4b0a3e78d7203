"""How a depth is written in text, tables, legends and messages."""

import math


def depth_number(depth: float) -> str:
    """``3``, ``2.5`` or ``∞``.

    >>> from deeplinear.labels import depth_number
    >>> [depth_number(depth) for depth in (3, 2.5, math.inf)]
    ['3', '2.5', '∞']
    """
    return "∞" if math.isinf(depth) else f"{depth:g}"


def depth_label(depth: float) -> str:
    """``depth 3`` or ``depth ∞``: for sentences, tables and progress.

    >>> from deeplinear.labels import depth_label
    >>> depth_label(math.inf)
    'depth ∞'
    """
    return f"depth {depth_number(depth)}"


def short_depth_label(depth: float) -> str:
    """``N = 3`` or ``N = ∞``: for legends and titles of figures.

    >>> from deeplinear.labels import short_depth_label
    >>> short_depth_label(2.5)
    'N = 2.5'
    """
    return f"N = {depth_number(depth)}"
