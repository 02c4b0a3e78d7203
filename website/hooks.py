"""Pages of the site that are made from the code: the reference, the gallery of experiments, and the
tutorials with their results.
"""

import inspect
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import deeplinear as dl
from deeplinear.experiments.page import one_change
from deeplinear.experiments.registry import experiment_names, load_experiment
from website.tutorials import site_files

ROOT = Path(__file__).parent.parent

# The pages of the reference, in the order of the menu: title, what it is about, and the beginnings
# of the modules whose public names it shows.
REFERENCE = {
    "completion": ("Completion", "Incomplete tables, ratings, images.", ("completion",)),
    "energies": ("Energies", "What can be trained, sampled and checked.", ("energies",)),
    "flows": (
        "Flows, ensembles, descent",
        "Training in continuous time and in steps.",
        (
            "dynamics.flow",
            "dynamics.results",
            "dynamics.factors",
            "dynamics.descent",
            "dynamics.ensembles",
            "dynamics.balancing",
            "status",
        ),
    ),
    "geometry": ("Geometry", "The metric g^N, its volumes and what they mean.", ("geometry",)),
    "sampling": ("Langevin and sampling", "Diffusions and exact samplers.", ("dynamics",)),
    "other": ("Installation and caches", "What is kept, and whether it works.", ("",)),
}
SUBJECTS = {
    "geodesic": "Exponential, logarithm, distance and path.",
    "curvature": "Riemann, sectional, Ricci and scalar curvature.",
    "asymptotics": "Tangent kernels, rates, sharpness, laws of small singular values.",
    "exact": "What is known in closed form.",
    "verify": "Checks of your own energies, kernels and flows.",
    "experiments": "Experiments and sweeps.",
    "datasets": "Data to try it on.",
    "explorer": "The page in which depth is seen at work.",
    "errors": "Errors and warnings.",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made here."""
    made = {f"reference/{name}.md": text for name, text in _reference().items()}
    made |= {f"gallery/{name}.md": _gallery_page(name) for name in experiment_names()}
    made["gallery/index.md"] = _gallery()
    made["changelog.md"] = (ROOT / "CHANGELOG.md").read_text("utf-8").replace("](docs/", "](")
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    pages, others = site_files()
    for path, text in pages.items():
        found = files.get_file_from_path(path)
        assert found is not None
        found.content_string = text
    for path, content in others.items():
        files.append(File.generated(config, path, content=content))
    return files


def _reference() -> dict[str, str]:
    """Markdown of each page, by the name of its file."""
    pages, placed = {}, set()
    for page, (title, about, homes) in REFERENCE.items():
        names = [
            name for name in dl._HOME if name not in placed and dl._HOME[name].startswith(homes)
        ]
        placed.update(names)
        paths = [_path(getattr(dl, name), name, dl._HOME[name]) for name in names]
        pages[page] = _page(title, about, paths)
    for subject, about in SUBJECTS.items():
        module = (
            import_module(f"deeplinear.{subject}") if subject == "errors" else getattr(dl, subject)
        )
        paths = [_path(getattr(module, name), name, "") for name in _public(module)]
        pages[subject] = _page(f"dl.{subject}", about, paths)
    return pages


def _public(module: ModuleType) -> list[str]:
    names = getattr(module, "__all__", None)
    if names is None:
        names = [name for name, value in vars(module).items() if _is_own(value, module, name)]
    return list(names)


def _is_own(value: Any, module: ModuleType, name: str) -> bool:
    own = getattr(value, "__module__", "") == module.__name__
    return own and not name.startswith("_") and (inspect.isclass(value) or callable(value))


def _path(value: Any, name: str, home: str) -> str:
    """Where the code of a public name lies, as mkdocstrings wants it."""
    module = getattr(value, "__module__", None) or f"deeplinear.{home}"
    return f"{module}.{getattr(value, '__qualname__', name)}"


def _page(title: str, about: str, paths: list[str]) -> str:
    # once each: several names may be one thing (`Ending` is `Status`)
    shown = "\n\n".join(f"::: {path}" for path in dict.fromkeys(paths))
    return f"# {title}\n\n{about}\n\n{shown}\n"


def _gallery() -> str:
    """All experiments, a card each."""
    cards = []
    for name in experiment_names():
        experiment = load_experiment(name)
        picture = f"![]({_figure(name)}){{ loading=lazy }}\n\n    " if _has_figure(name) else ""
        source = f"*{experiment.source}*, " if experiment.source else ""
        cards.append(
            f"-   {picture}**[{experiment.title}]({name}.md)**\n\n"
            f"    {source}`{name}`, {experiment.duration}"
        )
    return (
        "# Gallery of experiments\n\nEach is one command, one file of code and one page. "
        "[How to change one thing](../experiments.md); [beside what was published]"
        "(../literature.md).\n\n"
        '<div class="grid cards" markdown>\n\n' + "\n\n".join(cards) + "\n\n</div>\n"
    )


def _gallery_page(name: str) -> str:
    experiment = load_experiment(name)
    lead, _, rest = experiment.doc.partition("\n\n")
    commands, line = one_change(experiment)
    rows = "\n".join(
        f"| `{key}` | `{_short(value)}` | `{_short(experiment.settings(True)[key])}` |"
        for key, value in experiment.full.items()
    )
    picture = f"![{experiment.title}]({_figure(name)})\n" if _has_figure(name) else ""
    return f"""# {experiment.title}

{experiment.source}. Takes about {experiment.duration} in full.

{picture}
{lead}

## What to conclude

{experiment.conclusion} [Beside what was published](../literature.md).

## Run it

```sh
deeplinear experiment run {name}
```

```python
import deeplinear as dl

result = dl.experiments.run("{name}", smoke=True)
figure = result.plot()
```

## Change one thing

```sh
{commands}
```

```python
{line}
```

| setting | full | small (`--smoke`) |
|---|---|---|
{rows}

## About this experiment

{rest}
"""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:56] + " …"


def _has_figure(name: str) -> bool:
    return (ROOT / "docs" / "figures" / f"{name}.png").exists()


def _figure(name: str) -> str:
    return f"../figures/{name}.png"
