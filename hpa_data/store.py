"""What a store holds: its parts and their arrays, held against their manifests.

Reading alone: `begin` makes parts and `writer` fills them.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from hpa_data.errors import InputError
from hpa_data.layout import Layout
from hpa_data.manifest import Copies, Manifest, fingerprint
from hpa_data.reader import PartFiles, Reader
from hpa_data.schema import FILLED, OK, PENDING, is_readable
from hpa_data.shards import find_codec
from hpa_data.tables import find_repeated


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

    @cached_property
    def copies(self) -> Copies | None:
        """What each sample was made of, in a part of augmented copies."""
        if "recipe" not in self.group:
            return None
        columns = [tuple(str(text) for text in self._read(name)) for name in ("parent", "parent_part", "recipe")]
        checksums = tuple(self._read("parent_checksum").tolist())
        return Copies(parents=columns[0], parts=columns[1], checksums=checksums, recipes=columns[2])

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """What became of each sample, uint8 (N,), as the disk has it now."""
        return self._read("status")

    @property
    def checksum(self) -> npt.NDArray[np.uint32]:
        """CRC-32 of each image's bytes, uint32 (N,), as the disk has it now."""
        return self._read("checksum")

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What to know of each sample, and the file that it is about; both mostly empty."""
        return [(str(note), str(file)) for note, file in zip(self._read("note"), self._read("note_file"), strict=True)]

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
            copies=self.copies,
        )

    def _read(self, name: str) -> Any:
        try:
            return self.group[name][:]  # type: ignore[index]
        # Whatever a damaged chunk makes its codecs raise.
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"A part must be whole. Received: {self.path}, whose {name} cannot be read: {reason}. Convert it again "
                "with --overwrite."
            ) from error


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
        zarr.open_group(self.path, mode="r")
        # Not by zarr's own listing: it warns of files that are no arrays.
        with os.scandir(self.path) as entries:
            names = sorted(entry.name for entry in entries if entry.name.isidentifier() and entry.is_dir())
        return [name for name in names if _is_part(self.path / name)]

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
            If a part is missing or damaged, or holds copies of a part that has changed since.
        """
        repeated = find_repeated(parts)
        if repeated is not None:
            # Copies would have two parents, and samples two folds.
            raise InputError(f"parts must be named once each. Received: {repeated!r} twice. Name each part once.")
        opened = [self.part(name) for name in parts]
        for part in opened:
            self.find_parents(part)
        return Reader([part.files() for part in opened], threads=threads)

    def find_parents(self, part: Part) -> list[tuple[int, int]]:
        """Find the row of each copy's parent in its part, and the parent's status; nothing for a part of originals.

        Raises
        ------
        InputError
            If their part has other samples or labels than when the copies were planned, or a parent other pixels.
        """
        if part.copies is None:
            return []
        known: dict[tuple[str, str], tuple[int, int, int]] = {}
        marks = part.manifest.settings.get("parents")
        for name in sorted(set(part.copies.parts)):
            parent = self.part(name)
            is_same = isinstance(marks, dict) and marks.get(name) == parent.manifest.fingerprint
            if not is_same or parent.copies is not None:
                raise InputError(
                    f"Copies must be those of the store's own samples. Received: part {part.name!r}, made of another "
                    f"part {name!r} than {self.path} has now. Run `hpa augment` again with --overwrite."
                )
            rows = zip(parent.ids, parent.checksum.tolist(), parent.status.tolist(), strict=True)
            known |= {(name, own_id): (row, *numbers) for row, (own_id, *numbers) in enumerate(rows)}
        found = []
        told = zip(part.copies.parts, part.copies.parents, part.copies.checksums, strict=True)
        for name, parent_id, checksum in told:
            row, now, status = known.get((name, parent_id), (-1, -1, PENDING))
            if now != checksum or status not in {OK, FILLED}:
                raise InputError(
                    f"Copies must be those of the store's own samples. Received: part {part.name!r} with copies of "
                    f"{parent_id!r}, which part {name!r} has not, or has with other pixels. Run `hpa augment` again "
                    "with --overwrite."
                )
            found.append((row, status))
        return found


def _is_part(path: Path) -> bool:
    """Tell whether a folder is a part, or what is left of one, whose opening then says so."""
    if (path / "status" / "zarr.json").exists():
        return True
    try:
        metadata = json.loads((path / "zarr.json").read_bytes())
        return metadata["node_type"] == "group" and "fingerprint" in metadata.get("attributes", {})
    except OSError:
        return False
    except (ValueError, KeyError, TypeError):
        return True


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
    for array, dtype, shape in (
        ("status", "uint8", (n_samples,)),
        ("checksum", "uint32", (n_samples,)),
        ("sums", "uint64", (n_samples, image_shape[-1], 2)),
        ("note", None, (n_samples,)),
        ("note_file", None, (n_samples,)),
    ):
        rows: Any = group[array]
        is_right = rows.shape == shape and rows.chunks[0] == layout.shard_samples
        if not is_right or (dtype is not None and str(rows.dtype) != dtype):
            raise ValueError(f"{array} is not laid out as the manifest says")
    # A chunk that is lost reads as zeros or empty strings; only the fingerprint knows.
    if fingerprint(manifest.settings, part.ids, part.labels, part.copies) != manifest.fingerprint:
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
