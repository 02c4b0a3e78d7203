"""The house rules that a machine can check: which way imports point, what a bare import loads, how
long files are.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import deeplinear
from deeplinear.compilation.fingerprint import FOLDERS

PACKAGE = Path(deeplinear.__file__).parent

# A tree of lists: in each folder a module or subpackage may import those of its own line and of the
# lines above it. A folder that has no list of its own orders nothing inside.
TREE = {
    "": [
        [
            "errors",
            "compilation",
            "atomic",
            "colours",
            "labels",
            "scores",
            "progress",
            "processors",
            "spectrum",
            "status",
            "extras",
            "interrupts",
            "reals",
        ],
        ["depths", "places", "plots"],
        ["checks", "run_plots"],
        ["transforms", "sample_plots"],
        ["labelled"],
        ["energies"],
        ["recorded"],
        ["geometry"],
        ["dynamics"],
        ["asymptotics", "exact"],
        ["verify"],
        ["completion"],
        ["files"],
        ["datasets"],
        ["report", "results", "diagnosis"],
        ["sweeps"],
        ["experiments"],
        ["explorer"],
        ["cli"],
        ["__main__"],
    ],
    "geometry": [
        ["point", "kernel", "leaf", "small"],
        ["operator", "differences", "root"],
        ["derivatives"],
        ["metric", "volume", "hamiltonian_flow"],
        ["shooting"],
        ["curvature", "geodesic_closed_form", "geodesic_result", "conjugate", "ball_volume"],
        ["geodesic_programs"],
        ["cut"],
        ["geodesic"],
        ["adapters"],
    ],
    "exact": [["aligned_modes", "descent_modes", "dyson_processes", "riccati"]],
    "compilation": [["folder", "fingerprint", "notice"], ["programs"]],
    "geometry/ball_volume": [["space"], ["density"], ["chords", "null_block"], ["ball"]],
    "dynamics": [
        ["factors", "motion", "mixing", "slices"],
        ["gibbs"],
        ["coordinates", "balancing", "ensembles"],
        ["implicit_steps"],
        ["flow_options"],
        ["charts", "stops", "results"],
        ["solve"],
        ["flow", "descent"],
        ["langevin_process"],
        ["langevin_factors", "langevin_root"],
        ["langevin_leaf"],
        ["langevin_rectangular"],
        ["langevin_solve"],
        ["langevin"],
        ["langevin_upstairs"],
    ],
    "dynamics/ensembles": [
        ["frames"],
        ["linear", "singular", "planar"],
        ["steppers"],
        ["rosenbrock", "lanes", "sampler"],
        ["dense_rosenbrock"],
        ["agreement"],
        ["run"],
    ],
    "dynamics/descent": [
        ["loss", "batches"],
        ["optimizers", "records", "endings"],
        ["lanes"],
        ["result"],
        ["run"],
    ],
    "completion": [
        ["penalty", "compiled", "schema", "file_format"],
        ["loss"],
        ["linalg"],
        ["data"],
        ["backends"],
        ["solver"],
        ["posterior", "field"],
        ["model", "several", "displays"],
        ["_saving", "_losses"],
        ["_parameters"],
        ["_averages"],
        ["_training"],
        ["_side_information"],
        ["_pair_predictions", "_table_io", "_column_scores"],
        ["_table_predictions"],
        ["_table_losses"],
        ["_table_refinement"],
        ["_table_training"],
        ["imputer", "matrix_completion"],
    ],
    "completion/data": [
        ["compress_loops", "holdout", "alike"],
        ["compress"],
        ["ids", "observations", "features", "sparse"],
        ["id_encoder", "frames"],
        ["columns"],
        ["layout", "bounds", "indicators"],
        ["entries", "table", "assemble", "layout_file", "id_columns", "side_features"],
        ["weights"],
    ],
    "completion/backends": [
        ["lanes"],
        ["vectors"],
        ["loops", "loops_posterior"],
        ["pairs"],
        ["base"],
        ["loops_residual"],
        ["dense", "threads", "devices", "reweighted"],
        ["open"],
    ],
    "completion/several": [
        ["group", "shards"],
        ["numbering"],
        ["shared"],
        ["backend"],
        ["complete"],
    ],
    "completion/solver": [
        ["options", "checkpoint", "column_noise"],
        ["problem"],
        ["balance", "fit_state", "flow_field"],
        ["sweep", "convex", "flow_steps"],
        ["schedule", "start", "certificate", "flow_course"],
        ["result"],
        ["growth", "resumed", "trial"],
        ["descent"],
        ["fit"],
        ["backbone", "pilot"],
        ["path", "flow", "side_information"],
        ["selection"],
        ["side_choice"],
    ],
    "completion/posterior": [
        ["implicit_feedback", "laplace", "conformal", "labels", "rubin"],
        ["gibbs", "averaging"],
        ["draws", "burn_in", "coverage"],
    ],
    "completion/field": [
        ["graph", "covariance"],
        ["gaussian_field"],
        ["lines"],
        ["held_out"],
        ["refinement"],
        ["refined_rows"],
    ],
    "completion/displays": [["base"], ["choice", "held_out"], ["pictures"]],
    "completion/model": [["predictor"], ["recommend", "serialize", "cold_lines"]],
    "files": [
        [
            *("numbers", "opening", "dates", "spool", "refusals", "archives", "limits"),
            *("variables", "worksheet", "hdf5_trial", "formulas", "array_header"),
        ],
        ["markers"],
        ["dialect", "cells"],
        ["text_options", "selection", "layout"],
        ["records", "kinds", "sentinels"],
        ["table", "columns", "long_output", "long_lines", "mixed_columns", "long_matrix"],
        ["long_layout"],
        [
            *("arrays", "frames", "hdf5", "matlab", "excel", "images", "text"),
            *("long_text", "long_parquet"),
        ],
        ["long", "masks", "side_table"],
    ],
    "datasets": [["ratings", "cache"], ["movielens", "synthetic"], ["jester"]],
    "report": [
        ["expand", "folder", "coverage", "lists", "page"],
        ["compare"],
        ["text", "table_fits"],
        ["report"],
        ["demo", "long_report"],
    ],
    "results": [["manifest", "parameters", "suggest", "integrity"], ["schema"], ["store"]],
    "sweeps": [
        ["task", "grid", "record", "lock"],
        ["store", "completion_task"],
        ["worker"],
        ["cluster"],
        ["sweep"],
    ],
    "experiments": [
        ["statistics", "figures", "settings"],
        ["registry"],
        ["page"],
        ["runner"],
        ["result"],
    ],
    "cli": [
        ["streams", "topics"],
        ["console", "options", "bounds"],
        ["endings", "uncertainty", "pairs"],
        ["fits"],
        [
            "complete",
            "ratings",
            "predict",
            "demo",
            "doctor",
            "experiment",
            "explain",
            "explore",
            "sweep",
        ],
    ],
    "explorer": [
        ["addresses", "look", "folders", "jobs", "bundled", "sheets", "names"],
        ["state", "tab_states", "uploads", "table_tasks", "experiment_tasks"],
        ["steps"],
        ["presets", "compute", "ratings_tasks"],
        ["pictures"],
        ["controls", "exports", "matrix_pictures"],
        ["laboratory", "running", "matrix_controls", "matrix_results"],
        ["matrix_tab", "experiments_tab"],
        ["page"],
        ["server"],
    ],
    "diagnosis": [["finding"], ["installation", "machine", "folders", "mathematics"]],
    "verify": [["result"], ["taylor", "geometry", "low_loss", "descent"], ["training"]],
    "asymptotics": [
        [
            "entropic",
            "kernel_motion",
            "label_noise",
            "laws",
            "ranks",
            "rates",
            "singular_learning",
        ],
        ["hessian", "tails"],
    ],
}
MODULES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The module's name below deeplinear, as ``geometry/kernel``; a package by its folder."""
    return path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__")


