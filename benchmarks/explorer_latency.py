"""How soon the explorer's first picture comes, and how soon it follows its sliders.

    python -m benchmarks.explorer_latency [--runs 1000 3000] [--moves 40]

In headless Chromium. First: from the command, in a second process (the first fills the cache of
compiled programs), until the endpoints are drawn, in a browser that is open already and opens the
page as soon as its address is printed. Then, after a warm-up, from a key on a slider to the new
endpoints in the browser's document (`picture`), and until the browser has drawn them (`drawn`, the
second animation frame after): depth 3 to 43, most of whose maps are new, and the step η of descent,
there and back. The server's own part is timed beside it, in this process: wall and CPU time of
endpoints, map and paths.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

PROBE = """
() => {
  const source = Bokeh.documents[0].get_model_by_name('endpoints');
  window.times = [];
  window.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
  source.properties.data.change.connect(() => {
    const picture = performance.now() - window.pressed;
    requestAnimationFrame(() => requestAnimationFrame(() => {
      window.times.push([picture, performance.now() - window.pressed]);
    }));
  });
}"""
SHOWN = """(n) => window.Bokeh?.documents[0]?.get_model_by_name('endpoints')?.data.x.length >= n
  && Bokeh.documents[0].get_model_by_name('times').data.t.length > 2"""
DRAWN = """(n) => new Promise((done) => { const look = () => {
  const found = window.Bokeh?.documents[0]?.get_model_by_name('endpoints')?.data.x.length >= n;
  if (found) requestAnimationFrame(() => requestAnimationFrame(() => done(true)));
  else setTimeout(look, 5);
}; look(); })"""
#: By the name of a slider in the page: what the address begins with, the keys that warm up, and
#: those that are measured.
RIGHT, LEFT = "ArrowRight", "ArrowLeft"
SLIDERS = {
    "Depth N": ("depth=3", [RIGHT] * 10 + [LEFT] * 10, [RIGHT] * 40),
    "Step η (descent)": (
        "depth=3&step=0.01",
        [RIGHT] * 10 + [LEFT] * 10,
        [RIGHT] * 10 + [LEFT] * 10,
    ),
}


@contextmanager
def served() -> Iterator[tuple[str, float]]:
    """(the address of an explorer in a process of its own, when its command was given)."""
    command = [sys.executable, "-m", "deeplinear", "explore", "--port", "0", "--no-browser"]
    begin = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert server.stdout is not None
    try:
        yield next(line.strip() for line in server.stdout if line.startswith("http")), begin
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        path = shutil.which("chromium") or driver.chromium.executable_path
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def first_picture(chromium: Any) -> tuple[float, float]:
    """Seconds from the command to the printed address, and to the drawn endpoints."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    with served() as (address, begin):
        told = time.perf_counter() - begin
        page.goto(address, wait_until="commit")
        page.evaluate(DRAWN, 900)
        drawn = time.perf_counter() - begin
        page.close()
    return told, drawn


def follow(chromium: Any, address: str, runs: int, slider: str, moves: int) -> tuple[float, float]:
    """Medians (picture, drawn) in milliseconds of a slider's moves."""
    query, warm, keys = SLIDERS[slider]
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}?runs={runs}&{query}")
    page.wait_for_function(SHOWN, arg=runs * 0.5, timeout=300_000)
    page.wait_for_timeout(1500)  # sliders get their names twice a second
    page.evaluate(PROBE)
    page.get_by_role("slider", name=slider).focus()
    for k in range(len(warm) + moves):
        if k == len(warm):
            page.evaluate("() => { window.times = []; }")
        before = page.evaluate("() => window.times.length")
        page.keyboard.press((warm + keys * moves)[k])
        page.wait_for_function("(n) => window.times.length > n", arg=before, timeout=60_000)
        page.get_by_text("runs at depth").first.wait_for(timeout=60_000)
        page.wait_for_timeout(300)  # the paths of this one
    times = page.evaluate("() => window.times")
    page.close()
    return median(t[0] for t in times), median(t[1] for t in times)


def of_the_server(runs: int, moves: int) -> dict[str, tuple[float, float]]:
    """Medians (wall, CPU) in milliseconds of what the server computes for a move of the slider."""
    import jax

    jax.config.update("jax_enable_x64", True)
    from deeplinear.explorer import compute
    from deeplinear.explorer.state import State

    found: dict[str, list[tuple[float, float]]] = {"endpoints": [], "map": [], "paths": []}
    for k in range(10 + moves):
        state = State(runs=runs, depth=float(3 + k % 40))
        ended: list[compute.Endpoints] = []
        steps = {
            "endpoints": lambda state=state, ended=ended: ended.append(compute.endpoints(state)),
            "map": lambda state=state: compute.map_of(state),
            "paths": lambda state=state, ended=ended: compute.paths(state, ended[0]),
        }
        compute.heat_map.cache_clear()
        for name, step in steps.items():
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (1e3 * median(t[0] for t in times[10:]), 1e3 * median(t[1] for t in times[10:]))
        for name, times in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--moves", type=int, default=40)
    given = parser.parse_args()
    with browser() as chromium:
        first_picture(chromium)
        found = [first_picture(chromium) for _ in range(3)]
        told, drawn = (median(times) for times in zip(*found, strict=True))
        print(f"the address after {told:.1f} s, the first picture after {drawn:.1f} s (of 3)")
        with served() as (address, _):
            for runs in given.runs:
                for slider in SLIDERS:
                    picture, drawn = follow(chromium, address, runs, slider, given.moves)
                    print(
                        f"{runs:5,} runs, {slider}: picture {picture:.0f} ms, drawn {drawn:.0f} ms"
                    )
    for runs in given.runs:
        for name, (wall, cpu) in of_the_server(runs, given.moves).items():
            print(f"{runs:5,} runs, {name}: {wall:.0f} ms, CPU {cpu:.0f} ms")


if __name__ == "__main__":
    main()
