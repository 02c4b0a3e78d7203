"""Arrays to matplotlib figures: the look of every picture, and those that several parts draw.
Nothing is computed here, so every picture shows exactly what it was given.

Loads matplotlib: whoever draws imports this when it draws.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.colors
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from .colours import COLOURS
from .errors import InputError

#: One for each of `COLOURS`.
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_MOST_NAMES, _LONGEST = 40, 24  # names below an image, and characters of one
MISSING_COLOURS = {"gray": "#8fc1e3"}  # a hue that grey pictures do not have; white elsewhere

_STYLE: dict[Any, Any] = {  # Any: the keys of matplotlib are one long Literal
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own (no pyplot, no global state), laid out so that nothing overlaps."""
    return Figure(figsize=(width, height), layout=_layout())


def _layout() -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.02, hspace=0.02)


def draw_panels(
    names: Sequence[str],
    ax: Axes | Sequence[Axes] | np.ndarray | None,
    drawers: Mapping[str, Callable[[Axes], None]],
    default: Sequence[str],
) -> Any:
    """Draw the pictures ``names`` (by default ``default``; on one given Axes the first of these),
    each on its Axes: those given, or new ones side by side in a figure of pyplot.

    **Returns** the Axes, of several pictures an array of them. **Raises** `InputError` for a name
    that ``drawers`` does not have, and for a number of axes that does not match.
    """
    given = None if ax is None else np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    chosen = list(names or (default if given is None else default[: len(given)]))
    for name in chosen:
        if name not in drawers:
            raise InputError(
                f"there is no picture {name!r} of this result: take one of {', '.join(drawers)}."
            )
    if given is not None and len(given) != len(chosen):
        raise InputError(
            f"ax must hold one Axes for each of the {len(chosen)} pictures, got {len(given)}."
        )
    with house_style():
        axes = _new_axes(len(chosen)) if given is None else given
        for name, axis in zip(chosen, axes, strict=True):
            drawers[name](axis)
    return axes[0] if len(chosen) == 1 else axes


def one_axes(ax: Axes | None, width: float = 6.4, height: float = 4.6) -> Axes:
    """``ax``, or that of a new figure of pyplot, which notebooks and ``plt.show()`` show."""
    return _new_axes(1, width, height)[0] if ax is None else ax


def _new_axes(count: int, width: float = 5.6, height: float = 4.2) -> np.ndarray:
    from matplotlib import pyplot  # where there is no screen it draws into memory

    figure = pyplot.figure(figsize=(width * count, height), layout=_layout())
    return np.atleast_1d(figure.subplots(1, count))


