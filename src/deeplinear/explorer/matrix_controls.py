"""The controls of "Depth on your matrix", each a field of its `MatrixState`."""

from collections.abc import Callable
from typing import Any

import panel as pn

from ..labels import depth_number
from .controls import text
from .look import Look, widget_css
from .tab_states import BUNDLED, FADES, FIT_DEPTHS, KINDS, METHODS, UPLOAD, MatrixState
from .uploads import Gate, field


class MatrixControls:
    """Widgets that call ``change(field=value)`` and ``fit()``, and follow the state by `show`."""

    def __init__(
        self,
        state: MatrixState,
        look: Look,
        gate: Gate,
        change: Callable[..., None],
        fit: Callable[[], None],
    ) -> None:
        self._change, self._following = change, False
        css = {"stylesheets": [widget_css(look)], "sizing_mode": "stretch_width", "margin": (3, 6)}
        titles = {title: name for name, (title, _) in BUNDLED.items()}
        self.upload = text(field(gate), look)
        self.fields: dict[str, Any] = {
            "data": pn.widgets.Select(
                name="Data", options={**titles, "Your own file (below)": UPLOAD}, **css
            ),
            "kind": pn.widgets.Select(
                name="Your file is a", options={v: k for k, v in KINDS.items()}, **css
            ),
            "missing": pn.widgets.TextInput(
                name="Missing too (between commas)", placeholder="-999, unknown", **css
            ),
            "keep": pn.widgets.TextInput(
                name="Carry through (between commas)", placeholder="id, date", **css
            ),
            "method": pn.widgets.Select(
                name="Training", options={v: k for k, v in METHODS.items()}, **css
            ),
            "fitseed": pn.widgets.IntInput(name="Seed", **css),
            "fade": pn.widgets.Select(
                name="What was observed is", options={v: k for k, v in FADES.items()}, **css
            ),
        }
        self.depths = pn.widgets.CheckButtonGroup(
            name="Depths",
            button_type="default",
            options={depth_number(depth): depth for depth in FIT_DEPTHS},
            stylesheets=[widget_css(look), ".bk-btn { padding: 6px 5px; min-width: 24px; }"],
            sizing_mode="stretch_width",
            margin=(0, 6, 6, 6),
        )
        self.start = pn.widgets.Button(name="Complete it at these depths", **css)
        self.show(state)
        for name, widget in self.fields.items():
            widget.param.watch(lambda event, name=name: self._tell(**{name: event.new}), "value")
        self.depths.param.watch(lambda event: self._tell(depths=tuple(sorted(event.new))), "value")
        self.start.on_click(lambda _: fit())
        label = text('<p id="depths">Depths, up to four</p>', look)
        self.view = [
            self.fields["data"],
            self.upload,
            *(self.fields[name] for name in ("kind", "missing", "keep")),
            label,
            self.depths,
            *(self.fields[name] for name in ("method", "fitseed", "fade")),
            self.start,
        ]

    def show(self, state: MatrixState) -> None:
        """The widgets take the values of the state, and say nothing of it."""
        self._following = True
        try:
            for name, widget in self.fields.items():
                widget.value = getattr(state, name)
            self.depths.value = list(state.depths)
            self.fields["kind"].visible = state.data == UPLOAD
            self.fields["fade"].visible = self.fields["keep"].visible = not state.is_long
        finally:
            self._following = False

    def _tell(self, **given: Any) -> None:
        if not self._following:
            self._change(**given)
