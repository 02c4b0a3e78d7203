"""The library in a notebook's kernel: pictures are shown, also those after the library's own."""

import pytest

FLOW = """
import deeplinear as dl
import numpy as np
from matplotlib import pyplot as plt

energy = dl.Completion.from_dense(np.array([[1.0, np.nan], [0.5, 1.0]]))
flow = dl.gradient_flow(energy, 0.5 * np.eye(2), 2, t1=1.0)
"""


def test_the_style_of_a_picture_changes_nothing_else():
    import matplotlib as mpl

    from deeplinear.plots import house_style

    with mpl.rc_context({"interactive": False, "font.size": 7.0}):
        with house_style():
            assert mpl.rcParams["font.size"] == 11
            mpl.rcParams["interactive"] = True  # as a notebook does with its first figure
        assert mpl.rcParams["font.size"] == 7
        assert mpl.rcParams["interactive"]


def pictures(*cells):
    """How many pictures each cell shows."""
    reason = "a notebook's kernel is not installed: pip install nbclient ipykernel"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=300).execute()
    return [
        sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
    ]


@pytest.mark.slow
def test_pictures_after_the_first_are_shown():
    later = "figure, axes = plt.subplots()\n_ = axes.plot([1, 2])"
    assert pictures(FLOW, "axes = flow.plot()", later) == [0, 1, 1]


@pytest.mark.slow
def test_the_figure_of_an_experiment_is_shown():
    run = 'import deeplinear as dl\nresult = dl.experiments.run("cmv_fig4", depths=(3,), runs=10)'
    assert pictures(run, "result.plot()") == [0, 1]
