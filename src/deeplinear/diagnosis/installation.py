"""Versions of Python, of deeplinear and of what it needs, and which extras are there."""

import platform
from collections import deque
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from .finding import Finding, look

SECTION = "installation"
_PACKAGE = "deeplinear"
_USES = {
    "lab": "the laboratory: flows, geometry, sampling, training",
    "fast": "completion of large sparse data",
    "frames": "pandas, polars, Parquet, Feather",
    "excel": "Excel workbooks",
    "hdf5": "HDF5, AnnData, MATLAB 7.3",
    "experiments": "experiments and sweeps",
    "explorer": "the explorer's page",
    "gpu": "computing on NVIDIA devices",
}


def findings() -> list[Finding]:
    """Findings about what is installed."""
    fix = "install deeplinear again: pip install --force-reinstall deeplinear"
    names = {"deeplinear": _ours, "needed packages": _needed}
    found = [look(SECTION, name, fix, what) for name, what in names.items()]
    return [*found, *(look(SECTION, f"[{e}]", fix, partial(_extra, e)) for e in _USES)]


def _ours() -> Finding:
    """This library as it is imported, against what is installed."""
    from .. import __version__

    place = str(Path(__file__).parents[1])
    python = platform.python_version()
    figures = {"version": __version__, "python": python, "place": place}
    text = f"{__version__} with Python {python}, in {place}."
    try:
        known = metadata.version(_PACKAGE)
    except metadata.PackageNotFoundError:
        text = f"{text[:-1]}, imported without being installed; pip install it to compare versions."
        return Finding(SECTION, _PACKAGE, None, text, figures)
    if known != __version__:
        text = f"imported is {__version__} from {place}, but installed {known}; uninstall one."
    return Finding(SECTION, _PACKAGE, known == __version__, text, figures)


def _needed() -> Finding:
    """Every package that deeplinear needs, also through others."""
    versions, faults = satisfied(requirements(_PACKAGE))
    figures = {"versions": versions, "faults": faults}
    if faults:
        text = f"{'; '.join(faults[:4])}{'; …' * (len(faults) > 4)}: pip install the right ones."
        return Finding(SECTION, "needed packages", False, text, figures)
    main = ", ".join(f"{name} {versions[name]}" for name in ("numpy", "scipy", "scikit-learn"))
    text = f"all {len(versions)} are there, in versions that fit ({main})."
    return Finding(SECTION, "needed packages", True, text, figures)


def _extra(extra: str) -> Finding:
    """One optional set of packages: it may be absent, but not half there or too old."""
    wanted = [r for r in requirements(_PACKAGE, extra) if r.name != _PACKAGE]
    versions, faults = satisfied(wanted)
    present = [r.name for r in wanted if _version(r.name) is not None]
    # an extra of JAX itself: what it adds is there if its plugin is
    if extra == "gpu":
        present = [name for name in versions if "plugin" in name]
    name, uses = f"[{extra}]", _USES[extra]
    how = f"pip install 'deeplinear[{extra}]'"
    if not present:
        return Finding(SECTION, name, None, f"not installed; {how} for {uses}.", {})
    figures = {"versions": versions, "faults": faults}
    missing = [r.name for r in wanted if _version(r.name) is None]
    wrong = [fault for fault in faults if not fault.endswith("is not installed")]
    if wrong:
        return Finding(SECTION, name, False, f"{'; '.join(wrong[:4])}: {how}.", figures)
    if missing:
        text = f"without {', '.join(missing)}: {how} for all of {uses}."
        return Finding(SECTION, name, None, text, figures)
    direct = ", ".join(f"{r.name} {versions[r.name]}" for r in wanted)
    return Finding(SECTION, name, True, f"{direct}.", figures)


def requirements(package: str, extra: str = "") -> list[Requirement]:
    """What an installed package needs here, or (only) what its ``extra`` adds.

    **Raises** PackageNotFoundError.
    """
    found = map(Requirement, metadata.requires(package) or [])
    return [
        r
        for r in found
        if (r.marker is None and not extra)
        or (
            r.marker is not None
            and r.marker.evaluate({"extra": extra})
            and not (extra and r.marker.evaluate({"extra": ""}))
        )
    ]


def satisfied(wanted: list[Requirement]) -> tuple[dict[str, str], list[str]]:
    """(name → version, faults) of packages and of all that they need in turn."""
    versions: dict[str, str] = {}
    faults: list[str] = []
    queue = deque((requirement, _PACKAGE) for requirement in wanted)
    seen: set[tuple[str, tuple[str, ...]]] = set()
    while queue:
        r, by = queue.popleft()
        version = _version(r.name)
        if version is None:
            faults.append(f"{r.name} (needed by {by}) is not installed")
            continue
        if not r.specifier.contains(version, prereleases=True):
            faults.append(f"{by} needs {r.name}{r.specifier}, and {version} is installed")
        versions[r.name] = version
        key = (r.name, tuple(sorted(r.extras)))
        if key not in seen:
            seen.add(key)
            own = requirements(r.name)
            own += [more for extra in r.extras for more in requirements(r.name, extra)]
            queue.extend((more, r.name) for more in own)
    return dict(sorted(versions.items())), list(dict.fromkeys(faults))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
