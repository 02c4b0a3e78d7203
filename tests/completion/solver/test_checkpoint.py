"""Checkpoints: a killed fit resumes to the same numbers; files of other fits are refused."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from completion_data import half_observed, same, table

from deeplinear import InputError
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import checkpoint, descent
from deeplinear.completion.solver.fit import fit

SCRIPT = """
import os, signal, sys, numpy as np
from deeplinear.completion.data.observations import Observations
from deeplinear.completion.solver import checkpoint
from deeplinear.completion.solver.fit import fit
checkpoint.SHARE = 1e9
rng = np.random.default_rng(5)
rows, cols = np.nonzero(rng.random((60, 40)) < 0.5)
X = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 40)) + 0.3 * rng.normal(size=(60, 40))
seen = Observations.from_triples(rows, cols, X[rows, cols], (60, 40))
def die(result):
    if result.n_sweeps == 20:
        os.kill(os.getpid(), signal.SIGKILL)
some = rows[:50], cols[:50], X[rows, cols][:50]
options = {"strength": 0.01, "tol": 0, "max_sweeps": 60, "patience": 60, "validation": some}
callback = die if len(sys.argv) > 2 else None
found = fit(seen, **options, checkpoint=sys.argv[1], callback=callback)
numbers = *found.objective, *found.left.ravel()[:20], *found.validation
print("done", found.n_sweeps, *numbers)
"""


def finished(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_killed_fit_resumes_to_the_same_numbers(tmp_path):
    undisturbed = finished(str(tmp_path / "a"))
    assert undisturbed.startswith("done 63 ")
    file = tmp_path / "b"
    killed = subprocess.run([sys.executable, "-c", SCRIPT, str(file), "die"])
    assert killed.returncode == -signal.SIGKILL
    with np.load(file) as saved:
        assert json.loads(bytes(saved["scalars"]))["total"] == 20
    assert finished(str(file)) == undisturbed


def test_another_problem_or_a_damaged_file_is_refused(rng, tmp_path):
    *_, seen = table(rng)
    file = tmp_path / "fit"
    fit(seen, checkpoint=file, max_sweeps=3)
    with pytest.raises(InputError, match="belongs to other data or other options"):
        fit(seen, checkpoint=file, max_sweeps=3, strength=0.3)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        fit(seen, checkpoint=file, max_sweeps=3)


def test_finished_fits_end_after_their_last_sweep(rng, tmp_path, monkeypatch):
    *_, seen = table(rng)
    monkeypatch.setattr(checkpoint, "SHARE", 1e9)  # written after every sweep
    first = fit(seen, checkpoint=tmp_path / "fit", strength=0.2)
    sweeps, plain = [], descent.sweep
    monkeypatch.setattr(descent, "sweep", lambda *args: sweeps.append(0) or plain(*args))
    again = fit(seen, checkpoint=tmp_path / "fit", strength=0.2)
    assert len(sweeps) == 1
    assert same(first, again)


def test_a_checkpoint_belongs_to_its_validation(tmp_path):
    (rows, cols, values), hidden, _ = half_observed(0, 0.1)
    seen, file = Observations.from_triples(rows, cols, values, (80, 60)), tmp_path / "fit"
    first, other = (tuple(x[part] for x in hidden) for part in (slice(0, 50), slice(50, 100)))
    options = {"strength": 0.3, "checkpoint": file, "threads": 1}

    def killed(found):
        if found.n_sweeps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(seen, validation=first, callback=killed, **options)
    assert file.exists()
    for wrong in (other, None):
        with pytest.raises(InputError, match="other data or other options"):
            fit(seen, validation=wrong, **options)
    resumed = fit(seen, validation=first, **options)
    whole = fit(seen, validation=first, strength=0.3, threads=1)
    np.testing.assert_array_equal(resumed.left, whole.left)
