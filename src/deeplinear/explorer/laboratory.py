"""The 2×2 laboratory: controls, pictures, and what happens between them."""

import dataclasses
import html
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import panel as pn

from ..errors import InputError
from ..labels import depth_label
from . import compute
from .controls import Controls, card, text
from .exports import as_csv, as_picture
from .look import LOOKS, grid_css, widget_css
from .pictures import Portrait, Ranks, Times, in_plane
from .presets import PRESETS
from .state import THEMES, State

# One for all visitors: two computations at once would only slow each other down.
_pool = ThreadPoolExecutor(1, "explorer")
#: Seconds in which the server's thread sends a picture.
_SENDING = 0.015
#: What decides the endpoints, and what decides the paths beside that.
_RUNS = ("observed", "values", "depth", "delta", "scale", "runs", "seed", "beta", "decay", "step")
_PATHS = (*_RUNS, "click")


def phase_portrait(state: State | None = None, *, theme: str = "light") -> pn.viewable.Viewable:
    """See `deeplinear.explorer.phase_portrait`."""
    if theme not in THEMES:
        raise InputError(f"theme must be one of {', '.join(THEMES)}, got {theme!r}.")
    if state is not None and not isinstance(state, State):
        raise InputError(f"state must be a State, got {type(state).__name__}.")
    pn.extension()
    state = dataclasses.replace(state or State(), theme=theme)
    return Laboratory(state).view


def warm_up() -> None:
    """Compute a picture for nobody, in the thread of computations: what is loaded then is there
    when the first visitor's page is.
    """

    def first() -> None:
        compute.endpoints(State())
        compute.map_of(State())

    _pool.submit(first)


