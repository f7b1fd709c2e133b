"""Comparing everything that a part holds beside its pixels with its seal, and sealing a part that was checked."""

import zlib
from dataclasses import dataclass, field, replace

from hpa_data.dataset import PENDING, is_readable
from hpa_data.errors import InputError
from hpa_data.format.arrays import SEAL_KEY, SHARD_ARRAYS, encode_group
from hpa_data.format.statistics import ChannelStatistics, channel_statistics
from hpa_data.store.part import Part
from hpa_data.store.seal import (
    METADATA_KEY,
    DamagedSealError,
    find_damaged_chunks,
    is_manifest_sealed,
    make_seal,
    read_seal,
    write_seal,
)

_PER_SHARD = {spec.name for spec in SHARD_ARRAYS}


@dataclass(frozen=True, kw_only=True)
class SealCheck:
    """What a part's seal says of it."""

    is_sealed: bool = False
    """Whether the part has a seal of all that it holds."""

    is_damaged: bool = False
    """Whether the seal itself is damaged."""

    damaged: frozenset[str] = frozenset()
    """Keys of what belongs to an array and is not as it was sealed."""

    reasons: tuple[str, ...] = ()
    """What is not as it was sealed, or why that cannot be told."""

    shards: dict[int, str] = field(default_factory=dict)
    """The shards whose samples' metadata are not as they were sealed, by number, with the object that is not."""


def check_seal(part: Part) -> SealCheck:
    """Compare all objects of a part but its shards of images with its seal."""
    storage, name = part.storage, part.name
    try:
        seal = read_seal(storage, name)
    except DamagedSealError as error:
        return SealCheck(is_damaged=True, reasons=(str(error),))
    if seal is None:
        return SealCheck()
    reasons = [f"the array {lost} is missing" for lost in seal.metadata if lost not in part.arrays]
    shards: dict[int, str] = {}
    found: set[str] = set()
    for array in part.arrays.values():
        try:
            damaged = find_damaged_chunks(storage, name, seal, array)
        except InputError:
            raise
        except (LookupError, ValueError):
            return SealCheck(is_damaged=True, reasons=(f"{SEAL_KEY} does not fit the array {array.basename}",))
        if damaged:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            found.update(damaged.values())
            reasons.append(f"{next(iter(damaged.values()))}{more} in it fails its checksum in the seal")
        if array.basename in _PER_SHARD:
            shards |= {number: key for number, key in damaged.items() if number >= 0}
    # Statistics can be computed again; what else is in the manifest cannot.
    if not (is_manifest_sealed(storage, name, seal) or _encode_computed(replace(part, lost=frozenset(found)))):
        reasons.append(f"{METADATA_KEY} fails its checksum in the seal")
    return SealCheck(is_sealed=seal.is_complete, damaged=frozenset(found), reasons=tuple(reasons), shards=shards)


def compute_statistics(part: Part) -> ChannelStatistics | None:
    """Compute the channel statistics of a part from the sums of its samples; None if some are not written."""
    status = part.read_status()
    if (status == PENDING).any():
        return None
    y, x, _ = part.layout.image_shape
    return channel_statistics(part.read_sums()[is_readable(status)], pixels=y * x)


def restore_statistics(part: Part) -> None:
    """Put back a manifest of which the statistics alone are damaged, as its seal shows."""
    restored = _encode_computed(part)
    if restored is not None:
        part.storage.put(f"{part.name}/{METADATA_KEY}", restored)


def _encode_computed(part: Part) -> bytes | None:
    """Return the manifest with the statistics of its samples, if that is what was sealed, and it has others."""
    seal = read_seal(part.storage, part.name)
    computed = replace(part.manifest, statistics=compute_statistics(part))
    content = encode_group(computed.encode())
    is_sealed = seal is not None and seal.manifest == zlib.crc32(content)
    return content if is_sealed and computed != part.manifest else None


def seal_checked(part: Part) -> None:
    """Seal a part in which a full check found no damage. The caller holds the store's lock."""
    write_seal(part.storage, part.name, make_seal(part.storage, part.name, part.arrays.values()))
