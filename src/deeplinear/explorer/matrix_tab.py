""" "Depth on your matrix": a file, or bundled data, completed at several depths side by side."""

import dataclasses
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn

from ..errors import InputError
from .controls import card, text
from .folders import VisitorFolder
from .look import Look, grid_css, widget_css
from .matrix_controls import MatrixControls
from .matrix_results import completed, rated, understood
from .ratings_tasks import Rated, best_for, fit_list, understand_list
from .running import Later, Running
from .tab_states import UPLOAD, MatrixState
from .table_tasks import Request, complete, understand
from .uploads import Gate

#: Fields that change what is read, and those that change what is fitted.
_READ = ("data", "kind", "missing", "keep")
_FIT = (*_READ, "depths", "method", "fitseed")


class MatrixTab:
    """One visitor's tab.

    ``later`` runs a function in the visitor's session; ``on_state`` is told every new state.
    """

    def __init__(
        self,
        state: MatrixState,
        faults: tuple[str, ...],
        look: Look,
        folder: VisitorFolder,
        later: Later,
        on_state: Callable[[MatrixState], None],
    ) -> None:
        self.state, self._look, self._folder = state, look, folder
        self._on_state, self._uploaded = on_state, ""
        self.gate = Gate(folder, lambda name, problem: later(lambda: self._taken(name, problem)))
        self.running = Running(look, later, self._cancelled)
        self._asking = Running(look, later, lambda: None)
        self.controls = MatrixControls(state, look, self.gate, self.change, self.fit)
        self._fault = text("".join(f"<p>⚠ {html.escape(line)}</p>" for line in faults), look)
        self._preview = pn.Column(sizing_mode="stretch_width", margin=0)
        self._results = pn.Column(sizing_mode="stretch_width", margin=0)
        self._sheets: Any = None
        self._understood: Any = None
        self._reads = False  # rather than fits
        self.view = pn.Column(
            card(look, *self.controls.view),
            pn.Column(
                card(look, text(_STORY, look), self._fault, self.running.view),
                self._results,
                self._preview,
                sizing_mode="stretch_width",
                margin=0,
            ),
            sizing_mode="stretch_width",
            styles={"display": "grid"},
            stylesheets=[grid_css("280px minmax(0, 1fr)", "260px minmax(0, 1fr)")],
        )

    def begin(self) -> None:
        """When the tab is first seen: what its address says."""
        if self.state.data == UPLOAD:
            self.running.say("An upload is in no link: choose the file again, or bundled data.")
            self._set(dataclasses.replace(self.state, fitted=False))
            return
        self._read(then_fit=self.state.fitted)

    def close(self) -> None:
        """End what runs: nobody looks any more."""
        self.running.stop()
        self._asking.stop()
        self.gate.close()

    def change(self, **given: Any) -> None:
        """A new state: one that is out of range says why and changes nothing."""
        try:
            state = dataclasses.replace(self.state, **given)
        except InputError as error:
            self._fault.object = f"<p>⚠ {html.escape(str(error))}</p>"
            self.controls.show(self.state)
            return
        self._fault.object = ""
        changed = {name for name in given if getattr(state, name) != getattr(self.state, name)}
        if not changed:
            return
        if changed & set(_FIT):
            state = dataclasses.replace(state, fitted=False)
            if not self._reads:  # a file that is being read is to be shown in any case
                self.running.stop()
            self._results.objects = []
        self._set(state)
        if "fade" in changed and self._sheets is not None:
            self._sheets.show_fade(state.fade)
        if changed & set(_READ):
            self._read()

    def fit(self) -> None:
        """Complete the data as the state says."""
        if self.state.data == UPLOAD and not self._uploaded:
            self.running.say("Choose a file first, or bundled data.")
            return
        try:
            request = self._request()
        except InputError as error:
            self.running.say(f"⚠ {error}")
            return
        self._results.objects, self._sheets = [], None
        self._set(dataclasses.replace(self.state, fitted=True))
        task = fit_list if self.state.is_long else complete
        self._reads = False
        self.running.start(
            task, request, done=self._fitted, failed=self._cancelled, what="Beginning …"
        )

    def _read(self, then_fit: bool = False) -> None:
        self._preview.objects, self._results.objects, self._sheets = [], [], None
        self._understood = None
        if self.state.data == UPLOAD and not self._uploaded:
            self.running.stop()
            self.running.say("Choose a file.")
            return
        try:
            request = self._request()
        except InputError as error:
            self.running.say(f"⚠ {error}")
            return

        def show(found: Any) -> None:
            self._reads = False
            self._understood = found
            self._preview.objects = understood(self._look, found)
            if then_fit:
                self.fit()

        task = understand_list if self.state.is_long else understand

        def failed() -> None:
            self._reads = False

        self.running.start(task, request, done=show, failed=failed, seconds=60.0)
        self._reads = True

    def _request(self) -> Request:
        state, folder = self.state, self._folder.path
        upload = state.data == UPLOAD
        return Request(
            "" if upload else state.data,
            folder / "upload" / self._uploaded if upload else Path(),
            folder,
            _words(state.missing),
            _words(state.keep) if not state.is_long else (),
            state.depths,
            state.method,
            state.fitseed,
        )

    def _taken(self, name: str, problem: str) -> None:
        """A file has come, or has not."""
        self.running.stop()
        self._preview.objects, self._results.objects = [], []
        self._uploaded = "" if problem else name
        self._set(dataclasses.replace(self.state, data=UPLOAD, fitted=False))
        if problem:
            self.running.say(f"⚠ {problem}")
        else:
            self._read()

    def _fitted(self, found: Any) -> None:
        implicit = self.state.method == "implicit"
        # the sheet as given is among the results
        if self._understood is not None:
            self._preview.objects = understood(self._look, self._understood, drawn=False)
        if isinstance(found, Rated):
            best = self._best(found)
            self._results.objects = rated(self._look, found, implicit, best)
            return
        cards, self._sheets = completed(self._look, found, self.state.fade, implicit)
        self._results.objects = cards

    def _best(self, found: Rated) -> pn.Column:
        """Who, how many, and the list: asked again at every change."""
        users = found.users
        user = self.state.user if self.state.user in users else users[0]
        css = {"stylesheets": [widget_css(self._look)], "width": 220}
        who = pn.widgets.Select(name="Row (user)", options=users, value=user, **css)
        many = pn.widgets.IntSlider(name="How many", start=1, end=20, value=self.state.top, **css)
        shown = text("", self._look)

        def ask(_: Any = None) -> None:
            self.change(user=who.value, top=many.value)
            self._asking.start(
                best_for,
                found.files["model"],
                who.value,
                many.value,
                done=lambda table: setattr(shown, "object", table),
                what="Looking …",
            )

        who.param.watch(ask, "value")
        many.param.watch(ask, "value_throttled")
        ask()
        return pn.Column(pn.FlexBox(who, many), self._asking.view, shown)

    def _cancelled(self) -> None:
        self._reads = False
        self._set(dataclasses.replace(self.state, fitted=False))

    def _set(self, state: MatrixState) -> None:
        self.state = state
        self.controls.show(state)
        self._on_state(state)


_STORY = (
    "<p>Missing cells are filled in by a deep linear network at several depths, each measured on "
    "the same observed cells that were hidden from it. Choose bundled data or a file of your own; "
    "it stays on this machine, in a temporary folder that goes with this page. An upload is not "
    "part of the page's address, all else is.</p>"
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
