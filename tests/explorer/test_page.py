"""The page in headless Chromium: controls, presets, clicks, addresses, both widths and themes."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from explorer_pages import READ, SHOWN, WAIT, choose

from deeplinear.explorer.presets import PRESETS

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


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_told_in_two_sentences(visit, name):
    page = visit("?runs=100")
    choose(page, "Preset", PRESETS[name].title)
    page.get_by_text("Meaning.").wait_for(timeout=WAIT)
    page.wait_for_function(f"location.search.includes('preset={name}')", timeout=WAIT)
    page.get_by_text("runs at depth").first.wait_for(timeout=WAIT)


def test_every_control_of_the_laboratory_goes_to_the_address(visit):
    page = visit("?runs=100&click=0.1,0.1")

    def expect(part):
        page.wait_for_function("(part) => location.search.includes(part)", arg=part, timeout=WAIT)

    handles = page.locator(".noUi-handle:visible")
    for place, part in enumerate(("depth=4", "scale=0.003", "delta=0.001", "beta=1000",
                                  "decay=0.001", "step=0.01", "reach=3")):  # fmt: skip
        handles.nth(place).focus()
        page.keyboard.press("ArrowRight")
        expect(part)
        page.keyboard.press("ArrowLeft")
        name = part.partition("=")[0]
        page.wait_for_function(f"!location.search.includes('{name}=')", timeout=WAIT)
    choose(page, "Map", "entropy")
    expect("map=entropy")
    choose(page, "Runs", "300")
    expect("runs=300")
    page.get_by_text("Other random starts").click()
    expect("seed=1")
    page.get_by_text("Follow the first random start").click()
    page.wait_for_function("!location.search.includes('click')", timeout=WAIT)
    page.get_by_label("w12 observed").check()
    expect("observed=11,12,22")
    page.get_by_label("value of w11").fill("0.5")
    page.get_by_label("value of w11").press("Enter")
    expect("values=0.5,")
    page.get_by_label("to the beginning").click()
    expect("frame=0")
    page.get_by_label("play", exact=True).click()
    expect("frame=1")


def test_the_step_slider_turns_descent_off_and_on(visit):
    page = visit("?runs=100&step=0.9", wait=False)
    page.get_by_text("past the edge of stability (crosses)").wait_for(timeout=WAIT)
    slider = page.get_by_role("slider", name="Step η (descent)")
    slider.focus()
    slider.press("Home")
    page.wait_for_function("!location.search.includes('step')", timeout=WAIT)
    page.get_by_text("100 at their limit t → ∞").wait_for(timeout=WAIT)


def test_the_imbalance_and_the_step_do_not_go_together(visit):
    page = visit("?runs=100&depth=2&step=0.1&delta=0.1", wait=False)
    page.get_by_text("without noise and imbalance: η counts as 0").wait_for(timeout=WAIT)


def test_odd_values_are_told_and_leave_the_picture_as_it_was(visit):
    page = visit("?runs=100")
    field = page.get_by_label("value of w11")
    for typed in ("1e9", "-3e5"):
        field.fill(typed)
        field.press("Enter")
        page.get_by_text("values must be 4 numbers of at most 100").wait_for(timeout=WAIT)
        page.wait_for_timeout(500)
        assert "values" not in page.url
        assert field.input_value() == "0.92"
    field.fill("abc")
    field.press("Enter")
    page.wait_for_timeout(500)
    assert field.input_value() == "0.92"
    # one observed entry is not enough: it says so, and the box is as it was
    box = page.get_by_label("w11 observed")
    box.click()
    page.get_by_text("observed must be two or three").wait_for(timeout=WAIT)
    page.wait_for_timeout(500)
    assert box.is_checked()
    assert "observed" not in page.url
    page.get_by_text("Other random starts").click()
    page.get_by_text("observed must be").wait_for(state="detached", timeout=WAIT)
    page.wait_for_function("location.search.includes('seed=1')", timeout=WAIT)


def test_odd_seeds_are_told(visit):
    page = visit("?tab=experiments", wait=False)
    seed = page.get_by_label("Seed").locator("visible=true")
    seed.fill("-5")
    seed.press("Enter")
    page.get_by_text("seed must be").wait_for(timeout=WAIT)
    page.wait_for_timeout(500)
    assert seed.input_value() == "0"


def test_back_leaves_the_page_and_forward_finds_it_as_it_was(visit):
    page = visit("?runs=100")
    page.locator(".noUi-handle").first.focus()
    for depth in (4, 5, 6):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"location.search.includes('depth={depth}')", timeout=WAIT)
    page.go_back()
    assert page.url == "about:blank"
    page.go_forward()
    page.wait_for_function(SHOWN, arg=90, timeout=WAIT)
    page.get_by_text("runs at depth 6").wait_for(timeout=WAIT)


def test_a_reload_amid_the_keys_and_a_second_tab_keep_their_own(visit):
    page, other = visit("?runs=100"), visit("?runs=100&depth=20&seed=5")
    page.locator(".noUi-handle").first.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")  # faster than any picture
    page.wait_for_function("location.search.includes('depth=')", timeout=WAIT)
    page.reload()
    page.wait_for_function(SHOWN, arg=90, timeout=WAIT)
    depth = int(re.search(r"depth=(\d+)", page.url).group(1))
    assert 4 <= depth <= 13
    page.get_by_text(f"runs at depth {depth}").wait_for(timeout=WAIT)
    assert other.get_by_text("runs at depth 20").count() == 1
    assert page.evaluate(READ, "endpoints") != other.evaluate(READ, "endpoints")


def test_time_is_played_paused_and_moved(visit):
    page = visit("?runs=100&frame=10")
    page.get_by_label("play", exact=True).click()
    page.wait_for_function("/frame=[2-9]/.test(location.search)", timeout=WAIT)
    page.get_by_label("pause", exact=True).click()
    page.wait_for_timeout(600)
    at = page.url
    page.wait_for_timeout(600)
    assert page.url == at
    page.get_by_label("a step on").click()
    page.wait_for_function("(old) => location.href !== old", arg=at, timeout=WAIT)
    page.get_by_label("to the end").click()
    page.wait_for_function("!location.search.includes('frame')", timeout=WAIT)


def test_every_control_of_the_matrix_goes_to_the_address(visit):
    page = visit("?tab=matrix", wait=False)
    page.get_by_text("What was understood").wait_for(timeout=WAIT)

    def expect(part):
        page.wait_for_function("(part) => location.search.includes(part)", arg=part, timeout=WAIT)

    choose(page, "Data", "Handwritten digits with half of their pixels removed")
    expect("data=digits")
    page.get_by_text("200 × 64 matrix").wait_for(timeout=WAIT)
    choose(page, "Training", "small start, early stop (implicit)")
    expect("method=implicit")
    for label, value, part in (
        ("Missing too (between commas)", "-999", "missing=-999"),
        ("Carry through (between commas)", "y0x0", "keep=y0x0"),
        ("Seed", "7", "fitseed=7"),
    ):
        field = page.get_by_label(label).locator("visible=true")
        field.fill(value)
        field.press("Enter")
        expect(part)
    page.get_by_text("carried through: 'y0x0'").wait_for(timeout=WAIT)
    page.get_by_role("button", name="10", exact=True).click()
    expect("depths=2,3,10,inf")
    page.get_by_role("button", name="6", exact=True).click()
    page.get_by_text("depths must be one to 4").wait_for(timeout=WAIT)
    choose(page, "Data", "Your own file (below)")
    choose(page, "Your file is a", "List of entries (ratings)")
    expect("kind=ratings")


def test_a_link_shows_the_same_fit(visit):
    query = "?tab=matrix&data=iris&depths=2,inf&fitseed=3&fitted=1&fade=off"
    told = []
    for _ in range(2):
        page = visit(query, wait=False)
        page.get_by_text("The same from a terminal").wait_for(timeout=WAIT)
        told.append(page.locator("p", has_text="predicts the held-out").inner_text())
        assert parse_qs(urlsplit(page.url).query) == parse_qs(query[1:])
    assert told[0] == told[1]


def test_everything_that_can_be_saved_of_a_fit(visit):
    page = visit("?tab=matrix&data=iris&depths=2&fitted=1", wait=False)
    page.get_by_text("The same from a terminal").wait_for(timeout=WAIT)
    for name, begin in (
        ("the data", b"label,"),
        ("completed data", b"label,"),
        ("intervals", b"row,column,value,low,high"),
        ("report", b"<!doctype html>"),
        ("PNG", b"\x89PNG"),
        ("SVG", b"<?xml"),
    ):
        with page.expect_download(timeout=WAIT) as download:
            page.get_by_text(f"Save {name}", exact=True).click()
        with open(download.value.path(), "rb") as file:
            assert file.read(len(begin)) == begin


def test_experiments_are_run_cancelled_and_compared(visit):
    page = visit("?tab=experiments", wait=False)
    start = page.get_by_text("Run it in small settings")
    start.click()
    page.get_by_text("Cancel", exact=True).locator("visible=true").click()
    page.get_by_text("Cancelled").wait_for(timeout=WAIT)
    start.click()
    page.get_by_text("Save PNG").wait_for(timeout=WAIT)
    page.get_by_label("Seed").locator("visible=true").fill("1")
    page.get_by_label("Seed").locator("visible=true").press("Enter")
    start.click()
    page.get_by_text("How they differ").wait_for(timeout=WAIT)
    page.get_by_text("seed is 0 in the first run and 1 in the second").wait_for(timeout=WAIT)
    with page.expect_download(timeout=WAIT) as download:
        page.get_by_text("Save data (zarr)").first.click()
    with open(download.value.path(), "rb") as file:
        assert file.read(2) == b"PK"


def test_what_a_visitor_wrote_goes_with_the_visitor(visit, server):
    page = visit("?tab=matrix&data=iris", wait=False)
    page.get_by_text("What was understood").wait_for(timeout=WAIT)
    mine = {path.parent for path in server.folder.rglob("iris.csv")}
    assert mine
    page.goto("about:blank")
    for _ in range(120):
        if not any(path.exists() for path in mine):
            return
        page.wait_for_timeout(1000)
    raise AssertionError(mine)


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
