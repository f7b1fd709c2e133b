"""The groups and arrays of a store: how parts are begun, found and held against their manifests.

A store is a Zarr v3 group of parts. A part is made whole beside its place and moved there; `writer` fills its shards.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec

from hpa_data.errors import InputError
from hpa_data.layout import SHARD_SAMPLES, Layout
from hpa_data.reader import PartFiles, Reader
from hpa_data.schema import (
    CHANNELS,
    IMAGE_SIZE,
    Manifest,
    find_repeated,
    fingerprint,
    is_readable,
)
from hpa_data.shards import find_codec, zarr_compressors

# Rows of a small array in one chunk: enough for every known data set to have few chunks.
ROWS_PER_CHUNK = 16_384

# Of all arrays but the images. zarr-python's own choice, Zstandard, is not among the core codecs of Zarr v3.
SMALL_COMPRESSOR = BloscCodec(cname="zstd", clevel=5, shuffle="noshuffle", typesize=1)

# File systems take names of 255 bytes; a letter may have 4, and a part being made has 5 letters more.
MAX_NAME = 50


@dataclass(frozen=True, kw_only=True)
class Part:
    """One group of a store: the samples that were converted together.

    Attributes
    ----------
    name : str
        ``train``, ``test``, …
    path : Path
        The group's folder.
    manifest : Manifest
    layout : Layout
    """

    name: str
    path: Path
    manifest: Manifest
    layout: Layout

    @cached_property
    def group(self) -> zarr.Group:
        """The part as zarr-python sees it."""
        return zarr.open_group(self.path, mode="r+")

    @cached_property
    def ids(self) -> list[str]:
        """Sample ids, in the order of the arrays."""
        return [str(name) for name in self._read("id")]

    @cached_property
    def labels(self) -> npt.NDArray[np.uint8] | None:
        """Multi-hot labels, uint8 (N, K), or None."""
        return self._read("labels") if "labels" in self.group else None

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """What became of each sample, uint8 (N,), as the disk has it now."""
        return self._read("status")

    @property
    def sums(self) -> npt.NDArray[np.uint64]:
        """Sum and sum of squares of each image's channels, uint64 (N, C, 2), as the disk has them now."""
        return self._read("sums")

    def shard_path(self, shard: int) -> Path:
        """Name the file of a shard: its place in the grid of shards, which has one column in Y, X and C."""
        return self.path / "images" / "c" / str(shard) / "0" / "0" / "0"

    def count_readable(self) -> int:
        """Count the samples that were written without fault."""
        return int(is_readable(self.status).sum())

    def count_bytes(self) -> int:
        """Count the bytes on disk of the images."""
        return sum(path.stat().st_size for path in self.files().shard_paths if path.is_file())

    def files(self) -> PartFiles:
        """Describe the part to a reader."""
        return PartFiles(
            name=self.name,
            shard_paths=tuple(self.shard_path(shard) for shard in range(self.layout.n_shards)),
            layout=self.layout,
            codec=find_codec(self.manifest.settings["codec"]),
            ids=self.ids,
            labels=self.labels,
            status=self.status,
        )

    def _read(self, name: str) -> Any:
        return self.group[name][:]  # type: ignore[index]


@dataclass(frozen=True, kw_only=True)
class Store:
    """A store that exists.

    Attributes
    ----------
    path : Path
        Its folder.
    """

    path: Path

    def parts(self) -> list[str]:
        """Names of the parts, in alphabetical order."""
        groups = zarr.open_group(self.path, mode="r").groups()
        return sorted(name for name, group in groups if name.isidentifier() and "fingerprint" in group.attrs)

    def part(self, name: str) -> Part:
        """Open one part; InputError if the store has none of that name."""
        if name not in self.parts():
            raise InputError(
                f"part must be in the store. Received: part={name!r}; {self.path} has "
                f"{', '.join(self.parts()) or 'none'}. Convert it first, or name another."
            )
        try:
            part = _open_part(self.path, name)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"A part must be whole. Received: {name} of {self.path} with a fault: {reason}. Convert it again with "
                "--overwrite."
            ) from error
        return part

    def reader(self, parts: Sequence[str] = ("train",), threads: int | None = None) -> Reader:
        """Open a reader of random batches over one or several parts.

        Parameters
        ----------
        parts : sequence of str
            In this order samples are numbered.
        threads : int, optional
            That decode a batch; by default one a core.

        Raises
        ------
        InputError
            If a part is missing or damaged.
        """
        return Reader([self.part(name).files() for name in parts], threads=threads)


