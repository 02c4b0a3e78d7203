"""The page: one of its own for each visitor, with three tabs that are made when first seen."""

import html
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.models import CustomJS
from tornado.ioloop import IOLoop

from .addresses import joined
from .controls import text
from .folders import VisitorFolder
from .laboratory import Laboratory
from .look import LOOKS, widget_css
from .names import NAMES
from .state import State
from .tab_states import TABS, ExperimentsState, MatrixState, TabState


class Page:
    """What a visitor sees, from the ``query`` of the address; made within the visitor's session.

    ``folder`` is that of the server, ``results`` that of stored experiments.
    """

    def __init__(self, query: str, token: str, folder: Path, results: Path) -> None:
        self._token, self._results = token, results
        self._folder = VisitorFolder(folder)
        tab, self._faults = TabState.from_query(query)
        state, faults = State.from_query(query)
        matrix, wrong = MatrixState.from_query(query)
        experiments, odd = ExperimentsState.from_query(query)
        self._parts: dict[str, Any] = {
            "tab": tab,
            "laboratory": state,
            "matrix": matrix,
            "experiments": experiments,
        }
        self._tab_faults = {"matrix": tuple(wrong), "experiments": tuple(odd)}
        self._look = LOOKS[state.theme]
        document = pn.state.curdoc
        document.js_on_event("document_ready", CustomJS(code=NAMES))
        loop = IOLoop.current()

        def later(call: Callable[[], None]) -> None:
            # documents are not safe to touch from other threads, and one may be gone by then
            loop.add_callback(
                lambda: document.session_context and document.add_next_tick_callback(call)
            )

        self._later = later
        self._made: dict[str, Any] = {}
        # where the laboratory is not seen, it computes nothing
        self.laboratory = Laboratory(
            state,
            (*faults, *self._faults),
            on_state=lambda new: self._remember("laboratory", new),
            later=self._later,
        )
        self._places = {
            name: pn.Column(sizing_mode="stretch_width", margin=0, visible=name == tab.tab)
            for name in TABS
        }
        self._places["laboratory"].append(self.laboratory.view)
        self.switch = pn.widgets.RadioButtonGroup(
            name="Part of the page",
            options={title: name for name, title in TABS.items()},
            value=tab.tab,
            stylesheets=[widget_css(self._look)],
            margin=(0, 0, 8, 0),
        )
        self.switch.param.watch(lambda event: self._turn_to(event.new), "value")
        self.view = pn.Column(
            self._head(), self.switch, *self._places.values(),
            sizing_mode="stretch_width", margin=(4, 8),
        )  # fmt: skip
        pn.state.onload(lambda: self._begin(tab.tab))
        pn.state.on_session_destroyed(lambda _: self._close())

    def _head(self) -> pn.Row:
        other = "light" if self._parts["laboratory"].theme == "dark" else "dark"
        theme = pn.widgets.Button(
            name=f"{other.capitalize()} page",
            stylesheets=[widget_css(self._look)],
            align="center",
        )

        def turn(_: Any) -> None:
            self.laboratory.change(theme=other)
            if pn.state.location is not None:
                pn.state.location.reload = True

        theme.on_click(turn)
        return pn.Row(
            text("<h1>deeplinear explorer</h1>", self._look),
            pn.layout.HSpacer(),
            theme,
            sizing_mode="stretch_width",
        )

    def _turn_to(self, name: str) -> None:
        for other, place in self._places.items():
            place.visible = other == name
        self._remember("tab", TabState(name))
        self._begin(name)

    def _begin(self, name: str) -> None:
        """What a tab does when it is first seen."""
        if name in self._made:
            return
        if name == "laboratory":
            self._made[name] = self.laboratory
            self.laboratory.refresh()
            return
        self._made[name] = None
        place = self._places[name]
        place.objects = [text("<p>Loading …</p>", self._look)]

        def load() -> None:
            # a second and more the first time: not in the thread that serves all visitors
            kind: Any
            try:
                if name == "matrix":
                    from .matrix_tab import MatrixTab as kind
                else:
                    from .experiments_tab import ExperimentsTab as kind
            except ImportError as error:  # of an installation that is broken
                sentence = f"<p>⚠ This part cannot be loaded: {html.escape(str(error))}.</p>"
                self._later(lambda: setattr(place, "objects", [text(sentence, self._look)]))
                return
            self._later(lambda: self._make(name, kind))

        threading.Thread(target=load, daemon=True).start()

    def _make(self, name: str, kind: Any) -> None:
        given = [self._parts[name], self._tab_faults[name], self._look, self._folder]
        if name == "experiments":
            given.append(self._results)
        tab = kind(*given, self._later, partial(self._remember, name))
        self._made[name] = tab
        self._places[name].objects = [tab.view]
        tab.begin()

    def _remember(self, part: str, state: Any) -> None:
        """The state goes to the page's address."""
        self._parts[part] = state
        queries = [state.to_query() for state in self._parts.values()]
        if self._token:
            queries.append(f"token={self._token}")
        if pn.state.location is not None:
            pn.state.location.search = joined(*queries)

    def _close(self) -> None:
        """The visitor has left."""
        for tab in self._made.values():
            if hasattr(tab, "close"):
                tab.close()
        self._folder.empty()
