"""How a part comes into being: planned, held against what is there, made whole beside its place and moved there."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from hpa_data.dataset import CHANNELS, IMAGE_SIZE
from hpa_data.errors import InputError
from hpa_data.format.codecs import get_codec, metadata_compressor, zarr_compressors
from hpa_data.format.layout import SHARD_SAMPLES, Layout
from hpa_data.format.manifest import Manifest, Provenance, fingerprint
from hpa_data.format.options import DEFAULT_CODEC, CodecName
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_data.system.lock import LOCK_NAME
from hpa_data.tables import first_duplicate

# Rows of a small array in one chunk: enough for every known data set to have few chunks.
ROWS_PER_CHUNK = 16_384

# File systems take names of 255 bytes; a letter may have 4, and a part being made has 5 letters more.
MAX_NAME = 50


@dataclass(frozen=True, kw_only=True)
class PartPlan:
    """A part as it is to be.

    Attributes
    ----------
    path : Path
        The store's folder, which need not exist.
    name : str
        The part's name.
    ids : tuple of str, length N
        Unique.
    labels : array of uint8, shape (N, K), or None
    settings : dict
        What else decides the images, JSON values; kept in the manifest.
    codec : str
        A name in `shards.CODECS`.
    shard_samples : int
        S.
    copies : Provenance, optional
        What the samples are copies of.
    """

    path: Path
    name: str
    ids: tuple[str, ...]
    labels: npt.NDArray[np.uint8] | None
    settings: dict[str, Any]
    codec: CodecName = DEFAULT_CODEC
    shard_samples: int = SHARD_SAMPLES
    copies: Provenance | None = None

    def __post_init__(self) -> None:
        """Check what does not depend on the disk."""
        repeated = first_duplicate(self.ids)
        if repeated is not None:
            raise InputError(f"Ids of a part must be unique. Received: {repeated!r} twice. Take one out.")
        if not self.name.isidentifier() or len(self.name) > MAX_NAME:
            raise InputError(
                f"part must be up to {MAX_NAME} letters, digits and underscores, no digit first. Received: "
                f"part={self.name[:60]!r}. Use another name."
            )
        get_codec(self.codec)

    @cached_property
    def layout(self) -> Layout:
        """Chunks and shards."""
        shape = (IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS))
        return Layout(n_samples=len(self.ids), image_shape=shape, shard_samples=self.shard_samples)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, without statistics yet."""
        own = {"codec": self.codec, "shard_samples": self.shard_samples, "image_size": IMAGE_SIZE}
        settings = self.settings | own
        return Manifest(settings=settings, fingerprint=fingerprint(settings, self.ids, self.labels, self.copies))


def find_existing(plan: PartPlan) -> Part | None:
    """Find the part that a plan describes, if it was begun before; nothing is written.

    Raises
    ------
    InputError
        If there is a part of that name with other settings or samples, or something that is no part or store.
    """
    folder = plan.path
    _check_target(plan)
    if not (folder / plan.name).exists():
        return None
    store = open_store(folder)
    if plan.name not in store.parts():
        raise InputError(
            f"{folder / plan.name} must be a part or not there. Received: something else. Pass --overwrite to delete "
            "it, or another --part."
        )
    part = store.part(plan.name)
    part.require_native_layout()
    _check_compatible(part, plan.manifest)
    return part


def _check_target(plan: PartPlan) -> None:
    """Refuse a folder that is no store, and a place for the part where something lies that Zarr has not made."""
    folder = plan.path
    # A lock is what is left of a process that was killed before it could make the store.
    strange = folder.is_dir() and any(
        entry.name != LOCK_NAME and not re.fullmatch(r"zarr\.[0-9a-f]{32}\.partial", entry.name)
        for entry in folder.iterdir()
    )
    if folder.exists() and not (folder / "zarr.json").is_file() and (strange or not folder.is_dir()):
        raise InputError(f"A store must be a new folder or a store. Received: {folder}, something else. Use another.")
    place = folder / plan.name
    has_native_layout = any((place / name / "zarr.json").is_file() for name in (".", "status"))
    if place.is_symlink() or (place.exists() and not has_native_layout):
        raise InputError(
            f"{place} must be a part or not there. Received: something that Zarr has not made. Pass another --part."
        )


def remove_stale(plan: PartPlan) -> None:
    """Remove what a process that was killed has left of making or replacing the part."""
    for ending in ("new", "old"):
        left_over = plan.path / f".{plan.name}.{ending}"
        if left_over.is_dir() and (plan.path / "zarr.json").is_file():
            shutil.rmtree(left_over)