class Laboratory:
    """One visitor's laboratory.

    **Arguments**: ``state``: to begin with; ``faults``: sentences to show first; ``on_state``: is
    told every new state; ``later``: runs a function in the visitor's session from another thread;
    None computes at once, in the caller's thread. With it, the first picture waits for `refresh`,
    which the page calls when it is loaded: a session takes no results before.
    """

    def __init__(
        self,
        state: State,
        faults: tuple[str, ...] = (),
        on_state: Callable[[State], None] | None = None,
        later: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        look = LOOKS[state.theme]
        self.state, self.faults = state, list(faults)
        self._on_state, self._later = on_state, later
        self._busy = False
        self._found: compute.Endpoints | None = None
        self._paths: compute.Paths | None = None
        self._shown: dict[str, Any] = {}
        self.portrait, self.times, self.ranks = Portrait(look), Times(look), Ranks(look)
        self.controls = Controls(state, widget_css(look), self.change, self.load)
        self.story, self.note = text("", look), text("", look, live=True)
        self.portrait.plot.on_event("tap", self._click)
        self.view = self._laid_out()
        self._tell()
        if later is None:
            self.refresh()

    def change(self, **given: Any) -> None:
        """A new state: one that is out of range says why and changes nothing."""
        try:
            state = dataclasses.replace(self.state, **given)
        except InputError as error:
            self.faults = [str(error)]
            self._tell()
            self.controls.show(self.state)
            return
        if state == self.state:
            return
        if not {"preset", "frame", "theme"} & set(given):
            # the preset's sentences stay as long as its problem does
            changed = set(given) & {"observed", "values"}
            state = dataclasses.replace(state, preset="" if changed else state.preset)
        self.state, self.faults = state, []
        self.controls.show(state)
        if self._on_state is not None:
            self._on_state(state)
        if set(given) == {"frame"} and self._paths is not None:
            self._show_frame()
            return
        self.refresh()

    def load(self, name: str) -> None:
        """The preset of that name, in the page's theme."""
        if name in PRESETS:
            state = dataclasses.replace(PRESETS[name].state, theme=self.state.theme)
            self.change(**{f.name: getattr(state, f.name) for f in dataclasses.fields(state)})

    def refresh(self) -> None:
        """Compute what the state asks for; while that goes on, only the latest state waits."""
        if self._later is None:
            for step in self._steps(self.state):
                step()()
            self._push()
        elif not self._busy:
            self._busy = True
            # a sentence that comes and goes within moments would only flicker
            self._patience = threading.Timer(0.5, self._later, [self._tell])
            self._patience.daemon = True
            self._patience.start()
            _pool.submit(self._work, self.state)

    def _work(self, state: State) -> None:
        """In the thread of computations: each step's picture is shown as soon as it is there."""
        assert self._later is not None
        for place, step in enumerate(self._steps(state)):
            if place and state is not self.state:
                break  # a newer one waits
            try:
                show, shown = step(), threading.Event()
                self._later(partial(self._show, show, shown))
                # the next step would keep this from being sent; the visitor may have left
                shown.wait(0.3)
                time.sleep(_SENDING)
            except Exception as error:  # any: what a thread raises would be lost
                sentence = str(error) if isinstance(error, InputError) else _surprise(error)
                self._later(partial(self._failed, sentence))
                break
        self._later(lambda: self._done(state))

    def _show(self, show: Callable[[], None], shown: threading.Event) -> None:
        """What a step found goes to the browser as one message, not as a dozen."""
        with pn.io.hold():
            show()
        shown.set()

    def _done(self, state: State) -> None:
        self._busy = False
        self._patience.cancel()
        if state is not self.state:
            self.refresh()
        else:
            self._tell()

    def _failed(self, sentence: str) -> None:
        self.faults = [sentence]

    def _steps(self, asked: State) -> list[Callable[[], Callable[[], None]]]:
        """Functions that compute, and return functions that show what was computed."""
        state, _ = compute.in_force(asked)
        cell: dict[str, compute.Endpoints] = {}

        def first() -> Callable[[], None]:
            key = _key(state, _RUNS)
            known = self._found if self._shown.get("runs") == key else None
            cell["found"] = known or compute.endpoints(state)
            values = compute.map_of(state)
            return lambda: self._show_points(state, cell["found"], values, key)

        def second() -> Callable[[], None]:
            key = _key(state, _PATHS)
            known = self._paths if self._shown.get("paths") == key else None
            found = known or compute.paths(state, cell["found"])
            return lambda: self._show_paths(state, found, key)

        return [first, second]

    def _show_points(self, state: State, found: Any, values: Any, key: tuple) -> None:
        self._found, self._shown["runs"] = found, key
        if self._shown.get("reach") != state.reach:
            self._shown["reach"] = state.reach
            self.portrait.show_reach(state.reach)
        self.portrait.show_map(state, values)
        self.portrait.show_points(state, found)
        self.ranks.show(found)
        self._tell()

    def _show_paths(self, state: State, found: compute.Paths, key: tuple) -> None:
        self._paths, self._shown["paths"], self._shown["state"] = found, key, state
        self.times.show(found, self.state.frame)
        self._show_frame()

    def _show_frame(self) -> None:
        state = self._shown["state"]
        assert self._paths is not None
        self.portrait.show_paths(state, self._paths, self.state.frame)
        self.times.show_now(self._paths, self.state.frame)

    def _click(self, event: Any) -> None:
        across, up = (round(float(value), 4) for value in (event.x, event.y))
        self.change(click=(across, up))

    def _push(self) -> None:
        """In a notebook, pictures that changed in place are sent by hand."""
        if pn.state.curdoc is None and self._panes:
            pn.io.push_notebook(*self._panes)

    def _tell(self) -> None:
        """The sentences: of the preset, of what was left out, of how runs ended."""
        preset = PRESETS.get(self.state.preset)
        self.story.object = (
            f"<p><b>Look.</b> {preset.look}</p><p><b>Meaning.</b> {preset.meaning}</p>"
            if preset
            else "<p>Dots are where runs end, white lines how some of them get there, the orange "
            "line the followed run. Click in the plane to start a run there.</p>"
        )
        # escaped: faults quote addresses
        self.note.object = "".join(f"<p>{html.escape(line)}</p>" for line in self._sentences())

    def _sentences(self) -> list[str]:
        state, notes = compute.in_force(self.state)
        lines = [f"⚠ {fault}" for fault in self.faults] + notes
        if self.state.map == "stratum" and math.isinf(self.state.depth):
            lines.append("The volume on rank 1 is infinite at infinite depth: no map.")
        if self.state.map == "volume" and state.depth == 1:
            lines.append("At depth 1 the volume is that of Euclid, the same everywhere.")
        if self._busy:
            lines.append("Computing … (what a machine computes first, it compiles first.)")
        elif self._found is not None:
            lines.append(_endings(self.state, self._found))
        return lines

    def _laid_out(self) -> pn.viewable.Viewable:
        look = LOOKS[self.state.theme]
        css = widget_css(look)
        picture = pn.pane.Bokeh(self.portrait.plot, sizing_mode="stretch_width")
        times = [pn.pane.Bokeh(plot, sizing_mode="stretch_width") for plot in self.times.plots]
        ranks = pn.pane.Bokeh(self.ranks.plot, sizing_mode="stretch_width")
        self._panes = [picture, *times, ranks]
        exports = [
            pn.widgets.FileDownload(
                callback=lambda make=make: make(),
                filename=f"portrait.{suffix}",
                label=suffix.upper(),
                button_type="default",
                stylesheets=[css],
                width=76,
            )
            for suffix, make in (
                ("png", lambda: as_picture(self.state, self._found, self._paths, "png")),
                ("svg", lambda: as_picture(self.state, self._found, self._paths, "svg")),
                ("csv", lambda: as_csv(self.state, self._found)),
            )
        ]
        middle = card(look, picture, self.controls.player, self.note, pn.Row(*exports))
        left = card(look, *self.controls.main)
        right = card(look, ranks, *times)
        told = card(look, self.controls.preset, self.story)
        columns = ("280px minmax(0, 1.35fr) minmax(0, 1fr)", "260px minmax(0, 1fr)")
        return pn.Column(
            left,
            pn.Column(
                told,
                middle,
                sizing_mode="stretch_width",
                margin=0,
                css_classes=["first-on-phones"],
            ),
            right,
            sizing_mode="stretch_width",
            styles={"display": "grid"},
            stylesheets=[grid_css(*columns)],
        )


def _key(state: State, names: tuple[str, ...]) -> tuple:
    return tuple(getattr(state, name) for name in names)


def _surprise(error: Exception) -> str:
    return f"This picture cannot be computed ({type(error).__name__}): change a setting."


def _endings(state: State, found: compute.Endpoints) -> str:
    """How many runs of which kind, and how many of them lie outside the plane."""
    x, y = in_plane(state, found.W)
    outside = int(((abs(x) > state.reach) | (abs(y) > state.reach)).sum())
    words = {
        "limit": "at their limit t → ∞",
        "reached_t1": "at the last time",
        "max_steps": "still on their way (crosses)",
        "converged": "at their limit",
        "cycling": "in a cycle (crosses)",
        "steps": "still moving, on their way or past the edge of stability (crosses)",
    }
    parts = [f"{n:,} {words.get(name, name.replace('_', ' '))}" for name, n in found.counts.items()]
    where = f"; {outside:,} lie outside the plane" if outside else ""
    return f"{len(found.W):,} runs at {depth_label(state.depth)}: {', '.join(parts)}{where}."
