"""Visitors of the explorer at once: that each sees its own, what they wait, and the memory.

    python -m benchmarks.explorer_visitors [--visitors 10] [--seconds 120] [--rounds 1]

Each visitor is a page of its own in one headless Chromium. In turn each moves its depth or its
seed, or fits bundled data, and its page must then say what it asked for, and hold exactly the
points that this process computes for that state: another visitor's would be seen. One line a
quarter of the time tells the server's memory: its own, and that of its children (one that others
are forked from stays; those of fits go with them). After each round all leave, and a minute later,
when their sessions are gone, the memory is told again: over rounds it must not grow.
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
from typing import Any

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


def memory(pid: int) -> str:
    """MiB that a process and its children hold alone (PSS counts shared pages by their share)."""
    found, waiting = {}, [pid]
    while waiting:
        one = waiting.pop()
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            found[one] = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (OSError, StopIteration):
            continue
    own = found.pop(pid)
    return f"{own / 1024:,.0f} MiB (children {sum(found.values()) / 1024:,.0f})"


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


def visit(
    address: str, visitors: int, seconds: float, server: int, expected: Expected, rng: random.Random
) -> None:
    """Let them all in, move one after the other until the time is up, and let them leave."""
    from playwright.sync_api import sync_playwright

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
        print(f"{visitors} visitors are in: {memory(server)}")
        begin, told, moves = time.monotonic(), 0, 0
        while (now := time.monotonic() - begin) < seconds:
            if now > told * seconds / 4:
                print(f"after {now:4.0f} s: {memory(server)}, {moves} moves")
                told += 1
            k = rng.randrange(visitors)
            start = time.monotonic()
            if rng.random() < 0.1 or not moves:
                _fit(pages[k], address, k)
                times["matrix"].append(time.monotonic() - start)
            else:
                places[k] = rng.choice(DEPTHS), rng.randrange(5) * visitors + k
                query = f"?runs=100&depth={places[k][0]}&seed={places[k][1]}"
                pages[k].goto(address + query, wait_until="commit")
                _check(pages[k], places[k], expected, k)
                times["laboratory"].append(time.monotonic() - start)
            moves += 1
        print(f"at the end: {memory(server)}, {moves} moves, no visitor saw another's")
        browser.close()
    for name, found in times.items():
        print(
            f"{name}: a page of its own after {median(found):.2f} s (median of {len(found)}, "
            f"longest {max(found):.2f} s)"
        )
    time.sleep(60)  # sessions that nobody sees go after half a minute
    print(f"a minute after they have left: {memory(server)}")


def _fit(page: Any, address: str, k: int) -> None:
    """The page fits bundled data with a seed of its own, and says so."""
    page.goto(f"{address}?tab=matrix&data=iris&depths=2&fitted=1&fitseed={k}")
    page.get_by_text("The same from a terminal").wait_for(timeout=120_000)
    command = page.locator("pre.command").inner_text()
    assert k == 0 or command.endswith(f"--seed {k}"), command


def _check(page: Any, place: tuple[int, int], expected: Expected, k: int) -> None:
    """The page has the points of its own state, and says so."""
    x, y = expected(*place)
    page.wait_for_function(
        SHOWN, arg=[min(len(x), 90), f"runs at depth {place[0]}"], timeout=120_000
    )
    shown = page.evaluate(READ)
    assert len(shown[0]) == len(x), (k, place, len(shown[0]), len(x))
    np.testing.assert_allclose(shown, [x, y], atol=1e-5, err_msg=f"visitor {k} at {place}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    command = [sys.executable, "-m", "deeplinear", "explore", "--port", "0", "--no-browser"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    address = next(line.strip() for line in server.stdout if line.startswith("http"))
    try:
        expected, rng = Expected(), random.Random(0)
        print(f"before: {memory(server.pid)}")
        for _ in range(given.rounds):
            visit(address, given.visitors, given.seconds, server.pid, expected, rng)
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
