"""The Python of README and docs runs as it stands, page by page, its blocks one after the other.

A block that needs what a test has not is preceded by a comment with the reason,
``<!-- not run: four machines -->``.
"""

import re
from pathlib import Path

import jax
import matplotlib as mpl
import pytest
from cases import slow

ROOT = Path(__file__).parent.parent
_BLOCK = re.compile(r"(<!-- not run: [^\n]*-->\n+)?^```python[^\n]*\n(.*?)^```", re.M | re.S)
_SLOW = {
    f"docs/{name}.md"
    for name in (
        "coming_from",
        "exact_laws",
        "extending",
        "overview",
        "plots",
        "refinement",
        "training",
    )
} | {
    f"docs/tutorials/{name}.md"
    for name in (
        "edge",
        "gpu",
        "laboratory",
        "langevin",
        "leaves",
        "own_energy",
        "own_experiment",
        "sweep",
        "theory",
    )
}


def blocks(page):
    """(line, code) of each block that is to run."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(2)), found[2])
        for found in _BLOCK.finditer(text)
        if found[1] is None
    ]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


PAGES = [page for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))] if blocks(page)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "page",
    [slow(page) if name_of(page) in _SLOW else page for page in PAGES],
    ids=[name_of(page) for page in PAGES],
)
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = jax.config.jax_enable_x64
    namespace = {"__name__": "documentation"}
    try:
        with mpl.rc_context({"backend": "agg"}):
            for line, code in blocks(page):
                # the number of the line in the page, for a traceback
                exec(compile("\n" * line + code, str(page), "exec"), namespace)
    finally:
        jax.config.update("jax_enable_x64", before)
