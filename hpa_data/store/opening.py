"""Opening a part: its arrays, names, labels and states must agree with its manifest and its seal."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import StorePath

from hpa_data.dataset import FILLED, PENDING
from hpa_data.errors import InputError
from hpa_data.format.arrays import ARRAYS, IMAGES, check_arrays, check_sizes, encode_group, has_native_layout
from hpa_data.format.codecs import get_codec
from hpa_data.format.layout import Layout
from hpa_data.format.manifest import Manifest, fingerprint
from hpa_data.store.mirror import Mirror
from hpa_data.store.part import Part
from hpa_data.store.seal import METADATA_KEY, ChangedError, complete_seal, open_seal, read_seal, write_seal
from hpa_data.store.storage import Storage
from hpa_data.system.files import MAX_TEXT_BYTES


def is_part(storage: Storage, name: str) -> bool:
    """Tell whether there is a part of that name, or the damaged rest of one, which opening it then reports."""
    if storage.exists(f"{name}/status/zarr.json"):
        return True
    try:
        metadata = json.loads(storage.get(f"{name}/zarr.json"))
        return metadata["node_type"] == "group" and "fingerprint" in metadata.get("attributes", {})
    except OSError:
        return False
    except (ValueError, KeyError, TypeError):
        return True


def open_part(storage: Storage, name: str, mirror: Mirror | None, *, compares_seal: bool = True) -> Part:
    """Open a part and check that what it holds agrees; raises errors of many kinds if it does not.

    Its images are in the storage too, unless that is a mirror.
    """
    manifest = Manifest.decode(zarr.open_group(storage.zarr_store(), path=name, mode="r").attrs.asdict())
    arrays, metadata = _open_arrays(storage, name)
    images = arrays[IMAGES.name]
    layout = Layout(
        n_samples=images.shape[0],
        image_shape=manifest.dataset.image_shape,
        shard_samples=int(manifest.settings["shard_samples"]),
    )
    check_sizes(arrays, layout, n_classes=len(manifest.classes), id_bytes=storage.size(f"{name}/id/c"))
    part = Part(
        name=name,
        storage=storage,
        manifest=manifest,
        layout=layout,
        arrays=arrays,
        metadata=metadata,
        images=f"{mirror.url}/{name}/{IMAGES.name}" if mirror else Path(storage.location, name, IMAGES.name),
        has_native_layout=has_native_layout(images, layout, get_codec(manifest.settings["codec"])),
        mirror=mirror,
        compares_seal=compares_seal,
    )
    try:
        seal = read_seal(storage, name)
    except InputError:
        if compares_seal:
            raise
        seal = None
    for array in seal.metadata if seal else ():
        if not storage.exists(f"{name}/{array}/{METADATA_KEY}"):
            raise ValueError(f"{array} is missing")
    check_agreement(part, rows=seal is None or not seal.is_complete)
    return part


def _open_arrays(storage: Storage, part: str) -> tuple[dict[str, zarr.Array[Any]], dict[str, int]]:
    """Open the arrays of a part, by name, and take the CRC-32 of the same bytes of their metadata."""
    arrays, checksums = {}, {}
    store = storage.zarr_store()
    for spec in ARRAYS:
        try:
            content = storage.get(f"{part}/{spec.name}/{METADATA_KEY}", max_bytes=MAX_TEXT_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        arrays[spec.name] = zarr.Array.from_dict(StorePath(store, f"{part}/{spec.name}"), json.loads(content))
        checksums[spec.name] = zlib.crc32(content)
    return arrays, checksums


def check_agreement(part: Part, *, rows: bool = True) -> None:
    """Check that what a part holds agrees: InputError or ValueError if it does not.

    Parameters
    ----------
    part : Part
    rows : bool
        Also check the states of the samples, which were checked before they were sealed.
    """
    manifest = part.manifest
    check_arrays(part.arrays, part.layout, n_classes=len(manifest.classes))
    part.compare_manifest()
    if (part.read_names("channel"), part.read_names("class")) != (manifest.channels, manifest.classes):
        raise ValueError("the names in channel or class are not those of its manifest")
    # A lost chunk reads as zeros or empty strings; only the fingerprint shows it.
    if fingerprint(manifest.settings, part.ids, part.labels, part.copies, part.columns) != manifest.fingerprint:
        raise ValueError("ids, labels or settings are not those that it was created with")
    if part.labels is not None and part.labels.max() > 1:
        raise ValueError("labels has other values than 0 and 1")
    if rows:
        _check_states(part)


def _check_states(part: Part) -> None:
    """Check the states of the samples: ValueError if one is unknown, or a channel that was filled is not black."""
    status = part.read_status()
    if status.max() > FILLED:
        raise ValueError(f"status has the unknown value {status.max()}")
    chosen = np.flatnonzero(status == FILLED).tolist()
    if not chosen or part.copies is not None:  # a transform may brighten the black channel of a copy
        return
    black, names, filled = part.read_sums()[..., 1] == 0, part.manifest.channels, part.read_filled()
    for row in chosen:
        channels = {name for name, is_black in zip(names, black[row].tolist(), strict=True) if is_black}
        expected = channels if filled is None else set(filled[row])
        if not expected or not expected <= channels:
            raise ValueError(f"sample {part.ids[row]!r} has the status of a filled channel, and none that is black")


def replace_manifest(part: Part, manifest: Manifest) -> None:
    """Replace the manifest of a part, if it differs; `seal_part` seals it again. The caller holds the store's lock."""
    if manifest != part.manifest:
        open_seal(part.storage, part.name, {})
        part.storage.put(f"{part.name}/{METADATA_KEY}", encode_group(manifest.encode()))


def seal_part(part: Part) -> None:
    """Seal what is not yet sealed of a part, if its samples are all written.

    The part was opened, and so checked, after all that was written to it. A part of an earlier version, which has no
    seal, stays without. The caller holds the store's lock.
    """
    seal = read_seal(part.storage, part.name)
    if seal is None or seal.is_complete or (part.read_status() == PENDING).any():
        return
    try:
        complete = complete_seal(part.storage, part.name, seal, part.arrays.values())
    except ChangedError as error:
        raise InputError(
            f"Cannot seal part {part.name!r} of {part.store_location}: {error} has changed where it was to stay as it "
            f"is. Run `hpa verify {part.store_location} --part {part.name}` with --repair and, unless it holds copies, "
            "--source."
        ) from error
    write_seal(part.storage, part.name, complete)
