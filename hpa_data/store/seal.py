"""The seal of a part: a CRC-32 of each of its objects but the shards of images, whose pixels have their own.

What is written when the part is created is sealed from then on. What is written with each shard, and the manifest, are
sealed once every sample is written. Before any of it is written again, it is compared, and its checksums are taken out
of the seal; those of what stays are kept, so that damage to it is never sealed. That holds for single samples, too,
which stay while others of their shard are written: checksums of their rows are in the seal until the shard is sealed
again. The seal is one object, replaced as a whole: a process that is killed leaves a part whose unfinished objects are
not sealed, and resuming seals them.

Parts of versions before 0.5.0 have no seal, and get none unless `hpa verify --seal` adds it.
"""

import json
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy.typing as npt
import zarr

from hpa_data.errors import InputError, first_line
from hpa_data.format.arrays import IMAGES, SEAL_KEY, SHARD_ARRAYS
from hpa_data.format.columns import decode_chunk_rows, find_dtype, find_max_bytes
from hpa_data.store.storage import Storage
from hpa_data.system.files import MAX_TEXT_BYTES, is_unreadable
from hpa_data.system.records import decode_record, encode_record

METADATA_KEY = "zarr.json"

_PER_SHARD = {spec.name for spec in SHARD_ARRAYS}


class DamagedSealError(InputError):
    """The seal itself is damaged."""


class ChangedError(Exception):
    """An object is not the one that was sealed; its text is the object's key within the part."""


@dataclass(frozen=True, kw_only=True)
class OpenShard:
    """A shard that is written again, while some of its samples stay as they are."""

    shard: int

    rows: tuple[int, ...]
    """Of these samples, within the shard."""

    checksums: dict[str, int]
    """Of their rows in each array, by its name; the same before and after the others are written."""


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

    opened: tuple[OpenShard, ...] = field(default=(), metadata={"absent": ()})
    """Shards whose chunks are not sealed, but some of their samples."""

    @property
    def is_complete(self) -> bool:
        """Whether every object is sealed."""
        return self.manifest is not None and all(None not in numbers for numbers in self.chunks.values())

    def without(self, shards: Collection[int], opened: Iterable[OpenShard] = ()) -> "Seal":
        """Return a seal without the manifest and what is written with these shards, but for rows that stay."""
        chosen = set(shards)
        others = [shard for shard in self.opened if shard.shard not in chosen]
        chunks = {
            name: tuple(None if number in chosen else value for number, value in enumerate(values))
            if name in _PER_SHARD
            else values
            for name, values in self.chunks.items()
        }
        return replace(self, manifest=None, chunks=chunks, opened=(*others, *opened))

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
    """Read the seal of a part, None if it has none; DamagedSealError, or InputError if a newer version wrote it."""
    try:
        content = storage.get(f"{part}/{SEAL_KEY}", max_bytes=MAX_TEXT_BYTES)
    except FileNotFoundError:
        return None
    except InputError as error:
        if is_unreadable(error):
            raise
        raise DamagedSealError(str(error)) from error
    try:
        return Seal.decode(content)
    except InputError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedSealError(
            f"Cannot read {SEAL_KEY} of part {part!r} in {storage.location}: {first_line(error)}. Run `hpa verify` "
            "with --seal, which checks the part and seals it again; with --repair, too, if samples are damaged."
        ) from error


def write_seal(storage: Storage, part: str, seal: Seal) -> None:
    """Replace the seal of a part."""
    storage.put(f"{part}/{SEAL_KEY}", seal.encode())


def open_seal(
    storage: Storage, part: str, kept: Mapping[int, Sequence[int]], arrays: Iterable[zarr.Array[Any]] = ()
) -> dict[int, OpenShard]:
    """Compare what will be written again with the seal of a part, and take it out: its manifest and some shards.

    The caller holds the store's lock.

    Parameters
    ----------
    storage : Storage
    part : str
    kept : mapping of int to sequence of int
        For each of the shards, the rows in it that stay as they are.
    arrays : iterable of zarr.Array
        Those of the part.

    Returns
    -------
    dict of int to OpenShard
        For the shards of which rows stay, if they were sealed.

    Raises
    ------
    InputError
        If the manifest, or what stays, is not what was sealed: it would be sealed with what is changed in it now.
    """
    seal = read_seal(storage, part)
    if seal is None:
        return {}
    if not is_manifest_sealed(storage, part, seal):
        raise InputError(
            f"Cannot write to part {part!r} of {storage.location}: its {METADATA_KEY} fails its checksum. Convert the "
            "part again with --overwrite."
        )
    known = {opened.shard for opened in seal.opened}
    staying = {
        shard: rows
        for shard, rows in kept.items()
        if rows and (shard in known or seal.chunks["status"][shard] is not None)
    }
    checksums: dict[int, dict[str, int]] = {shard: {} for shard in staying}
    for array in arrays:
        if array.basename in _PER_SHARD and array.basename != IMAGES.name:
            read = ChunkReader(storage, part, array, seal)
            for shard, rows in staying.items():
                checksums[shard][array.basename] = _checksum_kept(read, shard, rows)
    opened = {
        shard: OpenShard(shard=shard, rows=tuple(rows), checksums=checksums[shard]) for shard, rows in staying.items()
    }
    changed = seal.without(kept, opened.values())
    if changed != seal:
        write_seal(storage, part, changed)
    return opened


