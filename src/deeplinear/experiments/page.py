"""Pages of experiments: one file each, picture included, which can be sent and opened anywhere."""

import base64
import html
import json
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..report.page import document, scrolled

if TYPE_CHECKING:
    import xarray as xr

    from .registry import Experiment

_MORE_CSS = """
h2 { margin-top: 34px; padding-top: 18px; }
table.pairs, table.data { width: auto; } table.data th, table.data td { text-align: left; }
table.data td:last-child { white-space: normal; }
table.pairs td { white-space: normal; vertical-align: top; text-align: left; }
table.pairs td:first-child { color: var(--quiet); white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 26px;
  margin-top: 28px; }
.card img { width: 100%; height: 210px; object-fit: contain; background: #fff;
  border: 1px solid var(--line); }
.card a { color: inherit; text-decoration: none; } .card b { display: block; margin-top: 8px; }
.failed { background: var(--failed); border-left: 4px solid #d55e00; padding: 10px 16px; }
pre { background: var(--code); padding: 10px 14px; overflow-x: auto; font-size: 13.5px; }
"""


def experiment_page(
    experiment: "Experiment",
    ds: "xr.Dataset",
    summary: Mapping[str, str | float],
    png: bytes,
    manifest: Mapping[str, Any],
) -> str:
    """The page of one experiment: description, figure, numbers, settings and manifest."""
    image, title = base64.b64encode(png).decode(), html.escape(experiment.title)
    parameters = json.loads(ds.attrs["parameters"])
    lead, *rest = prose(experiment.doc)
    sections = [
        lead,
        f'<figure><img src="data:image/png;base64,{image}" alt="{title}"></figure>',
        "<h2>Numbers</h2>" + pairs(summary) if summary else "",
        conclusion(experiment, str(manifest.get("settings", ""))),
        "<h2>About this experiment</h2>" + "".join(rest) if rest else "",
        "<h2>Settings</h2>" + pairs(parameters),
        change_one_thing(experiment),
        "<h2>Data</h2>" + variables(ds),
        "<h2>Manifest</h2>" + pairs({**manifest, "versions": json.loads(ds.attrs["versions"])}),
    ]
    subtitle = f"experiment <code>{html.escape(experiment.name)}</code>"
    subtitle += f" · {html.escape(experiment.source)}" if experiment.source else ""
    if str(manifest.get("settings")).startswith("smoke"):
        subtitle += " · small settings, for a quick look only"
    return _document(experiment.title, subtitle, sections)


def conclusion(experiment: "Experiment", settings: str) -> str:
    """What the full settings say, and where the comparison with the paper is, as HTML."""
    if not experiment.conclusion:
        return ""
    ours = "" if settings == "full" else "<p class='quiet'>Of the full settings, not of these:</p>"
    return (
        f"<h2>What to conclude</h2>{ours}{''.join(prose(experiment.conclusion))}"
        "<p>Beside what was published: the page <em>The literature, run again</em> of the "
        "documentation (<code>docs/literature.md</code>).</p>"
    )


def one_change(experiment: "Experiment") -> tuple[str, str]:
    """How to run the experiment with another value of one setting, and how to change anything: the
    commands, and the line of Python.
    """
    name, settings = experiment.called, experiment.smoke or experiment.full
    shown = shlex.quote(name)
    key, value = next(iter(settings.items()))
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    text = f"'{text}'" if any(c in text for c in " ()[]'*") else text
    literal = repr(value).replace("inf", 'float("inf")')
    commands = (
        f"deeplinear experiment run {shown} --set {key}={text}\n"
        f"deeplinear experiment copy {name} mine.py    # then change anything, and\n"
        "deeplinear experiment run mine.py --letters"
    )
    if name != experiment.name:  # a file of one's own is changed where it is
        commands = f"deeplinear experiment run {shown} --set {key}={text}"
    return commands, f'dl.experiments.run("{name}", {key}={literal}).plot()'


def change_one_thing(experiment: "Experiment") -> str:
    """`one_change` as HTML; nothing for an experiment without settings."""
    if not (experiment.smoke or experiment.full):
        return ""
    lines = html.escape("\n\n".join(one_change(experiment)))
    return f"<h2>Change one thing</h2><pre>{lines}</pre>"


def index_page(entries: Sequence[tuple[str, str, Path | None]], failures: Mapping[str, str]) -> str:
    """The index: one card for each (name, title, picture), and what failed."""
    cards = []
    for name, title, image in entries:
        shown = f'<img src="{html.escape(str(image))}" alt="">' if image else ""
        link = f'<a href="{html.escape(name)}/index.html">{shown}<b>{html.escape(title)}</b></a>'
        cards.append(f'<div class="card">{link}<code>{html.escape(name)}</code></div>')
    failed = [
        f'<p class="failed"><code>{html.escape(name)}</code> failed: {html.escape(why)}</p>'
        for name, why in failures.items()
    ]
    subtitle = f"{len(entries)} experiments" + (f", {len(failures)} failed" if failures else "")
    return _document(
        "Experiments", subtitle, [*failed, f'<div class="cards">{"".join(cards)}</div>']
    )


def _document(title: str, subtitle: str, sections: Sequence[str]) -> str:
    from .. import __version__

    return document(title, f"{subtitle} · deeplinear {__version__}", sections, _MORE_CSS)


def prose(doc: str) -> list[str]:
    """A docstring as HTML, an element for each paragraph or list, with code, emphasis and bold.

    >>> from deeplinear.experiments.page import prose
    >>> prose("A *fine* title.\\n\\n- one ``x``\\n- two")
    ['<p>A <em>fine</em> title.</p>', '<ul><li>one <code>x</code></li><li>two</li></ul>']
    """
    blocks = [block for block in re.split(r"\n\s*\n", doc.strip()) if block.strip()]
    return [_block(block) for block in blocks] or ["<p></p>"]


def _block(block: str) -> str:
    lines = block.splitlines()
    if all(line.startswith("    ") for line in lines):
        return f"<pre>{html.escape(textwrap.dedent(block))}</pre>"
    if re.match(r"[-*] ", lines[0]):
        items = re.split(r"(?m)^[-*] ", block)[1:]
        return "<ul>" + "".join(f"<li>{_inline(item)}</li>" for item in items) + "</ul>"
    return f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    text = html.escape(" ".join(text.split()), quote=False)
    text = re.sub(r"``(.+?)``|`(.+?)`", lambda m: f"<code>{m[1] or m[2]}</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"(?<![\w*])\*([^\s*][^*]*?)\*(?![\w*])", r"<em>\1</em>", text)


def pairs(values: Mapping[str, Any]) -> str:
    """A two-column table of names and values."""
    rows = "".join(
        f"<tr><td>{html.escape(str(k))}</td><td>{_value(v)}</td></tr>" for k, v in values.items()
    )
    return scrolled(f'<table class="pairs">{rows}</table>', "numbers")


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{html.escape(str(k))} {_value(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    if value is None:
        return "–"
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))


def variables(ds: "xr.Dataset") -> str:
    """A table of the variables of a dataset: dimensions, type, units and meaning."""
    head = "".join(f"<th>{x}</th>" for x in ("variable", "dimensions", "type", "units", "meaning"))
    rows = []
    for name, array in ds.data_vars.items():
        shape = " × ".join(f"{dim} {size}" for dim, size in array.sizes.items()) or "a number"
        meaning = array.attrs.get("long_name", array.attrs.get("description", ""))
        cells = (str(name), shape, array.dtype.name, array.attrs.get("units", ""), meaning)
        rows.append(
            "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"
        )
    return scrolled(
        f'<table class="data"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>',
        "variables",
    )
