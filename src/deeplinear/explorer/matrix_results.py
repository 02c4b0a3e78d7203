"""What came of a fit, as cards of the page. Everything is computed already, and only shown."""

import html
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn

from .controls import card, text
from .look import Look, grid_css, widget_css
from .matrix_pictures import Sheets, coverage, spectra, validation
from .ratings_tasks import LongPreview, Rated
from .table_tasks import Completed, Preview


def understood(
    look: Look, found: Preview | LongPreview, drawn: bool = True
) -> list[pn.viewable.Viewable]:
    """What was understood of a file: sentences, the first cells, and ``drawn`` as given."""
    lines = "".join(f"<p>{html.escape(line.strip())}</p>" for line in found.lines)
    parts = [text(f"<h2>What was understood of {html.escape(found.name)}</h2>{lines}", look)]
    if found.head:
        parts.append(text(found.head, look))
    if drawn and isinstance(found, Preview):
        sheets = Sheets(look, found.frame, [found.given])
        sheets.plots[0].max_width = 460
        parts.append(pn.pane.Bokeh(sheets.plots[0], sizing_mode="stretch_width"))
    if found.bundled:
        parts.append(downloads(look, {"the data": found.source}))
    return [card(look, *parts)]


def completed(
    look: Look, found: Completed, fade: str, implicit: bool
) -> tuple[list[pn.viewable.Viewable], Sheets]:
    """(the cards of a completed table, its sheets)."""
    sheets = Sheets(look, found.frame, found.sheets, fade)
    shown = _grid(
        [pn.pane.Bokeh(plot, sizing_mode="stretch_width") for plot in sheets.plots],
        "repeat(3, minmax(0, 1fr))",
        "repeat(2, minmax(0, 1fr))",
    )
    curves = [validation(look, found.trials, implicit), spectra(look, found.spectra)]
    curves += [coverage(look, found.coverage)] if found.coverage is not None else []
    warned = "".join(f"<p>⚠ {html.escape(line)}</p>" for line in found.warnings)
    told = found.texts
    cards = [
        card(
            look,
            text(f"<p>{told['headline']}</p>{warned}", look),
            shown,
            text(_what_is_drawn(found), look),
            downloads(look, found.files),
        ),
        card(look, _curves(curves)),
        card(look, text(told["results"] + told["columns"], look)),
        card(look, text(f"<h2>What depth did here</h2>{told['explained']}", look)),
        _again(look, found.command, found.python),
    ]
    return cards, sheets


def rated(look: Look, found: Rated, implicit: bool, best: Any) -> list[pn.viewable.Viewable]:
    """The cards of a list of entries; ``best``: where the best for one user are shown."""
    curves = [validation(look, found.trials, implicit), spectra(look, found.spectra)]
    curves += [coverage(look, found.coverage)] if found.coverage is not None else []
    told = found.texts
    return [
        card(
            look,
            text(f"<p>{told['headline']}</p>", look),
            text(told["results"], look),
            downloads(look, found.files),
        ),
        card(look, text("<h2>The best for one of them</h2>", look), best),
        card(look, _curves(curves)),
        _again(look, found.command, found.python),
    ]


def _what_is_drawn(found: Completed) -> str:
    m, n = found.frame.missing.shape
    if found.frame.is_image:
        return (
            "<p>Missing pixels are blue in the picture as given. Point at a pixel to read it.</p>"
        )
    share = np.mean(found.frame.missing)
    return (
        f"<p>The first {m} rows and {n} columns, in mean deviations from each column's mean; "
        f"{share:.0%} of them were missing (white as given). What was observed is the same at "
        "every depth. Point at a cell for its value and its 90 % interval.</p>"
    )


def _curves(plots: list[Any]) -> pn.Column:
    return _grid(
        [pn.pane.Bokeh(plot, sizing_mode="stretch_width") for plot in plots],
        "repeat(3, minmax(0, 1fr))",
        "minmax(0, 1fr)",
    )


def _grid(children: list[Any], columns: str, medium: str) -> pn.Column:
    return pn.Column(
        *children,
        sizing_mode="stretch_width",
        styles={"display": "grid"},
        stylesheets=[grid_css(columns, medium)],
        margin=0,
    )


def _again(look: Look, command: str, python: str) -> pn.Column:
    return card(
        look,
        text(
            "<h2>The same from a terminal</h2>"
            f'<pre tabindex="0" class="command">{html.escape(command)}</pre>'
            "<h2>The same from Python</h2>"
            f'<pre tabindex="0" class="python">{html.escape(python)}</pre>',
            look,
        ),
    )


def downloads(look: Look, files: dict[str, Path]) -> pn.FlexBox:
    """A button for each file."""
    buttons = [
        pn.widgets.FileDownload(
            file=str(path),
            filename=path.name,
            label=f"Save {label}",
            button_type="default",
            stylesheets=[widget_css(look)],
            width=max(92, 40 + 8 * len(label)),
        )
        for label, path in files.items()
    ]
    return pn.FlexBox(*buttons, margin=0)
