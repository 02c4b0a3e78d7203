"""What docs/errors.md says about each error and warning, and which of its sections is meant."""

import re
from functools import cache
from pathlib import Path


@cache
def topics() -> dict[str, str]:
    """The text below each heading, which is the name of an error or a warning."""
    package = Path(__file__).parents[1]
    installed, source = package / "errors.md", package.parents[1] / "docs" / "errors.md"
    page = (installed if installed.is_file() else source).read_text(encoding="utf-8")
    # links lead to other pages, which are not here
    parts = re.split(r"^## (\w+)$", re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", page), flags=re.M)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def topic_of(kind: type[BaseException]) -> str | None:
    """The section for this kind of error or warning, or for what it is a kind of.

    None for a plain `InputError`: its sentence has the fix.
    """
    try:
        found = next((each.__name__ for each in kind.__mro__ if each.__name__ in topics()), None)
    except OSError:  # a page that cannot be read is no second error
        return None
    return None if found == "InputError" else found
