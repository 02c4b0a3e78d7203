"""What a first call costs: public entry points in fresh processes, with empty and filled caches.

    python -m benchmarks.cold_start [--only geodesic,fit] [--python PYTHON]

Each case runs in a process of its own, twice: with a cache folder that is empty (the first process
ever) and with the one that the first run has filled. The table has the CPU seconds (user and
system, of the process and its children) and the wall seconds of each, and the CPU seconds of
the same call again in the same process: what the second process takes beyond that, the column
"before", is spent before its own arithmetic starts. ``result`` is a number of the call, for
comparisons of versions of the library.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}

_SETUP = """
import json, math, os, resource, sys, time
import numpy as np

def seconds():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(x.ru_utime + x.ru_stime for x in used)
"""
_WIDE = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import deeplinear as dl
rng = np.random.default_rng(0)
"""
_AGAIN = """
start = seconds()
found = call()
first, start = seconds() - start, seconds()
call()
print(json.dumps([seconds() - start, found, first]))
"""


def _case(setup: str, call: str) -> str:
    body = textwrap.indent(textwrap.dedent(call).strip(), "    ")
    return f"{_SETUP}{textwrap.dedent(setup)}\ndef call():\n{body}\n{_AGAIN}"


_POINTS = """
def pair(d):
    A, B = np.eye(d) + 0.4 * rng.normal(size=(2, d, d))
    return A, B if np.linalg.det(A) * np.linalg.det(B) > 0 else B[::-1]
"""
_OWN = """
target = jnp.asarray(rng.normal(size=(3, 3)))
mask = jnp.asarray(rng.random((3, 3)) < 0.6)
def energy(W):
    return 0.5 * jnp.sum(mask * (W - target) ** 2)
W0 = 0.1 * rng.normal(size=(3, 3))
"""
_README = """
energy = dl.Completion(rows=[0, 1, 1], cols=[1, 0, 1], values=[1.0, 1.0, 0.0], shape=(2, 2))
"""
_SWEEP = """
grid = {"depth": [2, 3, math.inf], "observed": [20, 30]}
sweep = dl.experiments.Sweep("completion", grid=grid, fixed={"size": 8})
"""

#: name → (a script that prints [CPU seconds of the call again, a number, CPU seconds of the call])
CASES = {
    "import deeplinear": _case("", "import deeplinear\nreturn 0"),
    "log_volume 2×2": _case(_WIDE, "return float(dl.log_volume(np.eye(2) + 0.1, 3))"),
    "norm 2×2": _case(_WIDE, "return float(dl.norm(np.eye(2) + 0.1, np.ones((2, 2)), 3))"),
    "geodesic.distance d=2": _case(
        _WIDE + _POINTS + "A, B = pair(2)", "return float(dl.geodesic.distance(A, B, 3))"
    ),
    "geodesic.distance d=3": _case(
        _WIDE + _POINTS + "A, B = pair(3)", "return float(dl.geodesic.distance(A, B, 3))"
    ),
    "geodesic.exp d=2": _case(
        _WIDE + _POINTS + "A, B = pair(2)", "return float(dl.geodesic.exp(A, B, 3).length)"
    ),
    "curvature.scalar d=2": _case(
        _WIDE + _POINTS + "A, B = pair(2)", "return float(dl.curvature.scalar(A, 3))"
    ),
    "curvature.scalar d=3": _case(
        _WIDE + _POINTS + "A, B = pair(3)", "return float(dl.curvature.scalar(A, 3))"
    ),
    "README's flow": _case(
        _WIDE + _README,
        """
        W0 = 1e-3 * np.array([[0.3, -0.5], [0.9, 0.2]])
        return float(dl.gradient_flow(energy, W0, depth=3, stop_energy=1e-4).W[0, 0])
        """,
    ),
    "gradient_flow own 3×3": _case(
        _WIDE + _OWN, "return float(dl.gradient_flow(energy, W0, depth=3).W[0, 0])"
    ),
    "langevin own 3×3": _case(
        _WIDE + _OWN,
        """
        run = dl.langevin(energy, W0 + np.eye(3), 3, 4.0, t1=0.1, dt=0.01, key=0, chains=10)
        return float(run.W[0, 0, 0])
        """,
    ),
    "ensemble own 3×3": _case(
        _WIDE + _OWN,
        """
        found = dl.ensemble(energy, dl.normal_start((3, 3), 0.1), depth=3, runs=64)
        return float(found.W[0, 0, 0])
        """,
    ),
    "fit of a table 60×40": _case(
        "import deeplinear as dl\nrng = np.random.default_rng(0)",
        """
        X = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 40))
        X[rng.random(X.shape) < 0.5] = np.nan
        return float(dl.DeepLinearImputer(depth=3, random_state=0).fit_transform(X)[0, 0])
        """,
    ),
    "fit of six ratings": _case(
        "import deeplinear as dl",
        """
        pairs = np.array([list("aabbcc"), list("xyxzyz")]).T
        values = [1.0, 2.0, 3.0, 4.0, 2.0, 5.0]
        model = dl.DeepMatrixCompletion(random_state=0).fit(pairs, values)
        return float(model.predict(np.array([["a", "z"]]))[0])
        """,
    ),
    "sweep of six tasks": _case(
        _WIDE + _SWEEP + "import shutil, tempfile\nfolder = tempfile.mkdtemp()",
        """
        report = dl.experiments.run_sweep(sweep, folder + "/store.zarr", workers=0, force=True)
        return report.computed
        """,
    ),
}
#: name → words of the command line
COMMANDS = {
    "deeplinear --help": ["--help"],
    "deeplinear experiment list": ["experiment", "list"],
    "deeplinear complete (no file)": ["complete", "there-is-no.csv", "-o", "out.csv"],
    "deeplinear ratings (no file)": ["ratings", "there-is-no.csv", "-o", "out.csv"],
    "deeplinear sweep (no file)": ["sweep", "there-is-no.toml"],
}


