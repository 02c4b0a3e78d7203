"""The laboratory in a notebook: it runs, and shows a picture with its points."""

import pytest


@pytest.mark.slow
def test_a_notebook_shows_the_laboratory():
    reason = "a notebook's kernel is not installed: pip install nbclient ipykernel"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    cells = [
        'import jax\njax.config.update("jax_enable_x64", True)\nimport deeplinear as dl',
        "page = dl.explorer.phase_portrait(dl.explorer.State(depth=4.0, runs=100))\npage",
        "from bokeh.models import ColumnDataSource\n"
        "len(page.select(lambda pane: hasattr(pane, 'object'))), type(page).__name__",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbclient.NotebookClient(notebook, timeout=300).execute()
    shown = [output for output in notebook.cells[1].outputs if "data" in output]
    html = "".join(output["data"].get("text/html", "") for output in shown)
    assert "endpoints" in html
    assert "effective rank of the endpoints" in html
