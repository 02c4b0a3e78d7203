"""The pictures of samples: chains of one law, and running estimates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .run_plots import (
    LEGEND,
    Entry,
    checked_plane,
    draw_courses,
    draw_endpoints,
    draw_ranks,
    effective_rank,
    line_colours,
    say,
    spans_decades,
)
from .status import Status, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_chains(
    log_s: np.ndarray,
    energy: np.ndarray,
    W: np.ndarray,
    status: Status,
    names: Sequence[str],
    ax: Any,
    plane: tuple[Entry, Entry] | None = None,
) -> Any:
    """The pictures of samples (chains, draws, …) of one law; see `GibbsResult.plot`."""
    from .plots import draw_panels

    chains, draws, k = log_s.shape
    which = np.full(chains * draws, Status.converged)
    count = np.broadcast_to(np.arange(1.0, draws + 1), (chains, draws))
    with np.errstate(over="ignore"):
        s = np.exp(log_s).reshape(-1, k)

    def say_mixing(axis: "Axes") -> None:
        if not Status.succeeded(status):
            say(axis, headline(status))

    def singular_values(axis: "Axes") -> None:
        logarithmic = spans_decades(s) and bool((s > 0).all())
        low, high = (float(end(s[np.isfinite(s)])) for end in (np.min, np.max))
        bins = (np.geomspace if logarithmic else np.linspace)(low, high, 81)
        for i, colour in enumerate(line_colours(k)):
            name = rf"$\sigma_{{{i + 1}}}$" if k <= LEGEND or i in (0, k - 1) else None
            axis.hist(s[:, i], bins.tolist(), histtype="step", lw=1.6, color=colour, label=name)
        if logarithmic:
            axis.set_xscale("log")
        axis.set_xlabel("singular value of W")
        axis.set_ylabel("number of samples")
        axis.legend()
        say_mixing(axis)

    def energies(axis: "Axes") -> None:
        draw_courses(axis, count, energy[..., None], ["E"], "draw", "energy E(W)", "chain")
        say_mixing(axis)

    def ranks(axis: "Axes") -> None:
        rank = effective_rank(log_s).ravel()
        draw_ranks(axis, rank, np.ones(len(rank), bool), "samples", which)
        axis.set_xlabel("effective rank of W")
        say_mixing(axis)

    def ends(axis: "Axes") -> None:
        points = W.reshape(-1, *W.shape[-2:])
        draw_endpoints(axis, points, which, "samples", checked_plane(plane, points), label="")
        say_mixing(axis)

    drawers = {"singular_values": singular_values, "energy": energies}
    drawers |= {"effective_rank": ranks, "endpoints": ends}
    return draw_panels(names, ax, drawers, ("singular_values", "energy"))


def draw_estimate(
    samples: np.ndarray, estimate: np.ndarray, error: np.ndarray, status: Status, ax: Any
) -> Any:
    """A running estimate with a band of one standard error; see `BallVolume.plot`."""
    from .plots import COLOURS, house_style, one_axes

    with house_style():
        axis = one_axes(ax)
        low, high = estimate - error, estimate + error
        axis.fill_between(
            samples, low, high, color=COLOURS[0], alpha=0.2, lw=0, label="± one standard error"
        )
        axis.plot(samples, estimate, color=COLOURS[0], lw=1.6, label="estimate")
        axis.set_xlabel("number of samples")
        axis.set_ylabel("log volume of the ball")
        if not Status.succeeded(status):
            say(axis, headline(status))
        axis.legend()
    return axis
