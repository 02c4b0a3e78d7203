"""The controls of the laboratory, each a field of its `State`."""

import math
from collections.abc import Callable
from typing import Any

import panel as pn

from .look import Look, widget_css
from .pictures import MAP_NAMES
from .presets import PRESETS
from .state import (
    BETAS,
    DECAYS,
    DELTAS,
    DEPTHS,
    ENTRIES,
    REACHES,
    RUNS,
    SCALES,
    STEPS,
    State,
)


def _named(values: tuple[float, ...], off: float | None = None) -> dict[str, float]:
    """What a slider shows for each value."""
    names = {}
    for value in values:
        name = "∞" if math.isinf(value) else f"{value:g}"
        names["off" if value == off else name] = value
    return names


class Controls:
    """Widgets that call ``change(field=value)`` or ``load(preset)``, and follow the state by
    `show`.
    """

    def __init__(
        self,
        state: State,
        css: str,
        change: Callable[..., None],
        load: Callable[[str], None],
    ) -> None:
        self._change, self._following = change, False
        self.state = state
        look = {"stylesheets": [css], "sizing_mode": "stretch_width", "margin": (3, 6)}
        slider, choice = pn.widgets.DiscreteSlider, pn.widgets.Select
        names = {"—": ""} | {preset.title: name for name, preset in PRESETS.items()}
        self.preset = choice(name="Preset", options=names, value=state.preset, **look)
        self.fields: dict[str, pn.widgets.Widget] = {
            name: kind(name=title, options=options, value=getattr(state, name), **look)
            for name, kind, title, options in (
                ("depth", slider, "Depth N", _named(DEPTHS)),
                ("delta", slider, "Imbalance δ of the leaf", _named(DELTAS, 0.0)),
                ("scale", slider, "Size of the starts", _named(SCALES)),
                ("runs", choice, "Runs", {f"{n:,}": n for n in RUNS}),
                ("beta", slider, "Noise: β (Langevin)", _named(BETAS, math.inf)),
                ("decay", slider, "Weight decay λ", _named(DECAYS, 0.0)),
                ("step", slider, "Step η (descent)", _named(STEPS, 0.0)),
                ("map", choice, "Map under the points", {v: k for k, v in MAP_NAMES.items()}),
                ("reach", slider, "Half width of the plane", _named(REACHES)),
            )
        }
        for name, widget in self.fields.items():
            # the toolkit waits 50 ms for more changes; here the latest one is computed in any case
            getattr(widget, "_slider", widget)._priority_changes = ["value"]
            widget.param.watch(lambda event, name=name: self._tell(**{name: event.new}), "value")
        small = {"stylesheets": [css], "margin": (2, 6)}
        self.seen = {
            name: pn.widgets.Checkbox(
                name=f"w{name} observed", value=name in state.observed, width=118, **small
            )
            for name in ENTRIES
        }
        self.values = {
            # without bounds: of what is out of them the toolkit says nothing, and shows it on
            name: pn.widgets.FloatInput(value=value, step=0.1, width=90, **small)
            for name, value in zip(ENTRIES, state.values, strict=True)
        }
        for widget in (*self.seen.values(), *self.values.values()):
            widget.param.watch(lambda _: self._entries(), "value")
        self.preset.param.watch(lambda event: self._chosen(load, event.new), "value")
        self.again = pn.widgets.Button(name="Other random starts", **look)
        self.again.on_click(lambda _: self._tell(seed=self.state.seed + 1))
        self.forget = pn.widgets.Button(name="Follow the first random start", **look)
        self.forget.on_click(lambda _: self._tell(click=None))
        self.player = pn.widgets.Player(
            name="Time",
            start=0,
            end=100,
            step=2,
            interval=120,
            value=state.frame,
            loop_policy="once",
            visible_buttons=["first", "previous", "pause", "play", "next", "last"],
            visible_loop_options=[],
            show_value=False,
            sizing_mode="stretch_width",
            stylesheets=[css],
        )
        self.player.param.watch(lambda event: self._tell(frame=event.new), "value")

    @property
    def main(self) -> list[Any]:
        """The controls beside the plane, in their order."""
        entries = [pn.Row(self.seen[n], self.values[n], margin=0) for n in ENTRIES]
        names = ("depth", "scale", "delta", "runs", "beta", "decay", "step")
        first = [self.fields[name] for name in names]
        rest = [self.fields[name] for name in ("map", "reach")]
        return [*first, *rest, *entries, self.again, self.forget]

    def show(self, state: State) -> None:
        """The widgets take the values of the state, and say nothing of it."""
        self._following = True
        try:
            for name, widget in self.fields.items():
                widget.value = getattr(state, name)
            for name in ENTRIES:
                self.seen[name].value = name in state.observed
                self.values[name].value = state.values[ENTRIES.index(name)]
            self.preset.value = state.preset if state.preset in PRESETS else ""
            self.player.value = state.frame
            self.state = state
        finally:
            self._following = False

    def _entries(self) -> None:
        self._tell(
            observed=tuple(name for name in ENTRIES if self.seen[name].value),
            values=tuple(float(self.values[name].value or 0.0) for name in ENTRIES),
        )

    def _chosen(self, load: Callable[[str], None], name: str) -> None:
        if not self._following:
            load(name)

    def _tell(self, **given: Any) -> None:
        if not self._following:
            self._change(**given)


def card(look: Look, *children: Any) -> pn.Column:
    """A panel of the page."""
    return pn.Column(
        *children,
        sizing_mode="stretch_width",
        styles={
            "background": look.card,
            "border": f"1px solid {look.grid}",
            "border-radius": "6px",
            "padding": "6px",
            "margin-bottom": "8px",
            "box-sizing": "border-box",
        },
    )


def text(words: str, look: Look, live: bool = False) -> pn.pane.HTML:
    """Sentences; live ones are read out when they change."""
    return pn.pane.HTML(
        words,
        sizing_mode="stretch_width",
        stylesheets=[widget_css(look)],
        margin=(2, 6),
        styles={"font-size": "13.5px", "color": look.faint if live else look.text},
    )
