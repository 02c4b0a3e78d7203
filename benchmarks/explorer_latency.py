"""How soon the laboratory follows its depth slider, measured in headless Chromium.

    python -m benchmarks.explorer_latency [--runs 1000 3000] [--moves 40]

From a key on the slider to the new endpoints in the browser's document (`picture`), and until the
browser has drawn them (`drawn`, the second animation frame after). The server's own part is timed
beside it, in this process: wall and CPU time of endpoints and map.
"""

import argparse
import shutil
import subprocess
import sys
import time
from statistics import median

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


def in_browser(address: str, runs: int, moves: int) -> tuple[float, float]:
    """Medians (picture, drawn) in milliseconds, after a way there and back to warm up."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        path = shutil.which("chromium") or driver.chromium.executable_path
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{address}?runs={runs}&depth=3")
        page.wait_for_function(SHOWN, arg=runs * 0.5, timeout=300_000)
        page.evaluate(PROBE)
        page.locator(".noUi-handle").first.focus()
        way = ["ArrowRight"] * 10 + ["ArrowLeft"] * 10
        for k in range(20 + moves):
            if k == 20:
                page.evaluate("() => { window.times = []; }")
            before = page.evaluate("() => window.times.length")
            page.keyboard.press(way[k % 20])
            page.wait_for_function("(n) => window.times.length > n", arg=before, timeout=60_000)
            page.get_by_text("runs at depth").first.wait_for(timeout=60_000)
            page.wait_for_timeout(300)  # the paths of this one
        times = page.evaluate("() => window.times")
        browser.close()
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
    command = [sys.executable, "-m", "deeplinear", "explore", "--port", "0", "--no-browser"]
    begin = time.perf_counter()
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert server.stdout is not None
    address = next(line.strip() for line in server.stdout if line.startswith("http"))
    print(f"the address after {time.perf_counter() - begin:.1f} s")
    try:
        for runs in given.runs:
            picture, drawn = in_browser(address, runs, given.moves)
            print(f"{runs:5,} runs: picture {picture:.0f} ms, drawn {drawn:.0f} ms")
    finally:
        server.terminate()
        server.wait(20)
    for runs in given.runs:
        for name, (wall, cpu) in of_the_server(runs, given.moves).items():
            print(f"{runs:5,} runs, {name}: {wall:.0f} ms, CPU {cpu:.0f} ms")


if __name__ == "__main__":
    main()
