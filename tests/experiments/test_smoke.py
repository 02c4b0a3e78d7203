"""Every experiment, in its small settings: by being in experiments/figures it is simulated,
checked, stored, drawn and shown here.
"""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from cases import slow
from PIL import Image

from deeplinear.experiments import experiment_names, load_dataset, load_experiment
from deeplinear.experiments.runner import run_experiment

# Their simulations are tested part by part in other files.
# The others stand for them: one of each kind of simulation (an ensemble, flows, chains, a sampler).
_QUICK = {"cmv_fig4", "cmv_fig5", "dyson", "exact_lambda_sweep"}


@pytest.mark.parametrize(
    "name", [name if name in _QUICK else slow(name) for name in experiment_names()]
)
def test_smoke(name, tmp_path):
    experiment = load_experiment(name)
    assert experiment.doc.strip(), (
        "say which paper and figure, what is known of the original, what is our choice"
    )
    assert experiment.source, "say whose question it is: authors, year, figure"
    assert experiment.duration, "say how long the full settings take"
    assert experiment.conclusion, "say what the full settings show"
    assert run_experiment(experiment, tmp_path, smoke=True)
    ds = load_dataset(tmp_path / name / "data.zarr")  # keeps the schema
    numbers = [v for v in ds.data_vars.values() if v.dtype.kind == "f"]
    assert numbers
    assert any(np.isfinite(v).any() for v in numbers)
    image = np.asarray(
        Image.open(io.BytesIO((tmp_path / name / f"{name}.png").read_bytes())).convert("L")
    )
    assert min(image.shape) > 300
    assert image.std() > 5, "the picture is blank"
    page = (tmp_path / name / "index.html").read_text()
    for key in experiment.summary(ds):
        assert isinstance(key, str)
    assert experiment.name in page
    assert not run_experiment(experiment, tmp_path, smoke=True)  # kept


@pytest.mark.slow
def test_all_of_them_by_one_command(tmp_path):
    code = "from deeplinear.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "experiment", "all", "--smoke", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "index.html").read_text()
    for name in experiment_names():
        assert f'href="{name}/index.html"' in index
