"""The pictures of "Depth on your matrix", by Bokeh: sheets side by side, and curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    Range1d,
)
from bokeh.palettes import Cividis256, Greys256
from bokeh.plotting import figure

from ..colours import COLOURS
from .look import Look
from .pictures import dressed
from .sheets import Frame, Sheet

_LINES = ("solid", "dashed", "dotted", "dotdash", "dashdot")
_MARKERS = ("circle", "square", "triangle", "diamond", "inverted_triangle")
_NAMED = 16  # columns whose names are written
_WIDTH = 300


class Sheets:
    """Sheets of one table: one source for all, so that what they share is sent once."""

    def __init__(
        self, look: Look, frame: Frame, sheets: Sequence[Sheet], fade: str = "off"
    ) -> None:
        m, n = frame.missing.shape
        self.look, self.frame = look, frame
        data: dict[str, list[Any]] = {"x": [0], "y": [0], "w": [n], "h": [m]}
        data["veil"] = [_veil(frame, look)]
        if frame.places is not None:
            data["where"] = [frame.places]
        for k, sheet in enumerate(sheets):
            for name, value in (("words", sheet.words), ("low", sheet.low), ("high", sheet.high)):
                if value is not None:
                    data[f"{name}{k}"] = [value]
            data[f"cells{k}"] = [_rgba(sheet) if sheet.cells.ndim == 3 else sheet.cells]
        self.source = ColumnDataSource(data, name="sheets")
        low, high = frame.limits
        palette = Greys256 if frame.is_image else Cividis256
        self.colours = LinearColorMapper(
            palette=palette, low=low, high=high, nan_color="rgba(0,0,0,0)"
        )
        self.ranges = Range1d(0, n, bounds=(0, n)), Range1d(m, 0, bounds=(0, m))
        self.veils: list[Any] = []
        self.plots = [self._plot(k, sheet, fade) for k, sheet in enumerate(sheets)]

    def show_fade(self, fade: str) -> None:
        """Whether what was observed is faded, so that what was filled in stands out."""
        for veil in self.veils:
            veil.visible = self._faded(fade)

    def _faded(self, fade: str) -> bool:
        return fade == "on" or (fade == "auto" and not self.frame.is_image)

    def _plot(self, k: int, sheet: Sheet, fade: str) -> figure:
        m, n = self.frame.missing.shape
        height = int(np.clip(_WIDTH * m / n, 150, 420)) if self.frame.is_image else 300
        plot = figure(
            height=height,
            x_range=self.ranges[0],
            y_range=self.ranges[1],
            sizing_mode="stretch_width",
            toolbar_location=None,
            tools="pan,box_zoom,reset",
            name=f"sheet{k}",
        )
        dressed(plot, self.look)
        plot.title.text = sheet.title
        plot.background_fill_color = "#8fc1e3" if self.frame.is_image else "#ffffff"
        place = {"x": "x", "y": "y", "dw": "w", "dh": "h", "source": self.source}
        if sheet.cells.ndim == 3:
            shown = plot.image_rgba(image=f"cells{k}", **place)
        else:
            shown = plot.image(image=f"cells{k}", color_mapper=self.colours, **place)
        if k:  # on the sheet as given nothing was filled in
            self.veils.append(plot.image_rgba(image="veil", visible=self._faded(fade), **place))
        plot.add_tools(HoverTool(renderers=[shown], tooltips=self._tooltips(k, sheet)))
        plot.grid.visible = False
        plot.axis.visible = not self.frame.is_image
        if len(self.frame.names) and n <= _NAMED:
            plot.xaxis.ticker = FixedTicker(ticks=[j + 0.5 for j in range(n)])
            plot.xaxis.major_label_overrides = {
                j + 0.5: name[:14] for j, name in enumerate(self.frame.names)
            }
            plot.xaxis.major_label_orientation = 0.9
        return plot

    def _tooltips(self, k: int, sheet: Sheet) -> Any:
        # Bokeh escapes what fields hold
        if sheet.words is not None:
            return [("cell", "@where"), ("value", f"@words{k}")]
        if sheet.low is not None:
            return [
                ("value", f"@cells{k}{{0.000}}"),
                ("90 %", f"@low{k}{{0.000}} to @high{k}{{0.000}}"),
            ]
        return [("column, row", "$x{0}, $y{0}")] if sheet.cells.ndim == 3 else [
            ("value", f"@cells{k}{{0.000}}")
        ]  # fmt: skip


def spectra(look: Look, values: Mapping[str, np.ndarray]) -> figure:
    """Singular values against their index, a line for each depth."""
    plot = _curves(look, "singular values", "index", log=True)
    for k, (name, sigma) in enumerate(values.items()):
        sigma = sigma[sigma > 0][:200]
        _line(plot, k, name, np.arange(1, len(sigma) + 1), sigma)
    return _with_legend(plot, look)


def validation(
    look: Look, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], implicit: bool
) -> figure:
    """Held-out error against strength, a line for each depth; the best of each is larger."""
    label = "part of the energy left" if implicit else "strength (in units of the noise)"
    tried = [x for strength, _ in curves.values() for x in strength]
    plot = _curves(look, "validation: held-out error", label, x_log=bool(tried))
    for k, (name, (strength, error)) in enumerate(curves.items()):
        if not len(error):
            continue
        _line(plot, k, name, strength, error)
        best = int(np.argmin(error))
        plot.scatter(
            [strength[best]], [error[best]], size=14, fill_color=None, line_width=2,
            line_color=_colour(k),
        )  # fmt: skip
    return _with_legend(plot, look)


def coverage(look: Look, found: tuple[np.ndarray, np.ndarray]) -> figure:
    """How often intervals hold what they should, against how often they say."""
    plot = _curves(look, "calibration of the intervals", "coverage that was asked for")
    plot.line([0, 1], [0, 1], color=look.faint, line_dash="dashed", legend_label="as they say")
    there = np.isfinite(found[1])
    _line(plot, 0, "reached", found[0][there], found[1][there])
    return _with_legend(plot, look, "top_left")


def _curves(look: Look, title: str, label: str, log: bool = False, x_log: bool = False) -> figure:
    plot = figure(
        height=230,
        y_axis_type="log" if log else "linear",
        x_axis_type="log" if x_log else "linear",
        sizing_mode="stretch_width",
        tools="hover",
        tooltips=[(label, "$x{0.000}"), ("value", "$y{0.0000}")],
    )
    dressed(plot, look)
    plot.toolbar_location = None
    plot.title.text, plot.xaxis.axis_label = title, label
    return plot


def _line(plot: figure, k: int, name: str, x: np.ndarray, y: np.ndarray) -> None:
    colour = _colour(k)
    plot.line(x, y, color=colour, line_width=2, line_dash=_LINES[k % 5], legend_label=name)
    every = max(1, len(x) // 12)
    plot.scatter(
        x[::every], y[::every], marker=_MARKERS[k % 5], size=7, color=colour, legend_label=name
    )


def _colour(k: int) -> str:
    # black, the last of them, cannot be seen on a dark page
    return COLOURS[k % (len(COLOURS) - 1)]


def _with_legend(plot: figure, look: Look, place: str = "top_right") -> figure:
    if plot.legend:
        plot.legend.update(
            location=place,
            background_fill_color=look.card,
            background_fill_alpha=0.7,
            label_text_color=look.text,
            border_line_color=None,
            label_text_font_size="11px",
            spacing=0,
            padding=4,
        )
    return plot


def _veil(frame: Frame, look: Look) -> np.ndarray:
    """The colour of the card, half transparent, over what was observed."""
    red, green, blue = (int(look.card[k : k + 2], 16) for k in (1, 3, 5))
    colour = np.uint32(170 << 24 | blue << 16 | green << 8 | red)
    return np.where(frame.missing, np.uint32(0), colour)


def _rgba(sheet: Sheet) -> np.ndarray:
    gone = np.isnan(sheet.cells).any(axis=2)
    colours = np.rint(255 * np.clip(np.nan_to_num(sheet.cells), 0, 1)).astype(np.uint8)
    out = np.empty((*gone.shape, 4), np.uint8)
    out[..., :3], out[..., 3] = colours, np.where(gone, 0, 255)
    return out.view(np.uint32)[..., 0]
