""" "Experiments": run one in small settings, look at stored runs, compare two of them."""

import base64
import dataclasses
import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import panel as pn

from ..errors import InputError
from .controls import card, text
from .experiment_tasks import Shown, compared, run_small, show_run, stored_runs, titles
from .folders import VisitorFolder
from .look import Look, grid_css, widget_css
from .matrix_results import downloads
from .running import Later, Running
from .tab_states import ExperimentsState

#: How runs of this page are called, before their names.
_MINE = "this page/"


class ExperimentsTab:
    """One visitor's tab; ``stored``: the folder whose runs can be looked at, which is only read."""

    def __init__(
        self,
        state: ExperimentsState,
        faults: tuple[str, ...],
        look: Look,
        folder: VisitorFolder,
        stored: Path,
        later: Later,
        on_state: Callable[[ExperimentsState], None],
    ) -> None:
        self.state, self._look, self._folder, self._stored = state, look, folder, stored
        self._on_state, self._following = on_state, False
        self._runs: dict[str, Path] = {}
        self._shown: dict[str, Shown | None] = {"first": None, "second": None}
        self.running = Running(look, later, lambda: None)
        self._reading = {name: Running(look, later, lambda: None) for name in self._shown}
        css = {"stylesheets": [widget_css(look)], "sizing_mode": "stretch_width", "margin": (3, 6)}
        names = titles()
        chosen = state.experiment if state.experiment in names.values() else "cmv_fig4"
        self.fields: dict[str, Any] = {
            "experiment": pn.widgets.Select(name="Experiment", options=names, value=chosen, **css),
            "runseed": pn.widgets.IntInput(name="Seed", value=state.runseed, **css),
            "first": pn.widgets.Select(name="Show the run", options=[""], **css),
            "second": pn.widgets.Select(name="and beside it", options=[""], **css),
        }
        self.start = pn.widgets.Button(name="Run it in small settings", **css)
        self.start.on_click(lambda _: self.run())
        for name, widget in self.fields.items():
            widget.param.watch(lambda event, name=name: self._tell(name, event.new), "value")
        self._fault = text("".join(f"<p>⚠ {html.escape(line)}</p>" for line in faults), look)
        self._columns = {
            name: pn.Column(sizing_mode="stretch_width", margin=0) for name in self._shown
        }
        self._difference = pn.Column(sizing_mode="stretch_width", margin=0)
        self._pair = pn.Column(
            *self._columns.values(),
            sizing_mode="stretch_width",
            styles={"display": "grid"},
            stylesheets=[grid_css("repeat(2, minmax(0, 1fr))", "minmax(0, 1fr)")],
            margin=0,
        )
        story = card(
            look,
            text(_STORY.format(folder=html.escape(stored.name)), look),
            self._fault,
            self.running.view,
            *(reading.view for reading in self._reading.values()),
        )
        right = pn.Column(
            story, self._difference, self._pair, sizing_mode="stretch_width", margin=0
        )
        self.view = pn.Column(
            card(
                look, *list(self.fields.values())[:2], self.start, *list(self.fields.values())[2:]
            ),
            right,
            sizing_mode="stretch_width",
            styles={"display": "grid"},
            stylesheets=[grid_css("280px minmax(0, 1fr)", "260px minmax(0, 1fr)")],
        )

    def begin(self) -> None:
        """When the tab is first seen: what its address says."""
        self._list_runs()
        for name in self._shown:
            wanted = getattr(self.state, name)
            if wanted and wanted not in self._runs:
                self._fault.object = (
                    f"<p>⚠ The run {html.escape(wanted)!r} is not here: runs of a page go with it, "
                    "and a link has their experiment and seed alone.</p>"
                )
            elif wanted:
                self._show(name)

    def close(self) -> None:
        """End what runs: nobody looks any more."""
        for running in (self.running, *self._reading.values()):
            running.stop()

    def run(self) -> None:
        """Run the chosen experiment in its small settings, and show it."""
        name, seed = self.fields["experiment"].value, self.fields["runseed"].value
        self._set(experiment=name, runseed=seed)

        def done(path: Path) -> None:
            self._list_runs()
            key = f"{_MINE}{path.parent.name}/{path.name}"
            self._show_as(
                "second" if self.state.first and self.state.first != key else "first", key
            )

        try:
            folder = self._folder.path
        except InputError as error:
            self.running.say(f"⚠ {error}")
            return
        self.running.start(run_small, name, seed, folder, done=done, what="Beginning …")

    def _list_runs(self) -> None:
        mine = stored_runs(self._folder.path / "runs")
        self._runs = stored_runs(self._stored) | {_MINE + name: p for name, p in mine.items()}
        self._following = True
        for name in self._shown:
            widget = self.fields[name]
            widget.options = {"—": ""} | {key: key for key in self._runs}
            wanted = getattr(self.state, name)
            widget.value = wanted if wanted in self._runs else ""
        self._following = False

    def _tell(self, name: str, value: Any) -> None:
        if self._following:
            return
        try:
            self._set(**{name: value})
        except InputError as error:
            self._fault.object = f"<p>⚠ {html.escape(str(error))}</p>"
            self._following = True
            self.fields[name].value = getattr(self.state, name)
            self._following = False
            return
        self._fault.object = ""
        if name in self._shown:
            self._show(name)

    def _show_as(self, name: str, key: str) -> None:
        self._set(**{name: key})
        self._following = True
        self.fields[name].value = key
        self._following = False
        self._show(name)

    def _show(self, name: str) -> None:
        key = getattr(self.state, name)
        self._shown[name], self._columns[name].objects, self._difference.objects = None, [], []
        self._reading[name].stop()
        if not key:
            return

        def done(found: Shown) -> None:
            self._shown[name] = found
            self._columns[name].objects = _cards(self._look, key, found)
            one, other = self._shown.values()
            if one is not None and other is not None:
                self._difference.objects = [
                    card(self._look, text(compared(one, other), self._look))
                ]

        self._reading[name].start(
            show_run, self._runs[key], key, self._folder.path, done=done, what=f"Reading {key}"
        )

    def _set(self, **given: Any) -> None:
        self.state = dataclasses.replace(self.state, **given)
        self._on_state(self.state)


_STORY = (
    "<p>Each figure of the literature is an experiment. Here it runs in small settings, within "
    "seconds to minutes, for a look only: <code>deeplinear experiment run NAME</code> takes the "
    "full ones. Runs of this page go with it; those that are stored in the folder "
    "<code>{folder}</code> can be looked at and compared, two at a time.</p>"
)


def _cards(look: Look, key: str, found: Shown) -> list[pn.viewable.Viewable]:
    """One run: figure, numbers, and what they come from."""
    image = ""
    if found.picture:
        data = base64.b64encode(found.picture).decode()
        source = f"data:image/png;base64,{data}"
        image = f'<img class="figure" src="{source}" alt="{html.escape(found.title)}">'
    head = f"<h2>{html.escape(found.title)}</h2><p class='quiet'>{html.escape(key)}</p>{image}"
    rest = "".join(
        f"<details><summary>{title}</summary>{found.texts[name]}</details>"
        for name, title in (
            ("about", "About this experiment"),
            ("settings", "Settings"),
            ("data", "Data"),
        )
        if found.texts[name]
    )
    return [
        card(
            look,
            text(head, look),
            text(found.texts["numbers"] + rest, look),
            downloads(look, found.files),
        )
    ]
