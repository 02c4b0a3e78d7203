"""The pictures of runs: flows, ensembles, diffusions, descents and chains, on given axes.

One run is a line per singular value; several are thin lines, with their median where they share
their times. What did not end as asked is said above the picture, or in its legend.
"""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .spectrum import effective_rank_of
from .status import Status, counted, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: How the axis of time is labelled.
TIME = "time t (with the factor 1/N)"

#: An entry of W: (row, column), from 0.
Entry = tuple[int, int]

#: So many lines have a name each; more are shades of one scale.
LEGEND = 7
_BINS = 40
_DECADES = 100.0  # what spans more than this has a logarithmic axis


@dataclass(frozen=True)
class Runs:
    """What is drawn of runs: NumPy arrays, the run first and then the time.

    ``ts`` (runs, T), ``log_s`` (runs, T, k), ``W`` (runs, T, m, n), ``energy`` (runs, T) or None,
    ``status`` (runs,). ``saved``: whether there are times at all, or the ends alone (T = 1).
    ``how``: the sentence that says how to get times. ``noun``: what a run is called.
    """

    ts: np.ndarray
    log_s: np.ndarray
    W: np.ndarray
    energy: np.ndarray | None
    status: np.ndarray
    saved: bool = True
    how: str = "give saveat=, the times to keep"
    noun: str = "run"
    xlabel: str = TIME

    def plot(
        self,
        names: Sequence[str],
        ax: Any,
        default: Sequence[str],
        plane: tuple[Entry, Entry] | None = None,
    ) -> Any:
        """The pictures of these names, as `plots.draw_panels` has them."""
        from .plots import draw_panels

        return draw_panels(names, ax, self.drawers(plane), default)

    def drawers(
        self, plane: tuple[Entry, Entry] | None = None
    ) -> dict[str, Callable[["Axes"], None]]:
        """What can be drawn, by name."""
        drawers: dict[str, Callable[[Axes], None]] = {
            "singular_values": self._singular_values,
            "effective_rank": self._effective_rank,
            "endpoints": partial(self._endpoints, plane=plane),
            "paths": partial(self._paths, plane=plane),
        }
        if self.energy is not None:
            drawers["energy"] = self._energy
        return drawers

    def _need_times(self, name: str) -> None:
        if not self.saved:
            raise InputError(f"the picture {name!r} needs points on the way: {self.how}.")

    def _singular_values(self, axis: "Axes") -> None:
        with np.errstate(over="ignore"):
            s = np.exp(self.log_s)
        if self.saved:
            labels = [rf"$\sigma_{{{i + 1}}}$" for i in range(s.shape[2])]
            draw_courses(axis, self.ts, s, labels, self.xlabel, "singular values of W", self.noun)
        else:
            _spectra(axis, s[:, -1], self.noun)
        self.say_endings(axis)

    def _energy(self, axis: "Axes") -> None:
        self._need_times("energy")
        assert self.energy is not None
        energy = self.energy[..., None]
        draw_courses(axis, self.ts, energy, ["E"], self.xlabel, "energy E(W)", self.noun)
        self.say_endings(axis)

    def _effective_rank(self, axis: "Axes") -> None:
        if len(self.ts) > 1:
            rank = effective_rank(self.log_s[:, -1])
            draw_ranks(axis, rank, Status.succeeded(self.status), f"{self.noun}s", self.status)
            return
        self._need_times("effective_rank")
        rank = effective_rank(self.log_s)[..., None]
        draw_courses(
            axis, self.ts, rank, [""], self.xlabel, "effective rank of W", self.noun, log=False
        )
        self.say_endings(axis)

    def _endpoints(self, axis: "Axes", plane: tuple[Entry, Entry] | None) -> None:
        ends = last_reached(self.W)
        draw_endpoints(axis, ends, self.status, f"{self.noun}s", checked_plane(plane, ends))

    def _paths(self, axis: "Axes", plane: tuple[Entry, Entry] | None) -> None:
        self._need_times("paths")
        ends = last_reached(self.W)
        plane = checked_plane(plane, ends)
        x, y = (self.W[..., i, j] for i, j in plane)
        _thin(axis, x, y, "#555555", len(x))
        draw_endpoints(axis, ends, self.status, f"{self.noun}s", plane)

    def say_endings(self, axis: "Axes") -> None:
        """In the title, how runs ended that did not end as asked."""
        failed = ~Status.succeeded(self.status)
        if not failed.any():
            return
        if len(self.status) == 1:
            say(axis, headline(self.status[0]))
        else:
            which = counted(self.status[failed])
            text = f"{failed.sum():,} of {len(failed):,} {self.noun}s did not end as asked"
            say(axis, f"{text} ({which})")


def say(axis: "Axes", text: str) -> None:
    """A sentence above the picture."""
    axis.set_title(textwrap.fill(text, 48), fontsize="medium")


