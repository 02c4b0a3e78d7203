"""Visitors of the explorer at once: that each sees its own, what they wait, and the memory.

    python -m benchmarks.explorer_visitors [--visitors 10] [--seconds 120]

Each visitor is a page of its own in one headless Chromium. In turn each moves its depth or its
seed, or fits bundled data, and its page must then say what it asked for, and hold exactly the
points that this process computes for that state: another visitor's would be seen. One line a
quarter of the time tells the server's memory (its own and its children's).
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

SHOWN = """([n, words]) => {
  const points = window.Bokeh?.documents[0]?.get_model_by_name('endpoints');
  const text = (root) => [...root.querySelectorAll('*')].map((el) =>
    el.shadowRoot ? text(el.shadowRoot) : '').join('') + (root.textContent ?? '');
  return points && points.data.x.length >= n && text(document.body).includes(words);
}"""
READ = """() => { const d = Bokeh.documents[0].get_model_by_name('endpoints').data;
  return [Array.from(d.x), Array.from(d.y)]; }"""
DEPTHS = (2, 3, 4, 6, 10, 20, 50)


def memory(pid: int) -> float:
    """MiB that a process and its children hold alone (PSS counts shared pages by their share)."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):
            continue
    return total / 1024


class Expected:
    """The endpoints of a state, computed here: what its visitor must see."""

    def __init__(self) -> None:
        import jax

        jax.config.update("jax_enable_x64", True)
        self._known: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, depth: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        from deeplinear.explorer import compute
        from deeplinear.explorer.pictures import in_plane
        from deeplinear.explorer.state import State

        if (depth, seed) not in self._known:
            state = State(depth=float(depth), seed=seed, runs=100)
            found = compute.endpoints(state)
            kept = found.ok & np.isfinite(found.rank)
            self._known[depth, seed] = in_plane(state, found.W[kept])
        return self._known[depth, seed]


def visit(address: str, visitors: int, seconds: float, server: int) -> None:
    """Let them all in, and move one after the other until the time is up."""
    from playwright.sync_api import sync_playwright

    expected, rng = Expected(), random.Random(0)
    times: dict[str, list[float]] = {"laboratory": [], "matrix": []}
    with sync_playwright() as driver:
        path = shutil.which("chromium") or driver.chromium.executable_path
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        pages = [browser.new_page(viewport={"width": 1000, "height": 800}) for _ in range(visitors)]
        places = [(DEPTHS[k % len(DEPTHS)], k) for k in range(visitors)]
        for page, (depth, seed) in zip(pages, places, strict=True):
            page.goto(f"{address}?runs=100&depth={depth}&seed={seed}", wait_until="commit")
        for k, (page, place) in enumerate(zip(pages, places, strict=True)):
            _check(page, place, expected, k)
        print(f"{visitors} visitors are in: {memory(server):,.0f} MiB")
        begin, told, moves = time.monotonic(), 0, 0
        while (now := time.monotonic() - begin) < seconds:
            if now > told * seconds / 4:
                print(f"after {now:4.0f} s: {memory(server):,.0f} MiB, {moves} moves")
                told += 1
            k = rng.randrange(visitors)
            start, moves = time.monotonic(), moves + 1
            if rng.random() < 0.1:
                pages[k].goto(f"{address}?tab=matrix&data=iris&depths=2&fitted=1&fitseed={k}")
                pages[k].get_by_text("The same from a terminal").wait_for(timeout=120_000)
                command = pages[k].locator("pre.command").inner_text()
                assert k == 0 or command.endswith(f"--seed {k}"), command
                times["matrix"].append(time.monotonic() - start)
                continue
            places[k] = rng.choice(DEPTHS), rng.randrange(5) * visitors + k
            query = f"?runs=100&depth={places[k][0]}&seed={places[k][1]}"
            pages[k].goto(address + query, wait_until="commit")
            _check(pages[k], places[k], expected, k)
            times["laboratory"].append(time.monotonic() - start)
        print(f"at the end: {memory(server):,.0f} MiB, {moves} moves, no visitor saw another's")
        browser.close()
    for name, found in times.items():
        if found:
            print(
                f"{name}: a page of its own after {median(found):.2f} s (median of {len(found)}, "
                f"longest {max(found):.2f} s)"
            )
    time.sleep(45)  # sessions that nobody sees go after half a minute
    print(f"45 s after they have left: {memory(server):,.0f} MiB")


def _check(page: object, place: tuple[int, int], expected: Expected, k: int) -> None:
    """The page has the points of its own state, and says so."""
    x, y = expected(*place)
    page.wait_for_function(  # type: ignore[attr-defined]
        SHOWN, arg=[min(len(x), 90), f"runs at depth {place[0]}"], timeout=120_000
    )
    shown = page.evaluate(READ)  # type: ignore[attr-defined]
    assert len(shown[0]) == len(x), (k, place, len(shown[0]), len(x))
    np.testing.assert_allclose(shown, [x, y], atol=1e-5, err_msg=f"visitor {k} at {place}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    command = [sys.executable, "-m", "deeplinear", "explore", "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    address = next(line.strip() for line in server.stdout if line.startswith("http"))
    try:
        visit(address, given.visitors, given.seconds, server.pid)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
