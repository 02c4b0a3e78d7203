"""The page in headless Chromium: controls, presets, clicks, addresses, both widths and themes."""

import http.client
import re
from urllib.parse import urlsplit

import pytest
from explorer_pages import READ, SHOWN, WAIT

pytestmark = pytest.mark.slow


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
