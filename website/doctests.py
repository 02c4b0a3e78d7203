"""Docstrings as the site shows them: examples in fences, names of the library as links."""

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"(?:^[ ]*>>> [^\n]*\n(?:^(?!\s*$)[^\n]*\n)*\n*)+", re.M)


def fenced(text: str) -> str:
    """``text`` with each run of doctest lines in a fence.

    >>> print(fenced("It adds.\\n\\n>>> 1 + 1\\n2\\n"))
    It adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    """
    return (
        _EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n\n", text + "\n").rstrip(
            "\n"
        )
        + "\n"
    )


class Doctests(griffe.Extension):
    """Applies `fenced` to every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