def _open_part(folder: Path, name: str) -> Part:
    """Open a part and hold its arrays against its manifest; raises many kinds of errors if they do not agree."""
    group = zarr.open_group(folder / name, mode="r")
    manifest = Manifest.decode(group.attrs.asdict())
    find_codec(manifest.settings["codec"])
    images: Any = group["images"]
    n_samples, *image_shape = images.shape
    layout = Layout(
        n_samples=n_samples, image_shape=tuple(image_shape), shard_samples=int(manifest.settings["shard_samples"])
    )
    part = Part(name=name, path=folder / name, manifest=manifest, layout=layout)
    size = int(manifest.settings["image_size"])
    expected = ("uint8", (size, size, len(manifest.channels)), (1, *image_shape), (layout.shard_samples, *image_shape))
    if (str(images.dtype), tuple(image_shape), images.chunks, images.shards) != expected:
        raise ValueError("images are not laid out as the manifest says")
    if part.status.shape != (n_samples,):
        raise ValueError(f"{n_samples} images, but status has the shape {part.status.shape}")
    # A chunk that is lost reads as zeros or empty strings; only the fingerprint knows.
    if fingerprint(manifest.settings, part.ids, part.labels) != manifest.fingerprint:
        raise ValueError("ids, labels or settings are not those that it was made with")
    return part


def open_store(path: str | Path) -> Store:
    """Open a store to read.

    Parameters
    ----------
    path : str or Path
        The store's folder.

    Raises
    ------
    InputError
        If there is none, or its metadata are damaged.
    """
    store = Store(path=Path(path))
    try:
        store.parts()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"A store must be a folder written by `hpa convert`. Received: {path}: {reason}. Check the path."
        ) from error
    return store


def begin_part(
    path: str | Path,
    name: str,
    *,
    ids: Sequence[str],
    labels: npt.NDArray[np.uint8] | None,
    settings: dict[str, Any],
    codec: str = "lz4hc",
    shard_samples: int = SHARD_SAMPLES,
    overwrite: bool = False,
) -> Part:
    """Make a part with nothing written in it yet, or find the same one, begun before.

    Parameters
    ----------
    path : str or Path
        The store's folder; made if missing.
    name : str
        The part's name.
    ids : sequence of str, length N
        Unique.
    labels : array of uint8, shape (N, K), or None
    settings : dict
        What else decides the images, JSON values; kept in the manifest.
    codec : str
        A name in `shards.CODECS`.
    shard_samples : int
        S.
    overwrite : bool
        Delete a part of that name first.

    Returns
    -------
    Part
        With every sample pending, unless the part was begun before with exactly the same arguments.

    Raises
    ------
    InputError
        If the part is finished, or was begun with other settings or samples, or the folder holds something else.
    """
    folder = Path(path)
    repeated = find_repeated(ids)
    if repeated is not None:
        raise InputError(f"Ids of a part must be unique. Received: {repeated!r} twice. Take one out.")
    if not name.isidentifier() or len(name) > MAX_NAME:
        raise InputError(
            f"part must be up to {MAX_NAME} letters, digits and underscores, no digit first. Received: "
            f"part={name[:60]!r}. Use another name."
        )
    settings = {**settings, "codec": find_codec(codec).name, "shard_samples": shard_samples, "image_size": IMAGE_SIZE}
    mark = fingerprint(settings, ids, labels)
    layout = Layout(
        n_samples=len(ids), image_shape=(IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS)), shard_samples=shard_samples
    )
    if folder.exists() and not (folder / "zarr.json").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"A store must be a new folder or a store. Received: {folder}, something else. Use another.")
    zarr.open_group(folder, mode="a")
    store = open_store(folder)
    if not overwrite and name in store.parts():
        return _check_same(store.part(name), settings, mark)
    if not overwrite and (folder / name).exists():
        raise InputError(
            f"{folder / name} must be a part or not there. Received: something else. Pass --overwrite to delete it, or "
            "another --part."
        )
    # Made beside its place and moved there: a part is there with all its arrays or not at all.
    unfinished, old = folder / f".{name}.new", folder / f".{name}.old"
    for left_over in (unfinished, old):
        if left_over.exists():
            shutil.rmtree(left_over)
    manifest = Manifest(settings=settings, fingerprint=mark)
    _create_arrays(zarr.create_group(unfinished), layout, manifest, ids, labels)
    if (folder / name).exists():
        (folder / name).rename(old)
    unfinished.rename(folder / name)
    if old.exists():
        shutil.rmtree(old)
    return store.part(name)