def create_part(plan: PartPlan, *, overwrite: bool = False) -> Part:
    """Make a part with nothing written in it yet, or find the same one, begun before.

    Whoever calls this holds the store (`lock.hold_store`).

    Parameters
    ----------
    plan : PartPlan
    overwrite : bool
        Delete a part of that name first.

    Returns
    -------
    Part
        With every sample pending, unless the part was begun before with exactly the same plan.

    Raises
    ------
    InputError
        If the part was begun with other settings or samples, or its place holds something else.
    """
    folder, name = plan.path, plan.name
    unfinished, old = folder / f".{name}.new", folder / f".{name}.old"
    _check_target(plan)
    remove_stale(plan)
    if not overwrite and (begun := find_existing(plan)) is not None:
        remove_partial_files(begun.path)
        return begun
    if (folder / "zarr.json").exists():
        open_store(folder)
    zarr.open_group(folder, mode="a")
    # Made beside its place and moved there: a part is there with all its arrays or not at all.
    _create_arrays(zarr.create_group(unfinished), plan)
    if (folder / name).exists():
        (folder / name).rename(old)
    unfinished.rename(folder / name)
    if old.exists():
        shutil.rmtree(old)
    remove_partial_files(folder / name)
    return open_store(folder).part(name)


def remove_partial_files(part: Path) -> None:
    """Remove what a killed process left half written in a part and beside it, by us and by zarr-python."""
    walked = [(folder, files) for folder, _, files in os.walk(part)]
    walked.append((str(part.parent), [entry.name for entry in part.parent.iterdir() if entry.is_file()]))
    for folder, files in walked:
        for file in files:
            if re.fullmatch(r"\..+\.\d+-\d+\.part|.+\.[0-9a-f]{32}\.partial", file):
                Path(folder, file).unlink()


def _check_compatible(part: Part, wanted: Manifest) -> None:
    """Refuse a part begun before unless it is to hold just the same."""
    settings, mark = wanted.settings, wanted.fingerprint
    told = {key: (part.manifest.settings.get(key), settings.get(key)) for key in part.manifest.settings | settings}
    for key, (before, now) in told.items():
        if before != now:
            raise InputError(
                f"Store {part.path.parent}, part {part.name!r}, was begun with {key}={_cut(before)}; this command "
                f"says {key}={_cut(now)}. Finish it with the same settings, or pass --overwrite."
            )
    if part.manifest.fingerprint != mark:
        raise InputError(
            f"Store {part.path.parent}, part {part.name!r}, was begun with other samples or labels than this command "
            "gives. Finish it with the same, or pass --overwrite."
        )


def _cut(value: Any) -> str:
    """Show a setting, which may be of any length in a store that is not ours, within a line."""
    return repr(value)[:200]


def _create_arrays(group: zarr.Group, plan: PartPlan) -> None:
    """Make the arrays of a part and write what is known from the start; the manifest comes last and makes it a part."""
    layout, manifest, labels = plan.layout, plan.manifest, plan.labels
    n, size = layout.n_samples, layout.shard_samples
    n_channels = layout.image_shape[-1]
    group.create_array(
        "images",
        shape=(n, *layout.image_shape),
        chunks=(1, *layout.image_shape),
        shards=(size, *layout.image_shape),
        dtype="uint8",
        filters=None,
        compressors=zarr_compressors(get_codec(manifest.settings["codec"]), n_channels=n_channels),
        dimension_names=("sample", "y", "x", "channel"),
    )
    _create_metadata_array(group, "status", "uint8", (n,), (size,), ("sample",))
    _create_metadata_array(group, "checksum", "uint32", (n,), (size,), ("sample",))
    # Sum and sum of squares of each image's channels, from which the manifest's statistics come.
    powers = (n_channels, 2)
    _create_metadata_array(group, "sums", "uint64", (n, *powers), (size, *powers), ("sample", "channel", "power"))
    # Why a sample failed, or what to know of it: a chunk of empty strings is not written.
    _create_metadata_array(group, "note", str, (n,), (size,), ("sample",))
    _create_metadata_array(group, "note_file", str, (n,), (size,), ("sample",))
    # The names of the axes, which xarray shows as coordinates, and of the samples.
    names: dict[str, tuple[str, Sequence[str]]] = {
        "channel": ("channel", manifest.channels),
        "class": ("class", manifest.classes),
        "id": ("sample", plan.ids),
    }
    if plan.copies is not None:
        told = {"parent": plan.copies.parents, "parent_part": plan.copies.parts, "recipe": plan.copies.transforms}
        names |= {name: ("sample", values) for name, values in told.items()}
        rows = min(n, ROWS_PER_CHUNK)
        _create_metadata_array(group, "parent_checksum", "uint32", (n,), (rows,), ("sample",))[:] = np.array(
            plan.copies.checksums, np.uint32
        )
    for name, (dimension, values) in names.items():
        chunks = (min(len(values), ROWS_PER_CHUNK),)
        array = _create_metadata_array(group, name, str, (len(values),), chunks, (dimension,))
        array[:] = np.array(values, dtype=object)
    if labels is not None:
        rows = min(n, ROWS_PER_CHUNK)
        array = _create_metadata_array(
            group, "labels", "uint8", labels.shape, (rows, labels.shape[1]), ("sample", "class")
        )
        array[:] = labels
    group.attrs.put(manifest.encode())


def _create_metadata_array(  # noqa: PLR0917 - a table of arrays reads best by position
    group: zarr.Group,
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dimensions: tuple[str, ...],
) -> zarr.Array[Any]:
    """Make an array that is no image."""
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, compressors=metadata_compressor(), dimension_names=dimensions
    )
