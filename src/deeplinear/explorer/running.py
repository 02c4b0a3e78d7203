"""One computation at a time, with its progress and a button that ends it."""

import html
from collections.abc import Callable
from typing import Any

import panel as pn

from .controls import text
from .jobs import Job
from .look import Look, widget_css

#: Runs a function in the visitor's session, from another thread.
Later = Callable[[Callable[[], None]], None]


class Running:
    """Runs tasks for one part of a page: a new one takes the place of the one before.

    ``on_cancel`` is called when the visitor ends it. ``view``: what is said of it.
    """

    def __init__(self, look: Look, later: Later, on_cancel: Callable[[], None]) -> None:
        self._later, self._on_cancel = later, on_cancel
        self._job: Job | None = None
        self.note = text("", look, live=True)
        self.button = pn.widgets.Button(
            name="Cancel", visible=False, stylesheets=[widget_css(look)], width=90, align="center"
        )
        self.button.on_click(lambda _: self._cancelled())
        self.view = pn.Row(self.note, self.button, sizing_mode="stretch_width")

    def start(
        self,
        task: Callable[..., Any],
        *arguments: Any,
        done: Callable[[Any], None],
        failed: Callable[[], None] = lambda: None,
        what: str = "Reading …",
        seconds: float = 1800.0,
    ) -> None:
        """Run ``task`` (see `jobs`); then ``done`` is called in the visitor's session."""
        self.stop()
        self.button.visible = True
        self._progress(0.0, what)
        # late news of a task that was ended are not to be shown
        mine: list[Job] = []

        def told(call: Callable[..., None], *values: Any) -> None:
            self._later(lambda: call(*values) if mine and mine[0] is self._job else None)

        def ended(call: Callable[[], None], sentence: str) -> None:
            self._job, self.button.visible = None, False
            self.say(sentence)
            call()

        job = Job(
            task,
            *arguments,
            progress=lambda part, said: told(self._progress, part, said),
            done=lambda value: told(ended, lambda: done(value), ""),
            failed=lambda said: told(ended, failed, f"⚠ {said}"),
            seconds=seconds,
        )
        self._job = job
        mine.append(job)

    def stop(self) -> None:
        """End what runs."""
        if self._job is not None:
            self._job.cancel()
        self._job, self.button.visible = None, False

    def say(self, sentence: str) -> None:
        """One sentence in place of the progress; of any content."""
        self.note.object = f"<p>{html.escape(sentence)}</p>" if sentence else ""

    def _cancelled(self) -> None:
        self.stop()
        self.say("Cancelled: nothing of it was kept.")
        self._on_cancel()

    def _progress(self, part: float, sentence: str) -> None:
        per_cent = round(100 * min(max(part, 0.0), 1.0))
        self.note.object = (
            '<div class="bar" role="progressbar" aria-label="progress" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{per_cent}"><div style="width:{per_cent}%"></div>'
            f"</div><p>{html.escape(sentence)}</p>"
        )