@contextmanager
def house_style() -> Iterator[None]:
    """The look of every figure of the house, for a ``with`` around the making of its axes and
    legends.
    """
    # Not rc_context, which puts back all settings: those too that a notebook makes with its first
    # figure, without which it shows no later one.
    before = {key: mpl.rcParams[key] for key in _STYLE}
    mpl.rcParams.update(_STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def line_style(index: int) -> dict[str, Any]:
    """Colour and marker of the index-th of several lines, which stay apart without colour too."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[index % len(MARKERS)],
        "ms": 5,
        "lw": 1.6,
    }


def pictures(
    images: Mapping[str, np.ndarray],
    *,
    columns: int = 3,
    limits: tuple[float, float] = (0.0, 1.0),
    cmap: str = "gray",
    bar_label: str = "",
    width: float = 12.0,
    names: Sequence[str] = (),
) -> Figure:
    """A grid of titled images (h × w, or h × w × 3) on one colour scale; NaN shows in the colour of
    :data:`MISSING_COLOURS`. ``names`` of the images' columns stand below the lowest of each.
    """
    first = next(iter(images.values()))
    rows = -(-len(images) // columns)
    aspect = min(max(first.shape[0] / first.shape[1], 0.3), 1.2)
    with house_style():
        figure = new_figure(width, rows * (width / columns * aspect + 0.35))
        axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        missing = MISSING_COLOURS.get(cmap, "white")
        colours = mpl.colormaps[cmap].with_extremes(bad=missing)
        shown = None
        for axis, (title, image) in zip(axes, images.items(), strict=False):
            if image.ndim == 3:
                hole = np.isnan(image).any(axis=2, keepdims=True)
                image = np.where(hole, mpl.colors.to_rgb(missing), np.clip(image, 0, 1))
            shape = "equal" if first.shape[0] / first.shape[1] == aspect else "auto"
            shown = axis.imshow(
                image,
                cmap=colours,
                vmin=limits[0],
                vmax=limits[1],
                interpolation="nearest",
                aspect=shape,
            )
            axis.set_title(title)
        for place, axis in enumerate(axes):
            lowest = len(images) - columns <= place < len(images)
            if len(names) == first.shape[1] and lowest:
                _name_columns(axis, names)
            else:
                axis.set_axis_off()
        if bar_label and shown is not None:
            figure.colorbar(shown, ax=list(axes), label=bar_label, shrink=0.6, pad=0.01)
    return figure


def _name_columns(axis: Axes, names: Sequence[str]) -> None:
    """Names below the columns of an image, every other one or fewer where there are many."""
    shown = range(0, len(names), -(-len(names) // _MOST_NAMES))
    short = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names]
    axis.set_xticks(shown, [short[j] for j in shown], rotation=90, fontsize=8, parse_math=False)
    axis.tick_params(length=0)
    axis.set_yticks([])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def spectra(values: Mapping[str, np.ndarray]) -> Figure:
    """Singular values against their index, on a logarithmic scale, one line per name."""
    with house_style():
        figure = new_figure(8.5, 4.6)
        draw_spectra(figure.subplots(), values)
    return figure


def draw_spectra(axis: Axes, values: Mapping[str, np.ndarray], units: str = "") -> None:
    """Singular values against their index, on a logarithmic scale, one line per name; those that
    are 0 are counted in the legend.
    """
    for index, (name, sigma) in enumerate(values.items(), start=len(axis.lines)):
        sigma = np.asarray(sigma, float)
        zero = int(np.sum(sigma == 0))
        name += f" ({zero} of {len(sigma)} are 0)" if zero else ""
        shown = np.where(sigma == 0, np.nan, sigma)  # a logarithmic axis has no zero
        _line(axis, index, name, np.arange(1, len(sigma) + 1), shown)
    axis.set_yscale("log")
    whole_ticks(axis.xaxis)
    axis.set_xlabel("index of the singular value")
    axis.set_ylabel(f"singular value{units}")
    axis.legend()


def whole_ticks(side: Axis) -> None:
    """Ticks of ``axes.xaxis`` or ``axes.yaxis`` at whole numbers alone."""
    side.set_major_locator(MaxNLocator(integer=True))


def curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    xlabel: str,
    ylabel: str,
    diagonal: bool = False,
    width: float = 8.5,
    height: float = 4.6,
) -> Figure:
    """Named lines in one frame; ``diagonal`` adds the line of what is left unchanged."""
    with house_style():
        figure = new_figure(width, height)
        axis = figure.subplots()
        if diagonal:
            low, high = (
                min(x.min() for x, _ in lines.values()),
                max(x.max() for x, _ in lines.values()),
            )
            axis.plot([low, high], [low, high], color="#888888", lw=1, ls="--", label="unchanged")
        for index, (name, (x, y)) in enumerate(lines.items()):
            _line(axis, index, name, x, y)
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        axis.legend()
    return figure


def _line(
    axis: Axes, index: int, name: str, x: Sequence[float] | np.ndarray, y: np.ndarray
) -> None:
    axis.plot(
        x,
        y,
        label=name,
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        markevery=max(1, len(y) // 12),
        ms=6,
        lw=1.8,
    )


def letter_panels(figure: Figure) -> Figure:
    """``figure`` with a bold a, b, c … at the upper left of its panels, in the order of their
    making; colour bars, insets and second axes of a panel get none.
    """
    places: list[tuple[float, ...]] = []
    for axis in figure.axes:
        place = tuple(np.round(axis.get_position(original=True).bounds, 6))
        if not axis.axison or hasattr(axis, "_colorbar") or place in places:
            continue
        places.append(place)
        axis.annotate(
            chr(ord("a") + len(places) - 1),
            xy=(0, 1),
            xycoords="axes fraction",
            xytext=(-34, 9),
            textcoords="offset points",
            fontsize=14,
            fontweight="bold",
        )
    return figure
