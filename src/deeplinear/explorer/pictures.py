"""The pictures of the laboratory, by Bokeh: made once, then fed in place."""

import numpy as np
from bokeh.models import (
    ColorBar,
    ColumnDataSource,
    HoverTool,
    LinearColorMapper,
    Span,
)
from bokeh.palettes import Viridis256
from bokeh.plotting import figure

from ..labels import short_depth_label
from .compute import Endpoints, Paths, rank_one_curve
from .look import Look
from .state import State

MAP_NAMES = {
    "volume": "log Riemannian volume",
    "stratum": "log volume on rank 1",
    "entropy": "entropy",
    "energy": "loss (+ weight decay)",
    "free": "free energy E − S/β",
}
#: Below it the loss on a path is that of the path's errors.
_LEAST_LOSS = 1e-3
_BINS = np.linspace(1, 2, 41)


class Portrait:
    """The plane of two entries: map, endpoints, paths and the curve of rank one."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.colours = LinearColorMapper(palette=Viridis256, nan_color="#ffffff")
        self.map = ColumnDataSource({"image": [], "at": [], "size": []}, name="map")
        self.points = ColumnDataSource({"x": [], "y": [], "rank": []}, name="endpoints")
        self.running = ColumnDataSource({"x": [], "y": [], "rank": []}, name="running")
        self.paths = ColumnDataSource({"xs": [], "ys": []}, name="paths")
        self.heads = ColumnDataSource({"x": [], "y": []}, name="heads")
        self.one = ColumnDataSource({"x": [], "y": []}, name="followed")
        self.curve = ColumnDataSource({"x": [], "y": []}, name="curve")
        plot = dressed(
            figure(
                aspect_ratio=1.02,
                x_range=(-1.6, 1.6),
                y_range=(-1.6, 1.6),
                sizing_mode="scale_width",
                toolbar_location="above",
                tools="pan,wheel_zoom,box_zoom,reset,save,tap",
                name="portrait",
            ),
            look,
        )
        plot.image("image", "at", "at", "size", "size", color_mapper=self.colours, source=self.map)
        plot.line("x", "y", source=self.curve, color="white", line_dash="dashed", line_width=1.5)
        plot.multi_line("xs", "ys", source=self.paths, color="white", alpha=0.55, line_width=1)
        self.cloud = plot.scatter(
            "x", "y", source=self.points, size=5, fill_color=look.points, line_color="black",
            line_width=0.4, fill_alpha=0.8,
        )  # fmt: skip
        self.crosses = plot.scatter(
            "x", "y", source=self.running, size=8, marker="x", line_color="#CC79A7", line_width=2
        )
        plot.scatter("x", "y", source=self.heads, size=6, fill_color="white", line_color="black")
        plot.line("x", "y", source=self.one, color="black", line_width=5)
        plot.line("x", "y", source=self.one, color="#E69F00", line_width=2.5)
        plot.add_tools(
            HoverTool(
                renderers=[self.cloud, self.crosses],
                tooltips=[("at", "(@x{0.000}, @y{0.000})"), ("effective rank", "@rank{0.000}")],
            )
        )
        bar = ColorBar(color_mapper=self.colours, width=10, padding=2, margin=4)
        bar.background_fill_color, bar.major_label_text_color = look.card, look.text
        plot.add_layout(bar, "right")
        self.plot = plot

    def show_map(self, state: State, values: np.ndarray) -> None:
        """The map, its colours clipped at its quantiles: it may be infinite on a curve."""
        there = values[np.isfinite(values)]
        low, high = np.quantile(there, (0.01, 0.99)) if there.size else (0.0, 1.0)
        if high - low < 1e-9:
            low, high = low - 0.5, high + 0.5
        self.colours.update(low=float(low), high=float(high))
        at, size = [-state.reach], [2 * state.reach]
        self.map.data = {"image": [values.astype(np.float32)], "at": at, "size": size}
        x, y = rank_one_curve(state)
        self.curve.data = {"x": x, "y": y}
        across, up = state.plane
        self.plot.xaxis.axis_label, self.plot.yaxis.axis_label = f"w{across}", f"w{up}"
        self.plot.title.text = f"{MAP_NAMES[state.map]}, {short_depth_label(state.depth)}"

    def show_reach(self, reach: float) -> None:
        """The plane from −reach to reach."""
        for side in (self.plot.x_range, self.plot.y_range):
            side.update(start=-reach, end=reach, reset_start=-reach, reset_end=reach)

    def show_points(self, state: State, found: Endpoints) -> None:
        """Dots: runs at their end. Crosses: those that were still on their way."""
        for source, kept in ((self.points, found.ok), (self.running, ~found.ok)):
            kept = kept & np.isfinite(found.rank)
            x, y = in_plane(state, found.W[kept])
            source.data = {"x": x, "y": y, "rank": found.rank[kept]}

    def show_paths(self, state: State, found: Paths, frame: int) -> None:
        """The paths up to a per cent of their times; the endpoints wait for the last."""
        k = frame_index(found, frame)
        x, y = in_plane(state, found.W[:, : k + 1])
        self.paths.data = {"xs": list(x[1:]), "ys": list(y[1:])}
        self.heads.data = {"x": x[1:, -1], "y": y[1:, -1]} if frame < 100 else {"x": [], "y": []}
        self.one.data = {"x": x[0], "y": y[0]}
        self.cloud.glyph.update(fill_alpha=0.8 if frame == 100 else 0.1)


class Times:
    """Singular values, loss and log |det W| of the followed run, against time."""

    def __init__(self, look: Look) -> None:
        self.source = ColumnDataSource(
            {name: [1.0, 1.0] for name in ("t", "s1", "s2", "energy", "det")}, name="times"
        )
        self.now = [Span(location=1, dimension="height", line_color=look.faint) for _ in range(3)]
        singular, energy, det = (self._plot(look, i) for i in range(3))
        for name, colour, dash in zip(("s1", "s2"), look.lines, ("solid", "dashed"), strict=True):
            singular.line("t", name, source=self.source, color=colour, line_dash=dash, line_width=2)
        energy.line("t", "energy", source=self.source, color=look.lines[0], line_width=2)
        det.line("t", "det", source=self.source, color=look.lines[0], line_width=2)
        singular.title.text = "followed run: singular values (smaller one dashed)"
        energy.title.text, det.title.text = "its loss (drawn down to 1e−3)", "its log |det W|"
        det.xaxis.axis_label = "time"
        self.plots = [singular, energy, det]

    def _plot(self, look: Look, place: int) -> figure:
        plot = dressed(
            figure(
                height=(150, 130, 165)[place],
                y_axis_type="linear" if place == 2 else "log",
                sizing_mode="stretch_width",
                tools="save,hover",
                tooltips=[("t", "$x"), ("value", "$y")],
            ),
            look,
        )
        plot.toolbar_location = None
        plot.add_layout(self.now[place])
        return plot

    def show(self, found: Paths, frame: int) -> None:
        floor = 1e-300  # a logarithmic axis has no zero
        self.source.data = {
            "t": found.ts,
            "s1": np.maximum(found.singular[:, 0], floor),
            "s2": np.maximum(found.singular[:, 1], floor),
            "energy": np.maximum(found.energy, _LEAST_LOSS),
            "det": found.log_det,
        }
        self.show_now(found, frame)

    def show_now(self, found: Paths, frame: int) -> None:
        at = float(found.ts[frame_index(found, frame)])
        for line in self.now:
            line.location = at


class Ranks:
    """The histogram of the effective rank of the endpoints, from 1 to 2."""

    def __init__(self, look: Look) -> None:
        self.source = ColumnDataSource(
            {
                "left": _BINS[:-1],
                "right": _BINS[1:],
                "top": np.zeros(len(_BINS) - 1),
                "all": np.zeros(len(_BINS) - 1),
            },
            name="ranks",
        )
        plot = dressed(
            figure(
                height=165,
                x_range=(1, 2),
                sizing_mode="stretch_width",
                tools="hover",
                tooltips=[("effective rank", "@left{0.000} to @right{0.000}"), ("runs", "@all")],
            ),
            look,
        )
        plot.toolbar_location, plot.y_range.start = None, 0
        bars = {"left": "left", "right": "right", "source": self.source, "line_color": None}
        plot.quad(top="top", bottom=0, fill_color=look.bars, **bars)
        plot.quad(
            top="all", bottom="top", fill_color="#CC79A7", hatch_pattern="/", hatch_color=look.card,
            **bars,
        )  # fmt: skip
        plot.title.text = "effective rank of the endpoints (hatched: crosses)"
        plot.xaxis.axis_label = None
        plot.yaxis.axis_label = "runs"
        self.plot = plot

    def show(self, found: Endpoints) -> None:
        """Those still on their way are stacked upon those at their end."""
        ended, _ = np.histogram(found.rank[found.ok & np.isfinite(found.rank)], _BINS)
        every, _ = np.histogram(found.rank[np.isfinite(found.rank)], _BINS)
        self.source.patch({"top": [(slice(None), ended)], "all": [(slice(None), every)]})


def frame_index(found: Paths, frame: int) -> int:
    """The last of the times that is shown: time itself runs evenly."""
    return max(int(np.searchsorted(found.ts, found.ts[-1] * frame / 100, "right")) - 1, 0)


def in_plane(state: State, W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two entries of the plane, of matrices (…, 2, 2)."""
    (i, j), (k, l) = ((int(name[0]) - 1, int(name[1]) - 1) for name in state.plane)
    return W[..., i, j], W[..., k, l]


def dressed(plot: figure, look: Look) -> figure:
    """The colours of the theme."""
    plot.update(
        background_fill_color=look.card,
        border_fill_color=look.card,
        outline_line_color=look.grid,
        min_border=4,
    )
    plot.toolbar.logo = None
    plot.title.update(text_color=look.text, text_font_size="13px", text_font_style="normal")
    for axis in plot.axis:
        axis.update(
            axis_label_text_color=look.text,
            major_label_text_color=look.text,
            axis_line_color=look.faint,
            major_tick_line_color=look.faint,
            minor_tick_line_color=None,
            axis_label_text_font_style="normal",
        )
    plot.grid.grid_line_color = look.grid
    return plot
