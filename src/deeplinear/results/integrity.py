"""Whether a store is as it was written: no array lost or changed, no byte of a chunk.

Each chunk carries a CRC-32C (zarr's codec), which reading checks. The attribute ``arrays`` of the
store holds a digest of the metadata of each array, and ``digest`` one of all attributes.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import xarray as xr

_METADATA = "zarr.json"
_ARRAYS, _DIGEST = "arrays", "digest"
#: Attributes that a reader does not see.
OWN = (_ARRAYS, _DIGEST)


def checked_encoding(ds: "xr.Dataset", *, compress: bool = True) -> dict[str, dict[str, Any]]:
    """What makes `xarray.Dataset.to_zarr` write each chunk with its check sum."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    codecs = [ZstdCodec(), Crc32cCodec()] if compress else [Crc32cCodec()]
    return {str(name): {"compressors": codecs, "filters": None} for name in ds.variables}


def seal(path: Path) -> None:
    """Write the digests into a store whose arrays are all laid out."""
    import zarr

    store = zarr.open_group(path, mode="r+", zarr_format=3)
    store.attrs[_ARRAYS] = {name: _digest_of(path / name) for name in sorted(_arrays(path))}
    store.attrs[_DIGEST] = _digest(read_attributes(path))


def check_metadata(path: Path, attributes: dict[str, Any]) -> None:
    """`InputError` that names what of a store with these attributes was lost, added or changed."""
    if attributes.get(_DIGEST) != _digest(attributes):
        raise damaged(path, "its attributes are not those that were written")
    known, there = attributes[_ARRAYS], _arrays(path)
    for name in sorted({*known, *there}):
        if name not in there:
            raise damaged(path, f"its array '{name}' is gone")
        if name not in known:
            raise damaged(path, f"its array '{name}' is none of its own")
        if _digest_of(path / name) != known[name]:
            raise damaged(path, f"the metadata of '{name}' are not those that were written")


def check_chunks(path: Path, name: str, first: int | None = None, fix: str = "") -> None:
    """`InputError` if one of the files of an array is gone; ``first`` as in `chunk_files`."""
    for chunk in chunk_files(path, name, first):
        if not chunk.is_file():
            raise damaged(path, f"the chunk {chunk.relative_to(path)} is gone", fix)


def chunk_files(path: Path, name: str, first: int | None = None) -> Iterator[Path]:
    """The files of an array; with ``first`` those of this chunk along the first dimension."""
    metadata = json.loads((path / name / _METADATA).read_bytes())
    lengths = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [range(-(-n // k)) for n, k in zip(metadata["shape"], lengths, strict=True)]
    if first is not None:
        counts[0] = range(first, first + 1)
    for place in itertools.product(*counts):
        yield (path / name / "c").joinpath(*map(str, place))


def damaged(path: Path, what: str, fix: str = "") -> InputError:
    """The error about a store in which something is not as it was written."""
    return InputError(f"store: '{path}' is damaged ({what}); {fix or 'make it again'}.")


def read_attributes(path: Path) -> dict[str, Any]:
    """The attributes of a store; `InputError` if they cannot be read."""
    try:
        attributes = json.loads((path / _METADATA).read_bytes())["attributes"]
        return {**attributes}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"store: '{path}' cannot be read ({type(error).__name__} in {_METADATA}); make it "
            "again."
        ) from None


def _arrays(path: Path) -> set[str]:
    return {found.parent.name for found in path.glob(f"*/{_METADATA}")}


def _digest_of(array: Path) -> str:
    return hashlib.blake2b((array / _METADATA).read_bytes(), digest_size=16).hexdigest()


def _digest(attributes: dict[str, Any]) -> str:
    """Of all attributes but the digest itself."""
    rest = {name: value for name, value in attributes.items() if name != _DIGEST}
    text = json.dumps(rest, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
