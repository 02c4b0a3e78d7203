"""The kept corpus of the fuzzer, seeds and past findings: each file a result or one sentence."""

import json
import random

import pytest

from deeplinear.errors import InputError
from reliability.contents import in_contents, signed
from reliability.fuzz import CORPUS, Outcome, files, replay
from reliability.fuzz_readers import Reader, find_fault, readers, with_submodules


@pytest.mark.parametrize("name", readers())
def test_the_corpus(name):
    assert replay(name) == []


def test_the_corpus_is_small_and_known():
    assert sorted(path.name for path in CORPUS.iterdir()) == sorted(readers())
    assert all(files(name) for name in readers())
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 300_000


def raises(error):
    def way(path):
        raise error

    return Reader(".x", (way,), ())


def out_of_memory(path):
    try:
        raise MemoryError
    except MemoryError:
        raise InputError("a sentence.") from None


def test_what_is_a_fault():
    assert find_fault(raises(InputError("INPUT: 'a' is empty; give more.")), b"") is None
    assert find_fault(Reader(".x", (lambda path: path.read_bytes(),), ()), b"abc") is None
    for error in (ValueError("x"), KeyError("x"), RecursionError("x"), InputError("x" * 3000)):
        found = find_fault(raises(error), b"")
        assert found is not None
        assert type(error).__name__ in found.key
    assert "memory" in find_fault(Reader(".x", (out_of_memory,), ()), b"").key
    assert Outcome().stories == ()


def test_changes_of_what_is_nested_deeply():
    """The fuzzer itself must not end where a header is as deep as Python goes."""
    data = (CORPUS / "model/seed-table").read_bytes()
    size = int.from_bytes(data[12:20], "little")
    deep = []
    for _ in range(600):
        deep = [deep]
    header = json.dumps({**json.loads(data[20 : 20 + size]), "meta": {"x": deep}}).encode()
    whole = signed(data[:12] + len(header).to_bytes(8, "little") + header + data[20 + size : -32])
    for seed in range(50):
        in_contents(whole, lambda part: part + b"1", random.Random(seed))


def test_all_modules_of_a_package_are_watched():
    assert "deeplinear.completion.model.serialize" in with_submodules("deeplinear.completion.model")
    assert with_submodules("deeplinear.cli.bounds") == ["deeplinear.cli.bounds"]
