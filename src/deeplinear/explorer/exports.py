"""What is on the page as files: the picture by matplotlib, the endpoints as CSV."""

import io

import numpy as np

from ..colours import COLOURS
from ..labels import short_depth_label
from .compute import Endpoints, Paths, in_force, map_of, rank_one_curve
from .pictures import MAP_NAMES, in_plane
from .state import State


def as_picture(state: State, found: Endpoints | None, paths: Paths | None, kind: str) -> io.BytesIO:
    """The plane as ``kind``, "png" or "svg": map, curve of rank one, endpoints and paths."""
    # not before it is asked for: matplotlib takes a quarter of a second
    from ..plots import house_style, new_figure

    state, _ = in_force(state)
    out = io.BytesIO()
    with house_style():
        figure = new_figure(6.4, 5.6)
        axis, r = figure.subplots(), state.reach
        values = map_of(state)
        there = values[np.isfinite(values)]
        if there.size:
            low, high = np.quantile(there, (0.01, 0.99))
            shown = axis.imshow(
                values, origin="lower", extent=(-r, r, -r, r), vmin=low, vmax=high, cmap="viridis"
            )
            figure.colorbar(shown, ax=axis, label=MAP_NAMES[state.map], shrink=0.85)
        axis.plot(*rank_one_curve(state), "--", color="white", lw=1)
        if paths is not None:
            x, y = in_plane(state, paths.W)
            axis.plot(x[1:].T, y[1:].T, color="white", lw=0.5, alpha=0.6)
            axis.plot(x[0], y[0], color=COLOURS[4], lw=2)
        if found is not None:
            for kept, style in ((found.ok, "."), (~found.ok, "x")):
                colour = COLOURS[1] if style == "." else COLOURS[3]
                axis.plot(*in_plane(state, found.W[kept]), style, ms=4, color=colour)
        axis.grid(False)
        axis.set(xlim=(-r, r), ylim=(-r, r), xlabel=f"w{state.plane[0]}")
        axis.set(ylabel=f"w{state.plane[1]}", title=short_depth_label(state.depth))
        figure.savefig(out, format=kind, dpi=150)
    out.seek(0)
    return out


def as_csv(state: State, found: Endpoints | None) -> io.BytesIO:
    """One line for each run: its start, its end, whether that is its limit, its effective rank.

    The first line is a comment with the state, as an address has it.
    """
    lines = [f"# {state.to_query()}"]
    names = [f"{kind}_w{name}" for kind in ("start", "end") for name in ("11", "12", "21", "22")]
    lines.append(",".join(["run", *names, "ok", "effective_rank"]))
    if found is not None:
        table = np.concatenate([found.start.reshape(-1, 4), found.W.reshape(-1, 4)], 1)
        for run, (row, ok, rank) in enumerate(zip(table, found.ok, found.rank, strict=True)):
            cells = ",".join(repr(float(x)) for x in row)
            lines.append(f"{run},{cells},{int(ok)},{float(rank)!r}")
    return io.BytesIO(("\n".join(lines) + "\n").encode())
