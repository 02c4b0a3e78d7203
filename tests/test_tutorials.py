"""The tutorials: notebooks have the code and words of their pages, the site shows what came out."""

import base64
import re
from pathlib import Path

import pytest
from test_documented_code import blocks

ROOT = Path(__file__).parent.parent
reason = "what makes notebooks is not installed: pip install 'deeplinear[docs]'"
nbformat = pytest.importorskip("nbformat", reason=reason)
pytest.importorskip("jupytext", reason=reason)
pytest.importorskip("nbclient", reason=reason)

from website import tutorials  # noqa: E402

PICTURE = base64.b64encode(b"PNG").decode()
TEXT = """# Title

Words, and [a link](../plots.md#a-fit).

```python alt="A line"
print(1)
```

```sh
deeplinear doctor
```

<!-- not run: a cluster -->
```python .noeval
cluster = 1
```
"""


@pytest.fixture
def made(monkeypatch, tmp_path):
    """The notebook of TEXT as if it had been run: printed twice, drawn once, printed again."""
    (tmp_path / "page.md").write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(tutorials, "FOLDER", tmp_path)
    notebook = tutorials.notebook(TEXT)
    new = nbformat.v4.new_output
    notebook.cells[1].outputs = [
        new("stream", text="one\n"),
        new("stream", text="\x1b[31mtwo\x1b[0m\n"),
        new("display_data", {"image/png": PICTURE, "text/plain": "<Figure>"}),
        new("stream", text="three\n"),
    ]
    return notebook


def test_what_is_not_to_run_is_text():
    cells = tutorials.notebook(TEXT).cells
    assert [cell.cell_type for cell in cells] == ["markdown", "code", "markdown", "markdown"]
    assert cells[0].source.endswith("a link (plots in the documentation).")
    assert cells[2].source == "```sh\ndeeplinear doctor\n```"
    assert "```python\ncluster = 1" in cells[3].source


def test_the_page_shows_what_came_out(made):
    text, pictures = tutorials.page("page", made)
    assert pictures == {"page_1.png": b"PNG"}
    results = re.findall(r"```text \{\.result\}\n(.*?)\n```", text, re.S)
    assert results == ["one\ntwo", "three"]
    order = ["# Title", "page.ipynb", "../plots.md#a-fit", "print(1)", "one", "![A line]", "three"]
    places = [text.index(piece) for piece in order]
    assert places == sorted(places)
    assert "noeval" not in text


def test_a_picture_without_words_is_refused(made, monkeypatch):
    path = tutorials.FOLDER / "page.md"
    path.write_text(TEXT.replace(' alt="A line"', ""), encoding="utf-8")
    with pytest.raises(ValueError, match="page: a picture has no alt"):
        tutorials.page("page", made)


@pytest.mark.parametrize("name", tutorials.tutorial_names())
def test_each_tutorial(name):
    """The notebook runs what the tests run; links lead nowhere from it; a picture is in it; and
    overview and menu have it.
    """
    path = tutorials.FOLDER / f"{name}.md"
    notebook = tutorials.notebook(path.read_text("utf-8"))
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == [block.strip("\n") for _, block in blocks(path)]
    assert any(cell.metadata.get("alt") for cell in code)
    words = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "## What to conclude" in words
    assert not re.search(r"\]\((?!https?:)", words)
    assert f"({name}.md)" in (tutorials.FOLDER / "index.md").read_text("utf-8")
    assert f"- tutorials/{name}.md\n" in (ROOT / "mkdocs.yml").read_text("utf-8")


@pytest.mark.slow
def test_a_tutorial_is_executed_once(monkeypatch, tmp_path):
    monkeypatch.setattr(tutorials, "CACHE", tmp_path / "kept")
    made = tutorials.executed("multiple_imputation")
    text, pictures = tutorials.page("multiple_imputation", made)
    assert len(pictures) == 2
    assert "20 tables, pooled" in text
    assert "stderr" not in {
        output.get("name") for cell in made.cells for output in cell.get("outputs", ())
    }
    monkeypatch.setattr(tutorials, "NotebookClient", None)  # the second time it is only read
    assert (
        tutorials.page("multiple_imputation", tutorials.executed("multiple_imputation"))[0] == text
    )
