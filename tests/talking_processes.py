"""Processes that run one script and talk to each other over the loopback interface."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable


def run_together(
    script: str, arguments: Callable[[int, int], list], count: int, seconds: float, **environment
) -> list[tuple[int, str, str]]:
    """[(exit code, output, errors)] of ``count`` processes, which ``arguments(number, port)`` tell
    apart; none is left behind.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # what tests import beside the library, for scripts that import a test
    path = os.pathsep.join(filter(None, [os.path.dirname(__file__), os.environ.get("PYTHONPATH")]))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments(number, port))],
            env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": path} | environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(count)
    ]
    try:
        outputs = [process.communicate(timeout=seconds) for process in running]
    finally:
        for process in running:
            process.kill()
    return [(p.returncode, *out) for p, out in zip(running, outputs, strict=True)]
