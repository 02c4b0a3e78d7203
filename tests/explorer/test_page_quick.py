"""The page in headless Chromium, in a minute: each tab, an upload, a download, a cancel, a link."""

import http.client
import signal
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from explorer_pages import SHOWN, WAIT, Server, choose

SCRIPT = "<script>alert(1)</script>"
FIT = "Complete it at these depths"


def test_a_bundled_table_is_completed(visit):
    page = visit("?tab=matrix&depths=2", wait=False)
    page.get_by_text("What was understood of sea_surface.csv").wait_for(timeout=WAIT)
    page.get_by_text(FIT).click()
    page.get_by_text("The same from a terminal").wait_for(timeout=WAIT)
    assert "fitted=1" in page.url
    assert page.locator("pre.command").inner_text().startswith("deeplinear complete sea_surface")
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_text("Save completed data").click()
    lines = open(download.value.path()).read().splitlines()  # noqa: SIM115
    assert len(lines) == 62
    assert not any(",," in line for line in lines)
    choose(page, "What was observed is", "as it is")
    page.wait_for_function("location.search.includes('fade=off')", timeout=WAIT)


def test_uploads_hostile_and_good_and_a_fit_that_is_cancelled(visit, tmp_path):
    page = visit("?tab=matrix&data=upload&fitted=1", wait=False)
    page.get_by_text("An upload is in no link").wait_for(timeout=WAIT)
    field = page.locator("input.upload")
    for name, content, said in (
        ("nan.csv", b"a,b\nNaN,NaN\n", "has no observed entry"),
        ("evil.npy", b"\x93NUMPY garbage", "cannot be read"),
        ("none.csv", b"", "is empty"),
        ("big.csv", b"a,b\n" + b"1,2\n" * 6_000_000, "more than 20 MB"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        field.set_input_files(path)
        page.get_by_text(said).wait_for(timeout=WAIT)
        assert "Traceback" not in page.content()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3)) @ rng.normal(size=(3, 200))
    rows = [",".join("" if rng.random() < 0.3 else f"{x:.3f}" for x in row) for row in X]
    names = [SCRIPT, *(f"x{j}" for j in range(1, 200))]
    path = tmp_path / f"<b>good{SCRIPT[:8]}.csv".replace("/", "")
    path.write_text("\n".join([",".join(names), *rows]))
    field.set_input_files(path)
    page.get_by_text("What was understood of b_good_script").wait_for(timeout=WAIT)
    page.get_by_text("400 × 200 matrix").wait_for(timeout=WAIT)
    page.get_by_text(FIT).click()
    page.get_by_role("progressbar").wait_for(timeout=WAIT)
    page.get_by_text("Cancel", exact=True).click()
    page.get_by_text("Cancelled").wait_for(timeout=WAIT)
    assert "fitted" not in page.url
    assert page.locator("pre.command").count() == 0


def test_ratings_have_the_best_for_one_user(visit):
    page = visit("?tab=matrix&data=ratings&depths=2&fitted=1&top=4", wait=False)
    page.get_by_text("not rated yet").wait_for(timeout=WAIT)
    table = page.locator("table", has_text="not rated yet")
    assert table.locator("tbody tr").count() == 4
    choose(page, "Row (user)", "person 91")
    page.wait_for_function("location.search.includes('user=person+91')", timeout=WAIT)


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (400, "dark")])
def test_tabs_fit_both_widths_in_both_themes(visit, width, theme):
    page = visit(f"?tab=matrix&theme={theme}", width, wait=False)
    page.get_by_text("What was understood").wait_for(timeout=WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_text("Experiments", exact=True).click()
    page.get_by_text("Run it in small settings").wait_for(timeout=WAIT)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert parse_qs(urlsplit(page.url).query)["tab"] == ["experiments"]


def test_what_is_not_of_this_page_is_refused(address):
    place = urlsplit(address)
    for path, method in (("/ws", "GET"), ("/upload/" + "a" * 32 + "?name=a.csv", "POST")):
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
        headers = {"Origin": "http://evil.example"}
        if method == "GET":
            headers |= {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                "Sec-WebSocket-Protocol": "bokeh, x",
            }
        connection.request(method, path, headers=headers)
        assert connection.getresponse().status == 403
        connection.close()


@pytest.mark.slow
def test_others_need_the_token_and_nothing_is_left_behind(browser, tmp_path):
    server = Server(tmp_path, "--host", "0.0.0.0")
    try:
        port = urlsplit(server.address).port
        token = parse_qs(urlsplit(server.address).query)["token"][0]
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/?tab=matrix")
        page.get_by_text("it ends with a token").wait_for(timeout=WAIT)
        assert page.locator("select").count() == 0
        page.goto(f"http://127.0.0.1:{port}/?tab=matrix&token={token}")
        page.get_by_text("What was understood").wait_for(timeout=WAIT)
        page.get_by_text("Experiments", exact=True).click()
        page.wait_for_function("location.search.includes('tab=experiments')", timeout=WAIT)
        assert token in page.url
        page.close()
    finally:
        left = server.stop(signal.SIGTERM)
    assert left == []
    assert [path.name for path in tmp_path.iterdir()] == ["temporary"]


def test_the_laboratory_is_there_when_it_is_turned_to(visit):
    page = visit("?tab=experiments&runs=100", wait=False)
    page.get_by_text("Run it in small settings").wait_for(timeout=WAIT)
    page.get_by_text("2×2 laboratory").click()
    page.wait_for_function(SHOWN, arg=90, timeout=WAIT)
    page.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("runs at depth 4").wait_for(timeout=WAIT)
