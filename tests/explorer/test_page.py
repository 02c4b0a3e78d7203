"""The page in headless Chromium: controls, presets, clicks, addresses, both widths and themes."""

import http.client
import os
import re
import shutil
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

SHOWN = """(n) => window.Bokeh?.documents[0]?.get_model_by_name('endpoints')?.data.x.length >= n
  && Bokeh.documents[0].get_model_by_name('times').data.t.length > 2"""
READ = "(name) => Array.from(Bokeh.documents[0].get_model_by_name(name).data.x)"
WAIT = 300_000  # ms: a machine compiles first

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address():
    """The page's address, of a server in a process of its own."""
    pytest.importorskip(
        "panel", reason="panel is not installed: pip install 'deeplinear[explorer]'"
    )
    command = [sys.executable, "-m", "deeplinear", "explore", "--port", "0", "--no-browser"]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        yield next(line.strip() for line in server.stdout if line.startswith("http://"))
    finally:
        server.terminate()
        assert server.wait(20) is not None


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no browser is installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, address):
    """Opens an address at a width; at the end nothing may have gone wrong in the console."""
    opened, faults = [], []

    def go(query, width=1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: urlsplit(r.url).hostname in (
            "127.0.0.1", None) or faults.append(r.url))  # fmt: skip
        page.goto(address + query)
        page.wait_for_function(SHOWN, arg=90, timeout=WAIT)
        opened.append(page)
        return page

    yield go
    for page in opened:
        page.close()
    assert not faults


def test_the_depth_slider_moves_by_keys_and_goes_to_the_address(visit):
    page = visit("?runs=100")
    before = page.evaluate(READ, "endpoints")
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("location.search.includes('depth=4')", timeout=WAIT)
    page.wait_for_function(
        f"(old) => JSON.stringify(({READ})('endpoints')) != old",
        arg=str(before).replace(" ", ""),
        timeout=WAIT,
    )
    page.reload()
    page.wait_for_function(SHOWN, arg=90, timeout=WAIT)
    assert page.get_by_text("runs at depth 4").count() == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_fits_both_widths_in_both_themes(visit, width, theme):
    page = visit(f"?runs=100&theme={theme}", width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", colour)[:3])) < 384) == (theme == "dark")


def test_a_click_starts_a_run_there(visit):
    page = visit("?runs=100")
    box = page.locator(".bk-Figure").first.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.3)
    page.wait_for_function("location.search.includes('click=')", timeout=WAIT)
    x = float(re.search(r"click=([-.\d]+)", page.url).group(1))
    page.wait_for_function(
        f"(x) => Math.abs(({READ})('followed')[0] - x) < 1e-3", arg=x, timeout=WAIT
    )


def test_a_preset_is_told_in_two_sentences(visit):
    page = visit("?runs=100")
    title = "Where the volume is (CMV 2023, Fig. 5)"
    presets = page.locator("select", has=page.locator("option", has_text=title))
    presets.select_option(title)
    page.get_by_text("Meaning.").wait_for(timeout=WAIT)
    page.wait_for_function("location.search.includes('preset=cmv5')", timeout=WAIT)


def test_downloads_are_what_is_shown(visit):
    page = visit("?runs=100")
    for name, begin in (("CSV", b"# ?runs=100"), ("PNG", b"\x89PNG"), ("SVG", b"<?xml")):
        with page.expect_download(timeout=WAIT) as download:
            page.get_by_text(name, exact=True).click()
        with open(download.value.path(), "rb") as file:
            assert file.read(len(begin)) == begin


def test_a_hostile_address_is_told_and_harmless(visit):
    page = visit("?runs=100&depth=1e99&map=<script>alert(1)</script>")
    assert page.get_by_text("depth must be one of").count() == 1


def test_pages_of_other_origins_get_no_websocket(address):
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    connection.request(
        "GET",
        "/ws",
        headers={
            "Origin": "http://evil.example",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": "bokeh, x",
        },
    )
    assert connection.getresponse().status == 403
    connection.close()
