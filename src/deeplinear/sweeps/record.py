"""The manifest of a sweep's store: every call that worked on it, also one that was killed."""

import json
from pathlib import Path
from typing import Any

from ..errors import SweepError
from ..results.manifest import (
    command,
    machine,
    now,
    read_manifest,
    unreadable,
    versions,
    write_manifest,
)


def manifest_path(store: Path) -> Path:
    """The manifest of a sweep's store: beside it."""
    return store.with_name(store.name + ".manifest.json")


def begin_record(
    path: Path, parameters: str, kept: int, where: str, *, afresh: bool
) -> dict[str, Any]:
    """Record that a call has begun, for it may be killed before its end; returns the manifest.

    ``kept`` tasks had a result before, ``where`` says what computes; ``afresh`` drops the record of
    earlier calls.
    """
    calls = [] if afresh else _calls(manifest_path(path))
    call = {
        "command": command(),
        "machine": machine(),
        "computed_by": where,
        "started": now(),
        "kept": kept,
        "versions": versions(),
        "ended": "unknown",
    }
    content = {
        "store": path.name,
        "parameters": json.loads(parameters),
        "seeds": "the coordinate 'key' of the store: from the parameters of each task alone",
        "calls": [*calls, call],
    }
    try:
        write_manifest(manifest_path(path), content)
    except OSError as error:
        raise SweepError(
            f"store '{path}': cannot write its manifest '{manifest_path(path)}' "
            f"({error.strerror or error}); "
            "make room or permit writing, then start again with --resume."
        ) from None
    return content


def _calls(path: Path) -> list[dict[str, Any]]:
    """The calls that a manifest lists."""
    calls = read_manifest(path).get("calls", [])
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise unreadable(path, "its 'calls' are no list of records")
    return calls


def end_record(
    path: Path,
    content: dict[str, Any],
    *,
    ended: str,
    computed: int,
    runs_excluded: int,
    failures: dict[int, str],
) -> None:
    """Record how the call ended, and its first hundred failures."""
    content["calls"][-1] |= {
        "ended": ended,
        "stopped": now(),
        "computed": computed,
        "runs_excluded": runs_excluded,
        "failures": {str(task): error for task, error in sorted(failures.items())[:100]},
    }
    try:
        write_manifest(manifest_path(path), content)
    except OSError:  # a full disk has been reported already, by the error that brought us here
        if ended == "complete":
            raise
