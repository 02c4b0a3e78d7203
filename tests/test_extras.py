"""Without the optional packages: everything else works, and what does not says so in a sentence."""

import subprocess
import sys

import numpy as np
import pytest

from deeplinear.extras import EXTRAS

# As if packages were not installed (None in sys.modules would be found there by others).
BLOCK = """
import sys

class Blocked:
    names = {names!r}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
SWEEP = """
task = "completion"
[fixed]
runs = 1
scale = 1e-3
rank = 1
size = 6
observed = 20
[grid]
seed = {range = [0, 2]}
depth = [2]
"""


def run(names, code, folder):
    script = BLOCK.format(names=names) + code
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=folder, check=False
    )


def command(names, folder, *args):
    code = f"sys.argv = {['deeplinear', *args]!r}\nfrom deeplinear.cli import main\nmain()"
    done = run(names, code, folder)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 6))
    X[rng.random(X.shape) < 0.2] = np.nan
    np.savetxt(tmp_path / "table.csv", X, delimiter=",")
    lines = [f"u{i},i{j},{X[i, j]}" for i, j in np.argwhere(~np.isnan(X))]
    (tmp_path / "list.csv").write_text("\n".join(["user,item,rating", *lines]))
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path


def test_the_table_names_the_packages_of_the_extras():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert any(needed.startswith(package) for needed in extras[extra])


@pytest.mark.parametrize("missing", ["xarray", "zarr"])
@pytest.mark.parametrize(
    "args",
    [
        ["run", "cmv_fig4", "--smoke"],
        ["all", "--smoke"],
        ["draw", "cmv_fig4"],
    ],
)
def test_experiments(folder, missing, args):
    done = command([missing], folder, "experiment", *args)
    assert done.returncode == 2
    sentence = f"experiments need {missing}; run: pip install 'deeplinear[experiments]'."
    assert sentence in " ".join(done.stderr.split())


@pytest.mark.parametrize("missing", ["xarray", "zarr"])
def test_the_list_of_experiments_needs_nothing(folder, missing):
    done = command([missing], folder, "experiment", "list")
    assert done.returncode == 0, done.stderr
    assert "cmv_fig4" in done.stdout


@pytest.mark.parametrize("missing", ["xarray", "zarr", "dask", "distributed"])
def test_sweeps(folder, missing):
    done = command([missing], folder, "sweep", "sweep.toml")
    assert done.returncode == 2
    assert f"need {missing}; run: pip install 'deeplinear[experiments]'." in " ".join(
        done.stderr.split()
    )
    assert not (folder / "sweep.zarr").exists()


@pytest.mark.parametrize(
    "args",
    [
        ["complete", "table.csv", "-o", "out.csv", "--depth", "2", "--report", "report"],
        ["ratings", "list.csv", "-o", "out.csv", "--depth", "2", "--report", "report"],
    ],
)
def test_text_needs_none_of_them(folder, args):
    done = command(list(EXTRAS), folder, *args)
    assert done.returncode == 0, done.stderr
    assert (folder / "out.csv").exists()


@pytest.mark.parametrize(
    "call",
    [
        "dl.experiments.load_experiment('cmv_fig4')",
        "dl.experiments.load_dataset('x')",
        "dl.experiments.save_dataset(None, 'x')",
        "dl.experiments.run_sweep(dl.experiments.read_sweep('sweep.toml'), 'x', workers=0)",
        "dl.experiments.open_sweep('x')",
    ],
)
def test_public_functions_raise_an_input_error(folder, call):
    code = f"import deeplinear as dl\ntry:\n    {call}\nexcept dl.InputError as e:\n    print(e)"
    done = run(list(EXTRAS), code, folder)
    assert done.returncode == 0, done.stderr
    assert "; run: pip install 'deeplinear[experiments]'." in done.stdout


SPARSE = """
import warnings
import numpy as np, deeplinear as dl
warnings.simplefilter("ignore")
rng = np.random.default_rng(3)
m, n, count = 700, 900, 220_000  # many for NumPy's sort
P, Q = rng.normal(size=(m, 3)), rng.normal(size=(n, 3))
where = rng.choice(m * n, count, replace=False)
i, j = np.divmod(where[:60_000] if few else where, n)
x = np.einsum("tk,tk->t", P[i], Q[j]) + 0.1 * rng.normal(size=len(i))
model = dl.DeepMatrixCompletion(depth=2, strength=1.0, random_state=0)
model.fit((i, j, x))
at = rng.integers(m, size=500), rng.integers(n, size=500)
np.save("found.npy", model.predict(at))
"""


@pytest.mark.slow
@pytest.mark.parametrize("few", [True, False])
def test_without_a_compiler_sparse_data_give_the_same(folder, few):
    found = []
    for missing in (["numba", "llvmlite", "jax"], []):
        done = run(missing, f"few = {few}\n{SPARSE}", folder)
        assert done.returncode == 0, done.stderr
        found.append(np.load(folder / "found.npy"))
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)


def test_without_a_compiler_huge_sparse_data_are_refused_in_a_sentence(folder):
    code = (
        "import deeplinear as dl\n"
        "lines = list(range(10_000))\n"
        "triples = (lines, lines[::-1], [float(i % 7) for i in lines])\n"
        "try:\n"
        "    dl.DeepMatrixCompletion(depth=2, strength=1.0).fit(triples)\n"
        "except dl.MissingPackageError as e:\n"
        "    print(e)"
    )
    done = run(["numba", "llvmlite"], code, folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "sparse data of more than 67,108,864 cells need numba; run: pip install 'deeplinear[fast]'."
    )


def test_without_jax_the_laboratory_says_what_to_install(folder):
    code = (
        "import deeplinear as dl\n"
        "for name in ('gradient_flow', 'curvature', 'Completion'):\n"
        "    try:\n"
        "        getattr(dl, name)\n"
        "    except ImportError as e:\n"
        "        print(isinstance(e, dl.InputError), e)\n"
    )
    done = run([name for name, extra in EXTRAS.items() if extra == "lab"], code, folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("gradient_flow", "curvature", "Completion"), strict=True):
        assert line.startswith(f"True {name} and the rest of the laboratory need ")
        assert line.endswith("; run: pip install 'deeplinear[lab]'.")


def test_the_doctor_passes_without_the_laboratory(folder):
    lab = [name for name, extra in EXTRAS.items() if extra in ("lab", "fast")]
    code = (
        "import deeplinear as dl\n"
        "found = dl.doctor()\n"
        "for name in ('kernel', 'flow', 'compiled loops', 'compiled programs'):\n"
        "    print(found[name].passed, found[name].summary)\n"
        "print(found['fit of a table'].passed)"
    )
    done = run(lab, code, folder)
    assert done.returncode == 0, done.stderr
    *lines, table = done.stdout.splitlines()
    assert table == "True"
    for line in lines:
        assert line.startswith("None ")
        assert "is not installed; pip install 'deeplinear[" in line
