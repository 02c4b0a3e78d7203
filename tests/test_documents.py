"""What the documents say about other files is true: links lead somewhere, named tests are there."""

import re
import runpy
from pathlib import Path

import pytest

from deeplinear.experiments.registry import experiment_names

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MADE = ("gallery", "reference")  # folders of pages that the site makes from the code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_documents(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        found = page if not name else page.parent / name
        if found.parent.name in MADE:
            made = found.parent.name != "gallery" or found.stem in {"index", *experiment_names()}
            assert made, target
            continue
        if found.suffix == ".zip":  # of all tutorials, made with the site
            continue
        assert found.exists(), target
        if anchor and found.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page):
    files = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"test_\w+\.py", text):
        assert name in files, name
    whole = "\n".join(path.read_text(encoding="utf-8") for path in files.values())
    for name in re.findall(r"`[^`]*?(?:::|`)?\b(Test[A-Z]\w+|test_\w+)(?!\w*\.py)`", text):
        assert re.search(rf"(class|def) {name}\b", whole), name


@pytest.mark.slow
def test_the_page_on_plots_draws_its_own_pictures(capsys):
    import matplotlib as mpl
    from matplotlib import pyplot

    mpl.use("Agg")
    page = runpy.run_path(str(ROOT / "docs" / "figures" / "plots.py"))
    try:
        drawn = page["run"]()
        assert sorted(drawn) == sorted(name for _, name in page["blocks"]() if name)
        assert all((ROOT / "docs" / "figures" / f"{name}.png").exists() for name in drawn)
        assert all(figure.axes and figure.axes[0].has_data() for figure in drawn.values())
    finally:
        pyplot.close("all")
    assert "FlowResult(3×3, depth 3" in capsys.readouterr().out


def test_every_error_and_warning_has_its_section():
    import deeplinear as dl

    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^## (\w+)$", page, re.MULTILINE))
    public = {name for name in dl.__all__ if name.endswith(("Error", "Warning"))}
    assert told == public
