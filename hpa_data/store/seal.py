"""The seal of a part: a CRC-32 of each of its objects but the shards of images, whose pixels have their own.

What is written when the part is created is sealed from then on. What is written with each shard, and the manifest, are
sealed once every sample is written. Before any of it is written again, its checksums are taken out of the seal; those
of what stays are kept, so that damage to it is never sealed. The seal is one object, replaced as a whole: a process
that is killed leaves a part whose unfinished objects are not sealed, and resuming seals them.

Parts of versions before 0.5.0 have no seal, and get none unless `hpa verify --seal` adds it.
"""

import contextlib
import json
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import zarr

from hpa_data.errors import InputError, first_line
from hpa_data.format.arrays import IMAGES, SEAL_KEY, SHARD_ARRAYS
from hpa_data.store.storage import Storage
from hpa_data.system.records import decode_record, encode_record

METADATA_KEY = "zarr.json"

_PER_SHARD = {spec.name for spec in SHARD_ARRAYS}


@dataclass(frozen=True, kw_only=True)
class Seal:
    """The checksums of a part's objects. The names of the fields are keys in the store."""

    manifest: int | None
    """Of the group's metadata; None until every sample is written."""

    metadata: dict[str, int]
    """Of the metadata of each array, by its name."""

    chunks: dict[str, tuple[int | None, ...]]
    """Of the chunks of each array but the images, by its name, in the order of the grid; 0 for a chunk that does not
    exist, None for one that is not sealed."""

    @property
    def is_complete(self) -> bool:
        """Whether every object is sealed."""
        return self.manifest is not None and all(None not in numbers for numbers in self.chunks.values())

    def without(self, shards: Collection[int]) -> "Seal":
        """Return a seal without the manifest and what is written with these shards."""
        chosen = set(shards)
        chunks = {
            name: tuple(None if number in chosen else value for number, value in enumerate(values))
            if name in _PER_SHARD
            else values
            for name, values in self.chunks.items()
        }
        return replace(self, manifest=None, chunks=chunks)

    def encode(self) -> bytes:
        """Return the bytes of the seal, with a checksum of its own; `decode` is the inverse."""
        record = encode_record(self)
        return json.dumps({"seal": record, "checksum": _checksum_record(record)}, separators=(",", ":")).encode()

    @staticmethod
    @lru_cache(maxsize=4)  # it is read with every array, so that a part that is being written is not called damaged
    def decode(content: bytes) -> "Seal":
        """Read a seal; ValueError if it is damaged, InputError if a newer version wrote it."""
        raw = json.loads(content)
        if not isinstance(raw, dict) or raw.keys() != {"seal", "checksum"}:
            raise ValueError("it has other keys")
        if _checksum_record(raw["seal"]) != raw["checksum"]:
            raise ValueError("it fails its own checksum")
        return decode_record(Seal, raw["seal"], name="the seal of the part")


def _checksum_record(record: Any) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True, separators=(",", ":")).encode())