def effective_rank(log_s: np.ndarray) -> np.ndarray:
    """exp of the entropy of σ/Σσ from log σ (…, k), in descending order; NaN where not finite."""
    top = log_s[..., :1]
    with np.errstate(invalid="ignore", over="ignore"):
        rank = effective_rank_of(np.nan_to_num(np.exp(log_s - np.where(top > -np.inf, top, 0.0))))
    return np.where(np.isnan(log_s).any(-1) | np.isposinf(top[..., 0]), np.nan, rank)


def last_reached(W: np.ndarray) -> np.ndarray:
    """The last finite matrix of each run (runs, T, m, n); NaN where there is none."""
    finite = np.isfinite(W).all((-2, -1))
    place = W.shape[1] - 1 - np.argmax(finite[:, ::-1], axis=1)
    ends = W[np.arange(len(W)), place]
    return np.where(finite.any(1)[:, None, None], ends, np.nan)


def checked_plane(plane: tuple[Entry, Entry] | None, ends: np.ndarray) -> tuple[Entry, Entry]:
    """``plane`` if it names two entries of W; by default the two in which the ends spread most."""
    m, n = ends.shape[-2:]
    if plane is None:
        if m * n < 2:
            raise InputError("a plane needs two entries of W, which has one: take another picture.")
        finite = ends[np.isfinite(ends).all((-2, -1))].reshape(-1, m * n)
        # relative to the largest: entries that agree but for rounding keep their order
        spread = np.ptp(finite, axis=0) if len(finite) else np.zeros(m * n)
        level = np.where(spread > 1e-6 * max(spread.max(), 1e-300), spread, 0.0)
        first, second = sorted(np.argsort(-level, kind="stable")[:2].tolist())
        return divmod(first, n), divmod(second, n)
    try:
        (i, j), (k, l) = plane
        good = 0 <= i < m and 0 <= j < n and 0 <= k < m and 0 <= l < n
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(
            f"plane must be two entries of W, ((row, column), (row, column)) from 0, in {m}×{n}, "
            f"got {plane!r}."
        )
    return (i, j), (k, l)


def entry_name(entry: Entry) -> str:
    """``w₁₂`` of (0, 1), for mathtext: rows and columns count from 1 as in formulas."""
    i, j = entry[0] + 1, entry[1] + 1
    return rf"$w_{{{i}{',' if max(i, j) > 9 else ''}{j}}}$"


def draw_courses(
    axis: "Axes",
    x: np.ndarray,
    y: np.ndarray,
    labels: Sequence[str],
    xlabel: str,
    ylabel: str,
    noun: str = "run",
    log: bool | None = None,
) -> None:
    """y (runs, T, k) against x (runs, T): of one run a line for each of k ``labels``, of several
    thin lines and their median. Logarithmic axes where the numbers span decades (or as ``log``
    says); zeros are left out there, and lines that have nothing else are named as 0.
    """
    runs, _, k = y.shape
    if log is None:
        log = spans_decades(y)
    if log:
        axis.set_yscale("log")
    if spans_decades(x) and _geometric(x):
        axis.set_xscale("log")
        x = np.where(x > 0, x, np.nan)
    shared = runs > 1 and _shared(x)
    whole = f"{runs:,} {noun}s, and their median" if shared else f"{runs:,} {noun}s"
    title = whole if runs > 1 and k > 1 else None
    for i, (label, colour) in enumerate(zip(labels, line_colours(k), strict=True)):
        values = np.where(np.isfinite(y[..., i]), y[..., i], np.nan)
        if log:
            label += " = 0" * bool((values[np.isfinite(values)] == 0).all())
            values = np.where(values > 0, values, np.nan)
        named = (k > 1 and k <= LEGEND) or (k > 1 and i in (0, k - 1))
        name = label if named else None
        if runs == 1:
            mark = "o" if y.shape[1] <= 30 else None
            axis.plot(x[0], values[0], color=colour, marker=mark, ms=3.5, lw=1.6, label=name)
            continue
        _thin(axis, x, values, colour, runs)
        if shared:
            axis.plot(
                np.nanmax(x, axis=0), _median(values), color=colour, lw=2, label=name or whole
            )
        else:
            axis.plot([], [], color=colour, lw=2, label=name or whole)
    axis.set_xlabel(xlabel)
    axis.set_ylabel(ylabel)
    if axis.get_legend_handles_labels()[1]:
        axis.legend(title=title, frameon=True, framealpha=0.8, edgecolor="none")


def _median(values: np.ndarray) -> np.ndarray:
    """Over the runs, at the times that all of them reached: later ones would be of another set."""
    return np.where(np.isnan(values).any(0), np.nan, np.median(values, axis=0))


def _shared(x: np.ndarray) -> bool:
    """Whether all runs (runs, T) have the same times, as far as each got."""
    first = np.nanmax(np.where(np.isfinite(x), x, -np.inf), axis=0)
    return bool((~np.isfinite(x) | (x == first)).all() and np.isfinite(first).all())


