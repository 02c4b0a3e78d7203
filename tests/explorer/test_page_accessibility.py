"""What axe-core says of every tab, in both themes: nothing serious."""

import pytest
from explorer_pages import WAIT

TABS = {
    "?tab=matrix&depths=2&fitted=1": "The same from a terminal",
    "?tab=matrix&data=ratings&depths=2&fitted=1": "not rated yet",
    "?tab=experiments": "Run it in small settings",
    "?runs=100&preset=cmv4": "runs at depth",
}


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("query", TABS)
def test_nothing_serious_stands_in_the_way(visit, query, theme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed: pip install axe-playwright-python",
    )
    page = visit(f"{query}&theme={theme}", wait=False)
    page.get_by_text(TABS[query]).first.wait_for(timeout=WAIT)
    page.wait_for_timeout(1500)  # names are given twice a second
    found = axe.Axe().run(page).response["violations"]
    serious = {
        v["id"]: [node["html"] for node in v["nodes"]]
        for v in found
        if v["impact"] in ("serious", "critical")
    }
    assert not serious