def _run(words: list[str], cache: Path) -> tuple[float, float, str, str]:
    """CPU and wall seconds of a process with this cache folder, and its two streams."""
    environment = {**os.environ, **THREADS, "XDG_CACHE_HOME": str(cache)}
    environment["NUMBA_CACHE_DIR"] = str(cache / "numba")
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(words, stdout=out, stderr=err, env=environment)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        wall = time.perf_counter() - start
        for stream in (out, err):
            stream.seek(0)
        return usage.ru_utime + usage.ru_stime, wall, out.read(), err.read()


def row(name: str, python: str) -> dict:
    """The numbers of one case."""
    words = [python, "-c", CASES[name]] if name in CASES else [python, "-m", "deeplinear"]
    words += COMMANDS.get(name, [])
    with tempfile.TemporaryDirectory() as folder:
        found: dict = {}
        for which in ("first", "second"):
            if which == "second" and not any(Path(folder).iterdir()):  # nothing was kept
                found |= {f"second {kind}": found[f"first {kind}"] for kind in ("cpu", "wall")}
                continue
            cpu, wall, out, err = _run(words, Path(folder))
            found |= {f"{which} cpu": cpu, f"{which} wall": wall, "again": 0.0, "result": ""}
            if name in CASES:
                try:
                    found["again"], found["result"], _ = json.loads(out.splitlines()[-1])
                except (IndexError, ValueError):
                    return {"name": name, "failed": err.strip().splitlines()[-1:]}
        kept = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return {"name": name, "kept": kept / 1e6, **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="parts of names, with commas between")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    parts = options.only.split(",")
    print(f"{'':30} {'first process':>15} {'second process':>15} {'again':>7} {'before':>7}")
    print(f"{'CPU s, wall s':30} {'CPU':>7} {'wall':>7} {'CPU':>7} {'wall':>7} {'CPU':>7}", end="")
    print(f" {'CPU':>7} {'MB kept':>8}  result")
    for name in [*COMMANDS, *CASES]:
        if not any(part in name for part in parts):
            continue
        x = row(name, options.python)
        if "failed" in x:
            print(f"{name:30} failed: {x['failed']}", flush=True)
            continue
        numbers = [x[f"{w} {k}"] for w in ("first", "second") for k in ("cpu", "wall")]
        numbers += [x["again"], x["second cpu"] - 2 * x["again"]]  # it is called twice
        result = f"{x['result']:.12g}" if x["result"] != "" else ""
        print(
            f"{name:30}", *(f"{n:7.2f}" for n in numbers), f"{x['kept']:8.1f}  {result}", flush=True
        )


if __name__ == "__main__":
    main()