NAMES = {
    dotted(path): path for path in MODULES if path.parent != PACKAGE or path.stem != "__init__"
}


def imported(path: Path) -> set[str]:
    """The modules of deeplinear that a file imports, also inside functions."""
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
        for name in names:
            parts = name.split(".")[1:] if name.startswith("deeplinear.") else []
            while parts and "/".join(parts) not in NAMES:
                parts.pop()
            found |= {"/".join(parts)} - {""}
    return found


def layer(folder: str, name: str) -> int:
    for place, names in enumerate(TREE[folder]):
        if name in names:
            return place
    raise AssertionError(f"{folder or 'deeplinear'}/{name} has no place in the layout yet")


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_one_way(name):
    """Where two modules part, in their nearest common folder, the importing one must not lie
    below.
    """
    mine = name.split("/")
    for k, part in enumerate(mine):
        folder = "/".join(mine[:k])
        assert folder not in TREE or layer(folder, part) >= 0
    for other in imported(NAMES[name]) - {name}:
        theirs = other.split("/")
        k = next((k for k, (a, b) in enumerate(zip(mine, theirs, strict=False)) if a != b), None)
        folder = "/".join(mine[:k])
        if (
            k is None or folder not in TREE
        ):  # a package's own __init__, or a folder without an order
            continue
        assert layer(folder, theirs[k]) <= layer(folder, mine[k]), (
            f"{name} imports {other}, which is built on top of it"
        )


def test_programs_on_disk_are_named_by_the_source_of_all_that_they_are_made_from():
    """Otherwise a program of old lines would be found after an edit."""
    found = {name for name, path in NAMES.items() if "@program" in path.read_text()}
    assert len(found) > 10
    while more := set().union(*(imported(NAMES[name]) for name in found)) - found:
        found |= more
    assert {name for name in found if "/" in name and name.split("/")[0] not in FOLDERS} == set()


def test_there_is_no_circle_of_imports():
    """Also not between modules of one line."""
    arrows = {name: imported(path) - {name} for name, path in NAMES.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way, name))
        if name not in done:
            for other in arrows[name]:
                if (
                    NAMES[other].stem != "__init__"
                ):  # a package's table of contents imports its parts
                    walk(other, (*way, name))
            done.add(name)

    for name in NAMES:
        walk(name, ())


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400


def test_no_test_measures_time():
    for path in Path(__file__).parent.rglob("test_*.py"):
        named = {x.attr for x in ast.walk(ast.parse(path.read_text())) if hasattr(x, "attr")}
        assert not named & {"perf_counter", "process_time", "thread_time", "perf_counter_ns"}, path


def test_a_bare_import_is_light_and_flips_no_flag():
    code = (
        "import sys, deeplinear, jax; "
        "heavy = [m for m in ('sklearn', 'xarray', 'matplotlib', 'numba', 'panel', 'pandas', "
        "'PIL', 'dask', 'zarr', 'optax') if m in sys.modules]; "
        "assert not heavy, heavy; assert not jax.config.jax_enable_x64"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_public_is_there_and_documented():
    for name in deeplinear.__all__:
        assert (getattr(deeplinear, name).__doc__ or "").strip(), name
        assert name in dir(deeplinear)
