"""A server in a process of its own, a headless browser, and pages in it."""

from urllib.parse import urlsplit

import pytest
from explorer_pages import SHOWN, WAIT, Server, chromium_path


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    pytest.importorskip(
        "panel", reason="panel is not installed: pip install 'deeplinear[explorer]'"
    )
    found = Server(tmp_path_factory.mktemp("explorer"))
    yield found
    found.stop()


@pytest.fixture(scope="session")
def address(server):
    return server.address


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    path = chromium_path()
    if path is None:
        pytest.skip("no browser is installed: playwright install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Opens an address at a width; at the end nothing may have gone wrong in the console."""
    opened, faults = [], []

    def go(query, width=1280, wait=True):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: faults.append(dialog.message) or dialog.dismiss())
        page.on("request", lambda r: urlsplit(r.url).hostname in (
            "127.0.0.1", None) or faults.append(r.url))  # fmt: skip
        page.goto(address + query)
        if wait:
            page.wait_for_function(SHOWN, arg=90, timeout=WAIT)
        opened.append(page)
        return page

    yield go
    for page in opened:
        page.close()
    assert not faults