def _check_same(part: Part, settings: dict[str, Any], mark: str) -> Part:
    """Return a part begun before if it is to hold just the same and is not finished."""
    told = {key: (part.manifest.settings.get(key), settings.get(key)) for key in part.manifest.settings | settings}
    for key, (before, now) in told.items():
        if before != now:
            raise InputError(
                f"Store {part.path.parent}, part {part.name!r}, was begun with {key}={before!r}; this command says "
                f"{key}={now!r}. Finish it with the same settings, or pass --overwrite."
            )
    if part.manifest.fingerprint != mark:
        raise InputError(
            f"Store {part.path.parent}, part {part.name!r}, was begun with other samples or labels than this command "
            "gives. Finish it with the same, or pass --overwrite."
        )
    if part.manifest.statistics is not None:
        raise InputError(
            f"Store {part.path.parent} must not hold part {part.name!r} yet. Received: one that is finished. Pass "
            "--overwrite to make it again, or --part to add another."
        )
    return part


def _create_arrays(
    group: zarr.Group,
    layout: Layout,
    manifest: Manifest,
    ids: Sequence[str],
    labels: npt.NDArray[np.uint8] | None,
) -> None:
    """Make the arrays of a part and write what is known from the start; the manifest comes last and makes it a part."""
    n, size = layout.n_samples, layout.shard_samples
    n_channels = layout.image_shape[-1]
    group.create_array(
        "images",
        shape=(n, *layout.image_shape),
        chunks=(1, *layout.image_shape),
        shards=(size, *layout.image_shape),
        dtype="uint8",
        filters=None,
        compressors=zarr_compressors(find_codec(manifest.settings["codec"]), n_channels=n_channels),
        dimension_names=("sample", "y", "x", "channel"),
    )
    _create_small(group, "status", "uint8", (n,), (size,), ("sample",))
    _create_small(group, "checksum", "uint32", (n,), (size,), ("sample",))
    # Sum and sum of squares of each image's channels, from which the manifest's statistics come.
    powers = (n_channels, 2)
    _create_small(group, "sums", "uint64", (n, *powers), (size, *powers), ("sample", "channel", "power"))
    # The names of the axes, which xarray shows as coordinates, and of the samples.
    for name, dimension, values in (
        ("channel", "channel", manifest.channels),
        ("class", "class", manifest.classes),
        ("id", "sample", ids),
    ):
        chunks = (min(len(values), ROWS_PER_CHUNK),)
        array = _create_small(group, name, str, (len(values),), chunks, (dimension,))
        array[:] = np.array(values, dtype=object)
    if labels is not None:
        rows = min(n, ROWS_PER_CHUNK)
        array = _create_small(group, "labels", "uint8", labels.shape, (rows, labels.shape[1]), ("sample", "class"))
        array[:] = labels
    group.attrs.put(manifest.encode())


def _create_small(  # noqa: PLR0917 - a table of arrays reads best by position
    group: zarr.Group,
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dimensions: tuple[str, ...],
) -> zarr.Array[Any]:
    """Make an array that is no image."""
    return group.create_array(
        name, shape=shape, chunks=chunks, dtype=dtype, compressors=SMALL_COMPRESSOR, dimension_names=dimensions
    )
