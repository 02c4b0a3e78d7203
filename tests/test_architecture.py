"""The house rules that a machine can check: which way imports point, what a bare import loads, how long files are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deeplinear

PACKAGE = Path(deeplinear.__file__).parent

# Arrows point only up this list: a module may import those of its own line and of the lines above it.
LAYERS = [
    ["errors", "compilation", "files"],
    ["checks"],
    ["spectral"],
    ["operator"],
    ["calculus"],
    ["charts"],
    ["factors", "energies"],
    ["geometry", "volume"],
    ["integrate"],
    ["flows", "ensembles"],
    ["sde"],
    ["sampler"],
    ["geodesic_special", "curvature", "neighbourhood", "diffusion"],
    ["geodesic"],
    ["manifold"],
    ["asymptotics"],
    ["verify"],
    ["completion"],
    ["plots", "io"],
    ["datasets"],
    ["compare"],
    ["console"],
    ["report_text"],
    ["report"],
    ["experiments"],
    ["demo"],
    ["cli"],
]
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
MODULES = sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The module or subpackage of deeplinear that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_units(path: Path) -> set[str]:
    """What of deeplinear the file imports, also inside functions."""
    package = ["deeplinear", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("deeplinear.")}
    return found & set(LAYER)


@pytest.mark.parametrize("path", [p for p in MODULES if unit(p) not in ("__init__", "__main__")], ids=lambda p: p.name)
def test_imports_point_one_way(path):
    assert unit(path) in LAYER, f"{unit(path)} has no place in the layout yet"
    for other in imported_units(path):
        assert LAYER[other] <= LAYER[unit(path)], f"{path.name} imports {other}, which is built on top of it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.name)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def test_a_bare_import_is_light_and_flips_no_flag():
    code = (
        "import sys, deeplinear, jax; "
        "heavy = [m for m in ('sklearn', 'xarray', 'matplotlib', 'numba', 'panel', 'pandas', 'PIL', 'dask', 'zarr') if m in sys.modules]; "
        "assert not heavy, heavy; assert not jax.config.jax_enable_x64"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_public_is_there_and_documented():
    for name in deeplinear.__all__:
        assert (getattr(deeplinear, name).__doc__ or "").strip(), name
        assert name in dir(deeplinear)
