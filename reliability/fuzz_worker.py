"""One process of `fuzz`, under libFuzzer: ends at the first signal, hang or want of memory.

    python -m reliability.fuzz_worker READER FINDINGS [options and folders of libFuzzer]

Faults that are exceptions are written to the folder FINDINGS, one of each kind, and do not end it.
"""

import os
import random
import resource
import sys
from importlib import import_module
from pathlib import Path

import atheris

from .fuzz_readers import MEMORY, Fault, find_fault, readers, with_submodules


def main(name: str, findings: Path, options: list[str]) -> None:
    os.environ["JAX_PLATFORMS"] = "cpu"
    reader = readers()[name]
    with atheris.instrument_imports(include=list(reader.modules)):
        for module in (*reader.modules, "deeplinear.files"):
            for part in with_submodules(module):
                import_module(part)

    def one(data: bytes) -> None:
        fault = find_fault(reader, data)
        if fault is not None:
            keep(findings, fault, data)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        assert reader.mutate is not None

        def change(part: bytes) -> bytes:
            return atheris.Mutate(part, max(size, len(part)) + 16)

        found = reader.mutate(data, change, random.Random(seed))
        return found if len(found) <= size else data[:size]

    own = {"custom_mutator": mutate} if reader.mutate is not None else {}
    find_fault(reader, b"")  # all imports, before memory is limited
    limit = 8 * MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    atheris.Setup([name, *options], one, enable_python_coverage=True, **own)
    atheris.Fuzz()


def keep(findings: Path, fault: Fault, data: bytes) -> None:
    """Save an input and its story, the shortest of each kind."""
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / fault.key
    if not path.exists() or path.stat().st_size > len(data):
        path.write_bytes(data)
        path.with_name(fault.key + ".txt").write_text(fault.story, "utf-8", "backslashreplace")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