def _checksum_kept(read: "ChunkReader", shard: int, rows: Sequence[int]) -> int:
    """Return the checksum of rows of a shard in an array, compared with the seal; InputError if they are changed."""
    part, storage = read.part, read.storage
    try:
        return checksum_rows(read.decode(shard), rows)
    except ChangedError as error:
        source = "" if storage.exists(f"{part}/recipe") else " --source FOLDER"
        raise InputError(
            f"Cannot write some samples of a shard of part {part!r} in {storage.location}: {error} fails its checksum "
            f"in the part's seal. Run `hpa verify {storage.location} --part {part}{source} --repair`, which writes all "
            "samples of the shard."
        ) from error
    except InputError:
        raise
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"Cannot write some samples of a shard of part {part!r} in {storage.location}: {read.keys[shard]} cannot "
            f"be decoded: {first_line(error)}. Convert the part again with --overwrite."
        ) from error


def checksum_rows(values: npt.NDArray[Any], rows: Sequence[int]) -> int:
    """Return a checksum of some rows of a chunk, which does not depend on how that is encoded."""
    return zlib.crc32(json.dumps(values[list(rows)].tolist()).encode())


class ChunkReader:
    """Reads the chunks of an array of a part, and compares them with a seal."""

    def __init__(self, storage: Storage, part: str, array: zarr.Array[Any], seal: Seal | None) -> None:
        self.storage, self.part, self.array = storage, part, array
        self.keys = list_chunk_keys(array)
        self._max_bytes = find_max_bytes(array)
        name = array.basename
        self._sealed = {} if seal is None else dict(zip(self.keys, seal.chunks[name], strict=True))
        self._opened = {} if seal is None else {shard.shard: shard for shard in seal.opened if name in shard.checksums}

    def get(self, key: str) -> bytes | None:
        """Read a chunk by its key within the array, None if there is none; ChangedError if it is not as sealed."""
        full_key = f"{self.array.basename}/{key}"
        try:
            content = self.storage.get(f"{self.part}/{full_key}", max_bytes=self._max_bytes)
        except FileNotFoundError:
            content = None
        checksum = self._sealed.get(key)
        if checksum is not None and zlib.crc32(content or b"") != checksum:
            raise ChangedError(full_key)
        return content

    def decode(self, number: int) -> npt.NDArray[Any]:
        """Read and decode a chunk; ChangedError if it, or its rows that stay, are not as sealed."""
        return self._decode(number, self.get(self.keys[number]))

    def checksum(self, number: int) -> int:
        """Return the checksum of a chunk; raises as `get` and `decode` do."""
        content = self.get(self.keys[number])
        if number in self._opened:
            self._decode(number, content)
        return zlib.crc32(content or b"")

    def _decode(self, number: int, content: bytes | None) -> npt.NDArray[Any]:
        name, opened = self.array.basename, self._opened.get(number)
        try:
            values = decode_chunk_rows(content, find_dtype(self.array), self.array.chunks)
        except (ValueError, RuntimeError) as error:
            if opened is not None:
                raise ChangedError(f"{name}/{self.keys[number]}") from error
            raise
        if opened is not None and checksum_rows(values, opened.rows) != opened.checksums[name]:
            raise ChangedError(f"{name}/{self.keys[number]}")
        return values


def find_damaged_chunks(storage: Storage, part: str, seal: Seal, array: zarr.Array[Any]) -> dict[int, str]:
    """Find the chunks of an array that are not those that were sealed: keys by their number.

    Of the images, whose chunks are not sealed, the metadata alone are compared. Metadata have the number -1.
    """
    name = array.basename
    if _checksum(storage, f"{part}/{name}/{METADATA_KEY}") != seal.metadata.get(name):
        return {-1: f"{name}/{METADATA_KEY}"}
    if name == IMAGES.name:
        return {}
    read = ChunkReader(storage, part, array, seal)
    damaged = {}
    for number, key in enumerate(read.keys):
        try:
            read.checksum(number)
        except (ChangedError, InputError) as error:
            if is_unreadable(error):
                raise
            damaged[number] = f"{name}/{key}"
    return damaged


def is_manifest_sealed(storage: Storage, part: str, seal: Seal) -> bool:
    """Tell whether the manifest of a part is the one that was sealed, or not sealed at present."""
    return seal.manifest is None or _checksum(storage, f"{part}/{METADATA_KEY}") == seal.manifest


def complete_seal(storage: Storage, part: str, seal: Seal, arrays: Iterable[zarr.Array[Any]]) -> Seal:
    """Add to a seal the checksums that it lacks, of a part whose samples are all written.

    Raises
    ------
    ChangedError
        If rows of an open shard that were to stay have changed.
    """
    chunks = dict(seal.chunks)
    for array in arrays:
        name = array.basename
        if None in chunks.get(name, ()):
            read = ChunkReader(storage, part, array, seal)
            chunks[name] = tuple(
                read.checksum(number) if value is None else value for number, value in enumerate(chunks[name])
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
