"""Model files: the layout that the docstring documents, read byte by byte, and round trips."""

import hashlib
import json
import math

import numpy as np
import pytest

from deeplinear.completion import file_format
from deeplinear.errors import InputError

META = {
    "text": "größe \u2028 \x00",
    "none": None,
    "yes": True,
    "numbers": [1, -2.5, 1e-320, 2**70],
    "special": [math.inf, -math.inf],
    "tuple": (1, (2.0, "x"), []),
    "nested": {"a": {"b": (math.inf,)}},
}
ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">f4"),
    "strided": np.arange(10, dtype=np.int64)[::3],
    "empty": np.zeros((0, 4), np.uint32),
    "flags": np.array([True, False]),
    "scalar": np.float64(3.5).reshape(()),
    "special": np.array([np.nan, -0.0, np.inf, 5e-324]),
}


def test_the_layout_is_the_documented_one():
    data = file_format.pack("Kind", META, ARRAYS)
    assert data[:8] == bytes.fromhex("89 44 4C 4E 0D 0A 1A 0A")
    assert int.from_bytes(data[8:12], "little") == 1
    length = int.from_bytes(data[12:20], "little")
    header = json.loads(data[20 : 20 + length], parse_constant=pytest.fail)  # no NaN, no Infinity
    assert header["kind"] == "Kind"
    assert header["meta"]["special"] == [{"float": "inf"}, {"float": "-inf"}]
    assert [entry["name"] for entry in header["arrays"]] == list(ARRAYS)
    at = 20 + length
    for entry in header["arrays"]:
        array = ARRAYS[entry["name"]]
        assert tuple(entry["shape"]) == array.shape
        size = array.size * array.itemsize
        found = np.frombuffer(data[at : at + size], entry["dtype"]).reshape(array.shape)
        assert not entry["dtype"].startswith(">")
        np.testing.assert_array_equal(found, array)
        at += size
    assert data[at:] == hashlib.sha256(data[:at]).digest()


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.dln"
    file_format.write(path, "Kind", META, ARRAYS)
    meta, arrays = file_format.unpack(path, "Kind")
    assert meta == META
    assert list(arrays) == list(ARRAYS)
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype.newbyteorder("=")
        assert array.shape == ARRAYS[name].shape
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert np.array_equal(np.signbit(array), np.signbit(ARRAYS[name])) or array.dtype == bool
        assert array.flags.writeable
    assert file_format.kind_of(path) == "Kind"


def test_nan_survives_in_the_header(tmp_path):
    file_format.write(tmp_path / "a", "Kind", {"score": math.nan}, {})
    assert math.isnan(file_format.unpack(tmp_path / "a", "Kind")[0]["score"])


@pytest.mark.parametrize(
    ("meta", "arrays", "message"),
    [
        ({"f": print}, {}, "a parameter of the type builtin_function_or_method cannot be saved"),
        ({"s": {1, 2}}, {}, "a parameter of the type set cannot be saved"),
        ({}, {"z": np.array([1j])}, "the array z of type complex128 cannot be saved"),
        ({}, {"o": np.array([object()])}, "the array o of type object cannot be saved"),
    ],
)
def test_what_cannot_be_carried_is_refused_and_nothing_is_written(tmp_path, meta, arrays, message):
    with pytest.raises(InputError, match=message):
        file_format.write(tmp_path / "a", "Kind", meta, arrays)
    assert not list(tmp_path.iterdir())


def test_an_old_file_stays_whole_where_the_new_one_is_refused(tmp_path):
    path = tmp_path / "a"
    file_format.write(path, "Kind", {"x": 1}, {})
    with pytest.raises(InputError):
        file_format.write(path, "Kind", {"x": print}, {})
    assert file_format.unpack(path, "Kind") == ({"x": 1}, {})


