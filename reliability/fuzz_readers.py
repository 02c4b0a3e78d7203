"""What is fuzzed: every reader of a file that a user may give, and what counts as a fault.

A reader takes the bytes of one file. It must end with a result, or with an error of the library
that is one line; anything else is a `Fault`.
"""

import io
import os
import pkgutil
import random
import resource
import signal
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np

from .contents import in_contents

SLOW = 5.0  # seconds of the processor, for fewer bytes than
SMALL = 100_000
MEMORY = 1 << 30  # bytes
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGILL)
_MESSAGE = 2_000  # characters of a sentence that somebody reads

#: A way to read a file, and a way to change one: (data, change of some bytes) → data.
Way = Callable[[Path], object]
Mutate = Callable[[bytes, Callable[[bytes], bytes], random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """``ways`` to read a file called ``input`` + ``suffix``; ``modules`` are watched."""

    suffix: str
    ways: tuple[Way, ...]
    modules: tuple[str, ...]
    mutate: Mutate | None = None  # where random bytes would only meet a checksum


@dataclass(frozen=True)
class Fault:
    """``key`` names a kind of fault in a file name, ``story`` tells it."""

    key: str
    story: str


def find_fault(reader: Reader, data: bytes) -> Fault | None:
    """Read ``data`` in all ways; the first thing that is wrong with that, None if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        for k, way in enumerate(reader.ways):
            path = Path(folder) / f"{k}" / f"input{reader.suffix}"
            path.parent.mkdir()
            path.write_bytes(data)
            begin, memory = _seconds(), _peak()
            fault = _fault_of(way, path)
            seconds, used = _seconds() - begin, _peak() - memory
            if fault is None and seconds > SLOW and len(data) < SMALL:
                fault = Fault(f"slow-{k}", f"{seconds:.1f} s for {len(data)} bytes")
            if fault is None and used > MEMORY:
                fault = Fault(f"memory-{k}", f"{used >> 20} MiB for {len(data)} bytes")
            if fault is not None:
                return fault
    return None


def _fault_of(way: Way, path: Path) -> Fault | None:
    from deeplinear.errors import DownloadError, InputError, SweepError

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            way(path)
    except (InputError, SweepError, DownloadError) as error:
        text = str(error)
        if "\n" in text or "\r" in text or not text or len(text) > _MESSAGE:
            return Fault(_place(error), f"a message that is no sentence: {text[:500]!r}")
        if _ran_out(error):
            return Fault(f"memory-{_place(error)}", traceback.format_exc())
    except Exception as error:
        return Fault(_place(error), traceback.format_exc())
    return None


def _ran_out(error: BaseException | None) -> bool:
    """Whether an error was made of a MemoryError: reading was near it, whatever is said."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__context__
    return error is not None


def _place(error: BaseException) -> str:
    """The sort of an error, and where in the library it came up."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "deeplinear" in f.filename]
    where = f"{Path(frames[-1].filename).stem}-{frames[-1].name}" if frames else "nowhere"
    return f"{type(error).__name__}-{where}".replace("<", "").replace(">", "")


def _seconds() -> float:
    """Of the processors: the machine may have other work."""
    return sum(os.times()[:4])


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _text(**options: object) -> Way:
    def read(path: Path) -> None:
        from deeplinear.files import TextOptions

        _table(path, text=TextOptions(**options))  # type: ignore[arg-type]

    return read


def _table(path: Path, **options: object) -> None:
    """Read a table and write it back."""
    from deeplinear.files import read_table

    table = read_table(path, **options)  # type: ignore[arg-type]
    _write(table, path)


def _write(table: object, path: Path) -> None:
    table.understood()  # type: ignore[attr-defined]
    suffixes = table.suffixes  # type: ignore[attr-defined]
    suffix = path.suffix if path.suffix in suffixes else suffixes[0]
    table.encode(np.zeros(table.values.shape), suffix)  # type: ignore[attr-defined]


def _tried_in_a_fork(path: Path) -> None:
    """`_table` of a file for the HDF5 library, which is tried in a copy of this process: another
    one takes a second to start.
    """
    from deeplinear.files import hdf5

    own = hdf5.check_survival, hdf5.rewritten
    hdf5.check_survival, hdf5.rewritten = _survives, _rewritten
    try:
        _table(path)
    finally:
        hdf5.check_survival, hdf5.rewritten = own


def _survives(path: Path) -> None:
    """What `check_survival` does, with the limits of the processor alone."""
    from deeplinear.files import hdf5_trial

    hdf5_trial.judge(_in_a_fork(lambda: hdf5_trial.attempt(str(path))))


def _rewritten(content: bytes, name: str, array: np.ndarray) -> bytes:
    """What `rewritten` does, but for what is written."""
    from deeplinear.files import hdf5_trial

    code = _in_a_fork(lambda: int(not hdf5_trial.rewrite(content, name, array)))
    return hdf5_trial.accept(code, b"", name)


def _in_a_fork(work: Callable[[], int]) -> int:
    """The exit code of a copy of this process that does the work; 1 if it raised."""
    import h5py  # noqa: F401 - before the fork

    from deeplinear.files import hdf5_trial

    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number in _CRASHES:  # libFuzzer would call it a finding
                signal.signal(number, signal.SIG_DFL)
            hdf5_trial.limit(1)  # nothing has to be loaded
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _long(*columns: str, **options: object) -> Way:
    def read(path: Path) -> None:
        from deeplinear.files import TextOptions
        from deeplinear.files.long import read_long

        pairs = bool(options.get("pairs"))
        rest = {name: value for name, value in options.items() if name != "pairs"}
        text = TextOptions(**rest) if rest else None  # type: ignore[arg-type]
        read_long(path, *columns, pairs=pairs, text=text).describe()

    return read


def _hidden(path: Path) -> None:
    """The bytes as a mask of a table of 4 × 3 numbers, in every type that a mask may have."""
    from deeplinear.files import read_mask
    from deeplinear.files.arrays import ArrayTable

    table = ArrayTable(np.arange(12.0).reshape(4, 3), (".npy",))
    head = path.read_bytes()[:4]
    kinds = {b"\x89PNG": ".png", b"\x93NUM": ".npy", b"PAR1": ".parquet", b"PK\3\4": ".npz"}
    read_mask(path.rename(path.with_suffix(kinds.get(head, ".csv"))), table)


def _model(path: Path) -> None:
    """Load a model, and ask it all that it answers."""
    from deeplinear import DeepLinearImputer, DeepMatrixCompletion
    from deeplinear.completion.file_format import kind_of

    if kind_of(path) != DeepMatrixCompletion.__name__:
        table = DeepLinearImputer.load(path)
        X = np.full((2, table.n_features_in_), np.nan)
        table.transform(X)
        table.get_feature_names_out()
        if table.features_ and hasattr(table, "predict_proba"):
            table.predict_proba(X)
        table.interval(X, coverage=0.5)
        table.draws(1, random_state=0)
        return
    long = DeepMatrixCompletion.load(path)
    ids = long.model_.row_ids.labels[:2], long.model_.col_ids.labels[:2]
    long.predict(*ids)
    long.recommend(ids[0], 2)
    long.interval(*ids, coverage=0.5)


def hidden_outer() -> np.ndarray:
    """A small table of rank one with gaps."""
    data = np.outer(np.arange(1.0, 7), np.arange(1.0, 6))
    data[[0, 2, 4], [1, 3, 0]] = np.nan
    return data


def _checkpoint(path: Path) -> None:
    _small_fit(path)


def _small_fit(path: Path) -> None:
    from deeplinear import DeepLinearImputer

    options = {"strength": 0.1, "max_iter": 3, "random_state": 0, "n_draws": 0}
    DeepLinearImputer(2, checkpoint=path, **options).fit(hidden_outer())


def stop_early(path: Path) -> None:
    """Leave the checkpoint of a fit of `_checkpoint` that is stopped."""
    from deeplinear.completion.solver import checkpoint

    kept: list[bytes] = []
    write = checkpoint.write_atomically
    checkpoint.write_atomically = lambda path, data: kept.append(bytes(data))
    try:
        _small_fit(path)
    finally:
        checkpoint.write_atomically = write
    path.write_bytes(kept[0])


def _sweep(path: Path) -> None:
    from deeplinear.sweeps.sweep import read_sweep

    found = read_sweep(path)
    len(found.table), found.parameters


def _store(path: Path) -> None:
    """The bytes as an archive of a store and its manifest: read it, then resume the sweep."""
    from deeplinear.errors import InputError
    from deeplinear.results.store import load_dataset
    from deeplinear.sweeps.sweep import open_sweep, run_sweep

    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(path.parent)
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError, EOFError):
        return
    store = path.parent / "s.zarr"
    for read in (
        lambda: load_dataset(store),
        lambda: open_sweep(store),
        lambda: run_sweep(small_sweep(), store, workers=0, resume=True, retries=0),
    ):
        try:
            read()
        except InputError as error:
            if "\n" in str(error):
                raise


def small_sweep() -> object:
    """The sweep of the corpus of stores."""
    from deeplinear.experiments import Output, Sweep, task

    @task(square=Output(), letters=Output(("k",), (2,), "int64"))
    def area(side: float, name: str) -> dict[str, object]:
        return {"square": float(side) ** 2, "letters": [len(name), 0]}

    return Sweep(area, {"side": [1, 2, 3], "name": ["a", "bc"]}, chunk=2)


def _options(path: Path) -> None:
    """Lines as the values of options: bounds, marks of numbers, columns, encodings."""
    from deeplinear.cli.bounds import parse_bounds
    from deeplinear.completion.data.features import Feature
    from deeplinear.errors import InputError
    from deeplinear.files import Selection, TextOptions

    words = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")[:6]
    first, rest = words[0], tuple(words[1:])
    features = [Feature("x"), Feature("y=z"), Feature("2")]
    ways: list[Callable[[], object]] = [
        lambda: parse_bounds(words, rest, features),
        lambda: TextOptions(missing=rest, separator=first, encoding=first).markers(),
        lambda: TextOptions(missing=rest, decimal=first[:1], thousands=first[1:2]).markers(),
        lambda: Selection(columns=rest, keep=(first,)).positions(["a", "²", "1", ""], "f.csv"),
    ]
    for way in ways:
        try:
            way()
        except InputError as error:
            if "\n" in str(error) and not any("\n" in word or "\r" in word for word in words):
                raise


def in_members(data: bytes, change: Callable[[bytes], bytes], chance: random.Random) -> bytes:
    """An archive with one member changed, behind its check sums."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = {info.filename: old.read(info) for info in old.infolist()}
    except Exception:
        return change(data)
    if not members:
        return change(data)
    name = chance.choice(sorted(members))
    if chance.random() < 0.1:
        members.pop(name, None)
    elif chance.random() < 0.1:
        members[name] = members[chance.choice(sorted(members))]
    else:
        members[name] = change(members[name])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for key, content in members.items():
            new.writestr(zipfile.ZipInfo(key), content)
    return buffer.getvalue()


def with_submodules(module: str) -> list[str]:
    """A module, and all of a package: what is imported later would not be watched."""
    package = import_module(module)
    found = pkgutil.iter_modules(getattr(package, "__path__", ()), f"{module}.")
    return [module, *(info.name for info in found)]


_FILES = ("deeplinear.files", "deeplinear.completion.data")
_SWEEPS = ("deeplinear.results", "deeplinear.sweeps")
_MODELS = ("deeplinear.completion.model", "deeplinear.completion.data")
_SOLVER = ("deeplinear.completion.solver.checkpoint", "deeplinear.completion.solver.fit_state")


@cache
def readers() -> dict[str, Reader]:
    """Every reader by its name, which is that of its folder in the corpus."""
    notes = {"separator": "blank", "comment": "", "notes": True, "header": False}
    return {
        "csv": Reader(".csv", (_table, _text(decimal=",", labels=True), _text(**notes)), _FILES),
        "long": Reader(
            ".csv",
            (_long(), _long(pairs=True), _long("1", "2", "3", missing=("0",), comment="")),
            _FILES,
        ),
        "parquet": Reader(".parquet", (_table, _long(), _long("2", "1", "3")), _FILES),
        "feather": Reader(".feather", (_table,), _FILES),
        "excel": Reader(".xlsx", (_table, _text(header=False)), _FILES, in_members),
        "npy": Reader(".npy", (_table,), _FILES),
        "npz": Reader(".npz", (_table, _long()), _FILES, in_members),
        "market": Reader(".mtx", (_long(),), _FILES),
        "mat": Reader(".mat", (_tried_in_a_fork,), _FILES),
        "hdf5": Reader(".h5", (_tried_in_a_fork,), _FILES),
        "anndata": Reader(".h5ad", (_tried_in_a_fork,), _FILES),
        "image": Reader(".png", (_table,), _FILES),
        "mask": Reader(".csv", (_hidden,), _FILES),
        "model": Reader(".dln", (_model,), _MODELS, in_contents),
        "checkpoint": Reader(".check", (_checkpoint,), _SOLVER, in_contents),
        "sweep": Reader(".toml", (_sweep,), _SWEEPS),
        "store": Reader(".zip", (_store,), _SWEEPS, in_members),
        "options": Reader(".txt", (_options,), ("deeplinear.files", "deeplinear.cli.bounds")),
    }
