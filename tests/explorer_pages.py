"""A server in a process of its own, a headless browser, and pages in it."""

import os
import shutil
import signal
import subprocess
import sys

WAIT = 120_000  # ms: a machine compiles first
SHOWN = """(n) => window.Bokeh?.documents[0]?.get_model_by_name('endpoints')?.data.x.length >= n
  && Bokeh.documents[0].get_model_by_name('times').data.t.length > 2"""
READ = "(name) => Array.from(Bokeh.documents[0].get_model_by_name(name).data.x)"


def chromium_path():
    """A browser on the path, or Playwright's own; None where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if (path := shutil.which(name)) is not None:
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        path = driver.chromium.executable_path
    return path if os.path.exists(path) else None


class Server:
    """``deeplinear explore`` in a process of its own, with a temporary folder of its own."""

    def __init__(self, folder, *options):
        self.folder = folder / "temporary"
        self.folder.mkdir()
        command = [sys.executable, "-m", "deeplinear", "explore", "--port", "0", "--no-browser"]
        self.process = subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "TMPDIR": str(self.folder)},
        )
        lines = (line.strip() for line in self.process.stdout)
        self.address = [line for line in (next(lines), next(lines)) if line.startswith("http")][-1]

    def stop(self, number=signal.SIGTERM):
        """Its end by a signal; what it leaves in its temporary folder."""
        self.process.send_signal(number)
        self.process.wait(30)
        return [path.name for path in self.folder.iterdir()]


def choose(page, label, text):
    """Choose what a visible select has under this text."""
    page.locator("select:visible", has=page.locator("option", has_text=text)).first.select_option(
        text
    )
