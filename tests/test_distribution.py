"""What the package says of itself outside its code: extras, licences, recipe, version."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import deeplinear as dl

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEVELOPERS = {"dev", "docs", "fuzz"}


def names(requirements):
    found = {re.match(r"[\w-]+", requirement).group() for requirement in requirements}
    return found - {"deeplinear"}


RUNTIME = names(PROJECT["dependencies"]).union(
    *(names(needed) for extra, needed in EXTRAS.items() if extra not in DEVELOPERS)
)


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def test_every_package_has_its_licence_told():
    rows = re.findall(r"^\|(.*)\|$", text("docs/install.md").split("## Licences")[1], re.MULTILINE)
    cells = [cell.strip() for row in rows[2:] for cell in row.split("|")]
    assert set(cells[::2]) == RUNTIME
    assert all(cells[1::2])


def test_every_extra_is_told_with_its_packages():
    page = text("docs/install.md")
    for extra, needed in EXTRAS.items():
        if extra not in DEVELOPERS | {"all", "gpu"}:
            (row,) = re.findall(rf"^\| `{extra}` \|(.*?)\|", page, re.MULTILINE)
            assert names(needed) == {n.strip() for n in row.replace("`lab`,", "").split(",")}


@pytest.mark.parametrize("path", ["CITATION.cff", "conda/recipe.yaml"])
def test_one_version(path):
    assert re.search(r'^ *version: "?([\d.]+)', text(path), re.MULTILINE).group(1) == dl.__version__
    assert f"## {dl.__version__}" in text("CHANGELOG.md")


def test_the_recipe_needs_what_the_package_needs():
    recipe = text("conda/recipe.yaml")
    run = recipe[recipe.index("  run:") : recipe.index("tests:")]
    needed = re.findall(r"^    - ([\w-]+) ?(>=[\d.]+)?", run, re.MULTILINE)
    wanted = [re.match(r"([\w-]+)(>=[\d.]+)", r).groups() for r in PROJECT["dependencies"]]
    wanted += [re.match(r"([\w-]+)(>=[\d.]+)", r).groups() for r in EXTRAS["fast"] + EXTRAS["lab"]]
    # conda's matplotlib brings Qt, and what is only imported needs the base alone
    wanted = [(n.replace("matplotlib", "matplotlib-base"), v) for n, v in wanted]
    assert sorted(needed) == sorted([*wanted, ("python", ">=3.11")])


@pytest.mark.slow
@pytest.mark.parametrize("how", [[], ["-m", "pyright"]], ids=["runs", "pyright"])
def test_a_program_of_somebody_else(how):
    if how:
        pytest.importorskip("pyright")
        how = [*how, "--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, *how, str(ROOT / "tests" / "typed_consumer.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