def list_chunk_keys(array: zarr.Array[Any]) -> list[str]:
    """List the keys of an array's chunks within it, in the order of the grid."""
    counts = [-(-size // chunk) for size, chunk in zip(array.shape, array.chunks, strict=True)]
    encode: Callable[[tuple[int, ...]], str] = array.metadata.encode_chunk_key
    return [encode(position) for position in product(*map(range, counts))]


def seal_created(objects: Mapping[str, bytes], arrays: Iterable[zarr.Array[Any]]) -> Seal:
    """Seal a part in which no sample is written, from its objects by their keys within it."""
    metadata, chunks = {}, {}
    for array in arrays:
        name = array.basename
        metadata[name] = zlib.crc32(objects[f"{name}/{METADATA_KEY}"])
        if name != IMAGES.name:
            keys = [f"{name}/{key}" for key in list_chunk_keys(array)]
            chunks[name] = tuple(None if name in _PER_SHARD else zlib.crc32(objects.get(key, b"")) for key in keys)
    return Seal(manifest=None, metadata=metadata, chunks=chunks)


def read_seal(storage: Storage, part: str) -> Seal | None:
    """Read the seal of a part, None if it has none; InputError if it is damaged."""
    try:
        content = storage.get(f"{part}/{SEAL_KEY}")
    except FileNotFoundError:
        return None
    try:
        return Seal.decode(content)
    except InputError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"Cannot read {SEAL_KEY} of part {part!r} in {storage.location}: {first_line(error)}. Run `hpa verify` "
            "with --seal, which checks the part and seals it again."
        ) from error


def write_seal(storage: Storage, part: str, seal: Seal) -> None:
    """Replace the seal of a part."""
    storage.put(f"{part}/{SEAL_KEY}", seal.encode())


def open_seal(storage: Storage, part: str, shards: Collection[int] = ()) -> None:
    """Take what will be written out of the seal of a part: its manifest, and what comes with these shards.

    The caller holds the store's lock.

    Raises
    ------
    InputError
        If the manifest is not the one that was sealed: it would be sealed with what is changed in it now.
    """
    seal = read_seal(storage, part)
    if seal is None:
        return
    if not is_manifest_sealed(storage, part, seal):
        raise InputError(
            f"Cannot write to part {part!r} of {storage.location}: its {METADATA_KEY} fails its checksum. Convert the "
            "part again with --overwrite."
        )
    opened = seal.without(shards)
    if opened != seal:
        write_seal(storage, part, opened)


def read_chunks(storage: Storage, part: str, array: zarr.Array[Any]) -> dict[str, bytes]:
    """Read the encoded chunks of an array, those that exist, by their keys within it."""
    chunks = {}
    for key in list_chunk_keys(array):
        with contextlib.suppress(FileNotFoundError):
            chunks[key] = storage.get(f"{part}/{array.basename}/{key}")
    return chunks


def find_damaged_chunks(
    storage: Storage, part: str, seal: Seal, array: zarr.Array[Any], chunks: Mapping[str, bytes] | None = None
) -> dict[int, str]:
    """Find the chunks of an array that are not those that were sealed: keys by their number.

    Of the images, whose chunks are not sealed, the metadata alone are compared. Metadata have the number -1. `chunks`
    are those of the array, if they were read.
    """
    name = array.basename
    if _checksum(storage, f"{part}/{name}/{METADATA_KEY}") != seal.metadata.get(name):
        return {-1: f"{name}/{METADATA_KEY}"}
    if name == IMAGES.name:
        return {}
    if chunks is None:
        chunks = read_chunks(storage, part, array)
    sealed = zip(list_chunk_keys(array), seal.chunks[name], strict=True)
    return {
        number: f"{name}/{key}"
        for number, (key, value) in enumerate(sealed)
        if value is not None and zlib.crc32(chunks.get(key, b"")) != value
    }


def is_manifest_sealed(storage: Storage, part: str, seal: Seal) -> bool:
    """Tell whether the manifest of a part is the one that was sealed, or not sealed at present."""
    return seal.manifest is None or _checksum(storage, f"{part}/{METADATA_KEY}") == seal.manifest


def complete_seal(storage: Storage, part: str, seal: Seal, arrays: Iterable[zarr.Array[Any]]) -> Seal:
    """Add to a seal the checksums that it lacks, of a part whose samples are all written."""
    chunks = dict(seal.chunks)
    for array in arrays:
        name = array.basename
        if None in chunks.get(name, ()):
            rows = zip(list_chunk_keys(array), chunks[name], strict=True)
            chunks[name] = tuple(
                _checksum(storage, f"{part}/{name}/{key}") if value is None else value for key, value in rows
            )
    return Seal(manifest=_checksum(storage, f"{part}/{METADATA_KEY}"), metadata=seal.metadata, chunks=chunks)


def make_seal(storage: Storage, part: str, arrays: Iterable[zarr.Array[Any]]) -> Seal:
    """Seal a part as it is, whose samples are all written."""
    arrays = list(arrays)
    metadata = {array.basename: _checksum(storage, f"{part}/{array.basename}/{METADATA_KEY}") for array in arrays}
    chunks: dict[str, tuple[int | None, ...]] = {
        array.basename: (None,) * len(list_chunk_keys(array)) for array in arrays if array.basename != IMAGES.name
    }
    return complete_seal(storage, part, Seal(manifest=None, metadata=metadata, chunks=chunks), arrays)


def _checksum(storage: Storage, key: str) -> int:
    """Return the CRC-32 of an object's bytes; 0 if there is none, as of no bytes."""
    try:
        return zlib.crc32(storage.get(key))
    except FileNotFoundError:
        return 0
