"""The tutorials as executed notebooks: each is a Markdown page of docs/tutorials whose Python is
run when the site is built.

The page is the only source. jupytext makes a notebook of it, nbclient runs it in a process and a
folder of its own, and the site shows what came out and hands on the notebook. A picture needs the
words for those who do not see it, after the fence's language: ```` ```python alt="…" ````. What is
not to run has a comment and ``.noeval``, as in
``<!-- not run: a cluster -->`` and ```` ```python .noeval ````.
"""

import base64
import hashlib
import io
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "tutorials"
CACHE = ROOT / ".tutorials"  # executed notebooks, until the page or the library changes
ARCHIVE = "tutorials.zip"
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:)[^)\s]*?([\w-]+)\.md(#[^)]*)?\)")


def tutorial_names() -> list[str]:
    """All tutorials, by the names of their files."""
    return sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")


def notebook(text: str) -> Any:
    """The notebook of a page, not yet run. Links to other pages become their names in words: a
    notebook that was downloaded lies beside none of them."""
    made = _read(text)
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "markdown":
            cell.source = _LINK.sub(r"\1 (\2 in the documentation)", cell.source)
            cell.source = re.sub(r"^```python .*$", "```python", cell.source, flags=re.M)
    made.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return made


def _read(text: str) -> Any:
    """As jupytext reads it, but with commands of the shell left in the text."""
    made = jupytext.reads(text, fmt="md")
    for number, cell in enumerate(made.cells):
        if cell.source.startswith("%%"):
            fence = f"```{cell.source.removeprefix('%%')}\n```"
            made.cells[number] = nbformat.v4.new_markdown_cell(fence)
    return made


def executed(name: str) -> Any:
    """The notebook of a tutorial with its results, kept in `CACHE`.

    **Raises** `nbclient.exceptions.CellExecutionError` if a cell does.
    """
    text = (FOLDER / f"{name}.md").read_text("utf-8")
    kept = CACHE / f"{name}-{_digest(text)}.ipynb"
    if kept.exists():
        return nbformat.read(kept, as_version=4)
    made = notebook(text)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            made,
            timeout=900,
            record_timing=False,
            resources={"metadata": {"path": folder}},
            extra_arguments=["--log-level=ERROR"],  # not that its sockets are on this machine
        )
        client.execute()
    for cell in made.cells:
        outputs = cell.get("outputs", [])
        if any(_picture(output) for output in outputs):
            # beside a picture, the value of the last line is but the name of a part of it
            cell.outputs = [o for o in outputs if _picture(o) or o.output_type == "stream"]
    CACHE.mkdir(exist_ok=True)
    for old in CACHE.glob(f"{name}-*.ipynb"):
        old.unlink()
    nbformat.write(made, kept)
    return made


def _picture(output: Any) -> str | None:
    return output.get("data", {}).get("image/png")


def _digest(text: str) -> str:
    """Of the page, of this file and of the library: what the results depend on here."""
    digest = hashlib.sha256(text.encode())
    for path in sorted([Path(__file__), *ROOT.glob("src/**/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def page(name: str, made: Any) -> tuple[str, dict[str, bytes]]:
    """Markdown of the site's page, with what each cell printed and drew, and its pictures.

    The words are those of the tutorial's file; the results of ``made`` follow their code.
    **Raises** ``ValueError`` for a picture without ``alt``.
    """
    pictures: dict[str, bytes] = {}
    parts = []
    cells = _read((FOLDER / f"{name}.md").read_text("utf-8")).cells
    for cell, ran in zip(cells, made.cells, strict=True):
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("```python .noeval", "```python"))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        said: list[str] = []
        for output in ran.outputs:
            if not (picture := _picture(output)):
                said.append(_text(output))
                continue
            if not cell.metadata.get("alt"):
                raise ValueError(f'{name}: a picture has no alt="…" after ```python')
            parts += _said(said)
            file = f"{name}_{len(pictures) + 1}.png"
            pictures[file] = base64.b64decode(picture)
            parts.append(f"![{cell.metadata['alt']}]({file})")
        parts += _said(said)
    title, _, rest = "\n\n".join(parts).partition("\n\n")
    offer = (
        f"[This page as a notebook]({name}.ipynb){{ download }} · "
        f"[all tutorials as notebooks]({ARCHIVE}){{ download }}"
    )
    return f"{title}\n\n{offer}\n\n{rest}\n", pictures


def _said(texts: list[str]) -> list[str]:
    """One block of what was printed; the list is emptied."""
    together = "\n".join(texts)
    texts.clear()
    return [f"```text {{.result}}\n{together}\n```"] if together else []


def _text(output: Any) -> str:
    """What an output says, without the escapes that colour it."""
    text = output.get("text") or output.get("data", {}).get("text/plain", "")
    return re.sub(r"\x1b\[[0-9;]*m", "", text).rstrip()


def site_files() -> tuple[dict[str, str], dict[str, str | bytes]]:
    """(pages, other files) of the folder ``tutorials`` of the site, by path."""
    pages: dict[str, str] = {}
    files: dict[str, str | bytes] = {}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in tutorial_names():
            made = executed(name)
            text, pictures = page(name, made)
            pages[f"tutorials/{name}.md"] = text
            files |= {f"tutorials/{file}": data for file, data in pictures.items()}
            files[f"tutorials/{name}.ipynb"] = nbformat.writes(made)
            packed.writestr(f"deeplinear-tutorials/{name}.ipynb", nbformat.writes(made))
    files[f"tutorials/{ARCHIVE}"] = archive.getvalue()
    return pages, files