def test_places_that_cannot_be_written_or_read(tmp_path):
    with pytest.raises(InputError, match=r"path: '.*none.a' cannot be written \(.*give another"):
        file_format.write(tmp_path / "none" / "a", "Kind", {}, {})
    with pytest.raises(
        InputError,
        match=r"path: '.*a' cannot be read \(No such file or directory\); check the name",
    ):
        file_format.unpack(tmp_path / "a", "Kind")
    for content in (b"", b"\x89DLN", b"a,b\n1,2\n", file_format.SIGNATURE, b"\x89DLN\n\x1a\n" * 9):
        (tmp_path / "b").write_bytes(content)
        assert file_format.kind_of(tmp_path / "b") is None
        with pytest.raises(InputError, match=r"not a deeplinear model file|cut short"):
            file_format.unpack(tmp_path / "b", "Kind")


def signed(header, body=b"", version=1, length=None):
    """A file with this header, whatever it is, and a right checksum."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    fixed = version.to_bytes(4, "little") + (length or len(text)).to_bytes(8, "little")
    data = file_format.SIGNATURE + fixed + text + body
    return data + hashlib.sha256(data).digest()


def listed(*arrays, kind="Kind", meta=None):
    keys = ("name", "dtype", "shape")
    named = [dict(zip(keys, array, strict=True)) for array in arrays]
    return {"kind": kind, "meta": {} if meta is None else meta, "arrays": named}


EIGHT = bytes(8)
EMPTY = np.zeros(0)


@pytest.mark.parametrize(
    "data",
    [
        signed(b"not JSON"),
        signed(b"\xff\xfe"),
        signed(b"[" * 100_000),
        signed(b'{"kind": "Kind", "meta": {}, "arrays": [], "x": NaN}'),
        signed(b'{"kind": "Kind", "meta": {"x": 1' + b"0" * 5000 + b'}, "arrays": []}'),
        signed([]),
        signed({"kind": "Kind", "meta": {}}),
        signed(listed(kind=3)),
        signed(listed(kind="a\nb")),
        signed(listed(kind="x" * 10 + "; rm -rf /")),
        signed(listed(meta=[1])),
        signed(listed(meta={"x": {"float": "eval"}})),
        signed(listed(meta={"x": {"float": 3}})),
        signed(listed(), EIGHT),
        signed(listed(), length=10**6),
        signed(listed(), length=2**63),
        signed(listed(("x", "<f8", [2])), EIGHT),
        signed(listed(("x", "<f8", [1])), EIGHT + EIGHT),
        signed(listed(("x", "<f8", [1]), ("x", "<f8", [1])), EIGHT + EIGHT),
        signed(listed(("x", "<f8", [-1, -1])), EIGHT),
        signed(listed(("x", "<f8", [1.0])), EIGHT),
        signed(listed(("x", "<f8", [True])), EIGHT),
        signed(listed(("x", "<f8", ["1"])), EIGHT),
        signed(listed(("x", "<f8", 1)), EIGHT),
        signed(listed(("x", "<f8", [2**62, 4])), EIGHT),
        signed(listed((3, "<f8", [1])), EIGHT),
        signed(listed(("x", ">f8", [1])), EIGHT),
        signed(listed(("x", "|O", [1])), EIGHT),
        signed(listed(("x", "<f16", [0])), b""),
        signed(listed(("x", "<c8", [1])), EIGHT),
        signed(listed(("x", "<M8[s]", [1])), EIGHT),
        signed(listed(("x", ["a", "b"], [1])), EIGHT),
        signed(listed(("x", "|b1", [8])), bytes(range(8))),
        signed(listed(("x", "|b1", [3])), bytes([0, 1, 2])),
        signed(b""),
        signed(listed(), length=len(json.dumps(listed())) + 5),
        signed(listed(("x", "<f8", [1]), ("y", "<f8", [1])), EIGHT),
        signed(listed(("x", "<f8", [2**48, 0]))),
    ],
)
def test_headers_that_are_not_written_here(tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InputError) as raised:
        file_format.unpack(path, "Kind")
    message = str(raised.value)
    assert message.startswith(f"path: '{path}' holds what this deeplinear does not write (")
    assert message.endswith("); save it again.")
    assert "\n" not in message
    assert len(message) < 260 + len(str(path))
    assert file_format.kind_of(path) in (None, "Kind")


def test_a_header_that_is_longer_than_the_file_is_called_so(tmp_path):
    (tmp_path / "a").write_bytes(signed(listed(), length=len(json.dumps(listed())) + 5))
    with pytest.raises(InputError, match="its header is longer than the file"):
        file_format.unpack(tmp_path / "a", "Kind")


def test_an_empty_array_may_be_long(tmp_path):
    (tmp_path / "a").write_bytes(signed(listed(("x", "<f8", [2**48 - 1, 0]))))
    assert file_format.unpack(tmp_path / "a", "Kind")[1]["x"].shape == (2**48 - 1, 0)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", *(f"{k}{n}" for k in "iuf" for n in (2, 4, 8))])
def test_every_type_of_real_numbers(tmp_path, dtype):
    array = np.array([0, 1, 1], dtype)
    file_format.write(tmp_path / "a", "Kind", {}, {"x": array})
    found = file_format.unpack(tmp_path / "a", "Kind")[1]["x"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("wrap", "written"),
    [
        (lambda x: [x], lambda x: [x]),
        (lambda x: (x,), lambda x: {"tuple": [x]}),
        (lambda x: {"a": x}, lambda x: {"a": x}),
    ],
)
@pytest.mark.parametrize("core", [1.0, math.inf])
def test_what_is_nested_too_deeply_is_neither_written_nor_read(tmp_path, wrap, written, core):
    """Twenty records, lists and special numbers in each other, the parameters themselves one."""
    value = core
    for _ in range(19 - math.isinf(core)):
        value = wrap(value)
    file_format.write(tmp_path / "a", "Kind", {"x": value}, {})
    assert file_format.unpack(tmp_path / "a", "Kind") == ({"x": value}, {})
    with pytest.raises(InputError, match="nested too deeply"):
        file_format.write(tmp_path / "a", "Kind", {"x": wrap(value)}, {})
    deeper = 1.0
    for _ in range(20):
        deeper = written(deeper)
    (tmp_path / "a").write_bytes(signed(listed(meta={"x": deeper})))
    with pytest.raises(InputError, match="nested too deeply"):
        file_format.unpack(tmp_path / "a", "Kind")


def test_prefixes_of_names():
    arrays = file_format.named({"a": EMPTY}, "best.") | {"b": EMPTY}
    assert list(arrays) == ["best.a", "b"]
    assert list(file_format.take_group(arrays, "best.")) == ["a"]
    assert list(arrays) == ["b"]


def test_the_text_of_headers():
    assert file_format.to_json({"ß": 1}) == '{"ß": 1}'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        file_format.to_json(math.inf)


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_other_versions(tmp_path, version):
    (tmp_path / "a").write_bytes(signed(listed(), version=version))
    with pytest.raises(InputError, match=f"has the format version {version}, and this deeplinear"):
        file_format.unpack(tmp_path / "a", "Kind")


def test_what_has_no_end_is_no_model():
    with pytest.raises(InputError, match="is not a deeplinear model file"):
        file_format.unpack("/dev/zero", "Kind")


def test_every_byte_counts(tmp_path):
    """A changed byte is refused wherever it is, and so is every beginning of a file."""
    path = tmp_path / "a"
    whole = file_format.pack("Kind", {"x": 1}, {"a": np.arange(4.0)})
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 64
        for damaged in (whole[:place], bytes(changed)):
            path.write_bytes(damaged)
            with pytest.raises(InputError):
                file_format.unpack(path, "Kind")


def test_names_that_no_file_can_have(tmp_path):
    for name in (f"{tmp_path}/a\0b", "n" * 300, tmp_path):
        with pytest.raises(InputError, match="cannot be written"):
            file_format.write(name, "Kind", {}, {})
        with pytest.raises(InputError, match="cannot be read"):
            file_format.unpack(name, "Kind")
