"""Results as tables in Markdown."""

from collections.abc import Iterable

import numpy as np

from .methods import METHODS

OURS = "deeplinear"


def averaged(lines: Iterable[dict]) -> dict[str, dict[str, dict]]:
    """By set, then method: the means over the seeds that all its methods have.

    A method that failed with one seed counts as failed.
    """
    found: dict[str, dict[str, dict[int, dict]]] = {}
    for line in lines:
        found.setdefault(line["set"], {}).setdefault(line["method"], {})[line["seed"]] = line
    averages = {}
    for name, methods in found.items():
        common = set.intersection(*map(set, methods.values()))
        averages[name] = {
            method: _mean([rounds[seed] for seed in sorted(common)])
            for method, rounds in methods.items()
            if common
        }
    return averages


def _mean(rounds: list[dict]) -> dict:
    failed = [line for line in rounds if "why" in line]
    if failed:
        return failed[0]
    keys = ("error", "rmse", "seconds", "tuning", "memory")
    means = {key: float(np.mean([line[key] for line in rounds])) for key in keys}
    return rounds[0] | means | {"seeds": len(rounds)}


def first_of(methods: dict[str, dict], key: str = "error") -> str:
    """The best of those that are ranked: ours as it is by default, and all others."""
    ranked = [
        name
        for name, found in methods.items()
        if "why" not in found and not METHODS[name].extra and np.isfinite(found[key])
    ]
    return min(ranked, key=lambda name: methods[name][key], default="–")


def best_peer(methods: dict[str, dict], key: str = "error") -> str:
    return first_of({name: found for name, found in methods.items() if name != OURS}, key)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    return "\n".join([_row(heads), "|---" * len(heads) + "|", *map(_row, rows)])


def standings(results: dict[str, dict[str, dict]]) -> str:
    """Per set: ours beside the best peer, in both measures, with CPU seconds and memory."""
    heads = "set,kind,seen,rows × columns,missing,seeds,ours,best peer,its error,ours / best peer"
    heads += ",the same of the RMSE,s,its s + tuning,MB,its MB"
    rows = []
    for name, methods in results.items():
        mine, other = methods.get(OURS, {"why": ""}), best_peer(methods)
        if "why" in mine or other == "–":
            continue
        peer, plain = methods[other], methods[best_peer(methods, "rmse")]
        rows.append(
            [
                name,
                mine["kind"],
                mine["seen"],
                f"{mine['rows']:,} × {mine['cols']:,}",
                f"{mine['missing']:.0%}",
                f"{mine['seeds']}",
                f"{mine['error']:.4f}",
                other,
                f"{peer['error']:.4f}",
                f"{mine['error'] / peer['error']:.3f}",
                f"{mine['rmse'] / plain['rmse']:.3f}",
                f"{mine['seconds']:.1f}",
                f"{peer['seconds']:.1f} + {peer['tuning']:.0f}",
                f"{mine['memory']:.0f}",
                f"{peer['memory']:.0f}",
            ]
        )
    return _table(heads.split(","), rows)


def all_methods(results: dict[str, dict[str, dict]], key: str, digits: int) -> str:
    """One measure of every method on every set; the best in bold; – where it does not apply or
    was not done in time.
    """
    used = [name for name in METHODS if any(name in methods for methods in results.values())]
    rows = []
    for name, methods in results.items():
        first, cells = first_of(methods, key), []
        for method in used:
            found = methods.get(method, {"why": ""})
            cell = "–" if "why" in found else f"{found[key]:.{digits}f}"
            cells.append(f"**{cell}**" if method == first and digits > 1 else cell)
        rows.append([name, *cells])
    return _table(["set", *used], rows)


def unfinished(results: dict[str, dict[str, dict]]) -> str:
    """What failed, and whose settings were not all tried in time."""
    lines = []
    for name, methods in results.items():
        for method, found in methods.items():
            total = len(METHODS[method].settings())
            if "why" in found:
                lines.append(f"- {name}, {method}: {found['why']}")
            elif found["tried"] < total:
                lines.append(f"- {name}, {method}: {found['tried']} of {total} settings in time")
    return "\n".join(lines)


def summary(results: dict[str, dict[str, dict]]) -> str:
    """How often ours is first, or near."""
    ratios = [
        methods[OURS]["error"] / methods[best_peer(methods)]["error"]
        for methods in results.values()
        if "error" in methods.get(OURS, {}) and best_peer(methods) != "–"
    ]
    if not ratios:
        return "Nothing to compare."
    near = [sum(ratio <= bound for ratio in ratios) for bound in (1, 1.005, 1.03)]
    return (
        f"{len(ratios)} sets: ours is first on {near[0]}, within half a percent of the best peer "
        f"on {near[1]}, within 3 % on {near[2]}; at worst {max(ratios) - 1:+.1%}."
    )


def markdown(lines: Iterable[dict]) -> str:
    results = averaged(lines)
    parts = [
        summary(results),
        standings(results),
        "Typical error, relative to the spread of each column:",
        all_methods(results, "error", 4),
        "Root mean square error in standard deviations of each column:",
        all_methods(results, "rmse", 4),
        "CPU seconds of the final fit:",
        all_methods(results, "seconds", 1),
        "Peak memory, MB:",
        all_methods(results, "memory", 0),
        unfinished(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