def _thin(axis: "Axes", x: np.ndarray, y: np.ndarray, colour: Any, runs: int) -> None:
    """The lines of several runs (runs, T), as one collection."""
    from matplotlib.collections import LineCollection

    points = np.stack(np.broadcast_arrays(x, y), axis=-1)
    lines = [run[np.isfinite(run).all(-1)] for run in points]
    alpha = float(np.clip(30 / runs, 0.08, 0.6)) if runs > 1 else 1.0
    width = 0.6 if runs > 1 else 1.6
    axis.add_collection(LineCollection(lines, colors=[colour], linewidths=width, alpha=alpha))
    axis.autoscale_view()


def line_colours(count: int) -> list[Any]:
    """The house's colours, or so many shades of one scale where those would come twice."""
    import matplotlib as mpl

    from .plots import COLOURS

    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return list(mpl.colormaps["viridis"](np.linspace(0.0, 0.92, count)))


def spans_decades(values: np.ndarray) -> bool:
    """Whether ``values`` ≥ 0 span more than two powers of ten (but for zeros and the infinite)."""
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    return bool(
        positive.size and (finite >= 0).all() and positive.max() > _DECADES * positive.min()
    )


def _geometric(x: np.ndarray) -> bool:
    """Whether times crowd at their beginning, as those of a geometric series do."""
    there = x[np.isfinite(x) & (x > 0)]
    return bool(np.median(there) < 0.2 * there.max())


def _spectra(axis: "Axes", s: np.ndarray, noun: str) -> None:
    """The singular values (runs, k) against their index, where there are the ends alone."""
    from .plots import COLOURS, draw_spectra, whole_ticks

    if len(s) == 1:
        draw_spectra(axis, {"end": s[0]}, " of W")
        return
    index = np.broadcast_to(np.arange(1, s.shape[1] + 1), s.shape)
    labels = [""]
    draw_courses(
        axis,
        index,
        s[..., None],
        labels,
        "index of the singular value",
        "singular value of W",
        noun,
    )
    axis.collections[-1].set_color(COLOURS[0])
    whole_ticks(axis.xaxis)


def draw_endpoints(
    axis: "Axes",
    ends: np.ndarray,
    status: np.ndarray,
    noun: str,
    plane: tuple[Entry, Entry],
    label: str = "ended as asked",
) -> None:
    """Where runs ended, in the plane of two entries of W: dots, and crosses for those that did not
    end as asked; runs without a finite end are counted in the legend.
    """
    from .plots import COLOURS

    x, y = (ends[:, i, j] for i, j in plane)
    there, ok = np.isfinite(x) & np.isfinite(y), Status.succeeded(status)
    size = float(np.clip(4000 / max(len(x), 1), 4, 30))
    kinds = [(there & ok, "o", COLOURS[0], label)]
    kinds += [(there & ~ok, "x", COLOURS[1], f"did not ({counted(status[~ok])})")]
    for where, mark, colour, label in kinds:
        if where.any():
            text = f"{where.sum():,} {noun}" + f": {label}" * bool(label)
            axis.scatter(x[where], y[where], s=size, marker=mark, color=colour, lw=0.8, label=text)
    if not there.all():
        axis.plot([], [], " ", label=f"{(~there).sum():,} {noun} without a finite end")
    axis.set_xlabel(entry_name(plane[0]))
    axis.set_ylabel(entry_name(plane[1]))
    if not (ok & there).all() or len(x) > 1:
        # above the picture: points lie everywhere
        axis.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def draw_ranks(
    axis: "Axes", rank: np.ndarray, ok: np.ndarray, noun: str, status: np.ndarray
) -> None:
    """The histogram of effective ranks: runs that ended as asked, and the others on top of them."""
    from .plots import COLOURS, whole_ticks

    there = np.isfinite(rank)
    low = math.floor(rank[there].min()) if there.any() else 1
    high = max(low + 1, math.ceil(rank[there].max())) if there.any() else 2
    bins = np.linspace(low, high, _BINS + 1)
    shown, labels = [rank[there & ok]], [f"{(there & ok).sum():,} {noun}"]
    if (there & ~ok).any():
        shown.append(rank[there & ~ok])
        labels.append(f"{(there & ~ok).sum():,} not ended as asked ({counted(status[~ok])})")
    axis.hist(shown, bins.tolist(), stacked=True, color=COLOURS[: len(shown)], label=labels)
    if not there.all():
        axis.plot([], [], " ", label=f"{(~there).sum():,} {noun} without a finite end")
    if high - low > 2:
        whole_ticks(axis.xaxis)
    axis.set_xlabel("effective rank of W at the end")
    axis.set_ylabel(f"number of {noun}")
    whole_ticks(axis.yaxis)
    axis.legend(fontsize="small")
