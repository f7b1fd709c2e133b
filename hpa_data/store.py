"""What a store holds: its parts and their arrays, held against their manifests.

Reading alone: `begin` makes parts and `writer` fills them.
"""

import json
import os
import shutil
import tempfile
import weakref
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
from hpa_data.parts import PartFiles, find_shard
from hpa_data.reader import Reader
from hpa_data.remote import Mirror, is_url
from hpa_data.schema import FILLED, OK, PENDING, is_readable
from hpa_data.shards import Codec, find_codec
from hpa_data.tables import find_repeated


@dataclass(frozen=True, kw_only=True)
class Part:
    """One group of a store: the samples that were converted together.

    Attributes
    ----------
    name : str
        ``train``, ``test``, …
    path : Path
        The group's folder; of a store at a URL, a copy of all but the chunks of its images.
    manifest : Manifest
    layout : Layout
    images : Path or str
        Folder or URL of the array of images.
    is_ours : bool
        Whether that array is laid out as `writer` does it.
    mirror : Mirror, optional
        Of a store at a URL: what `path` is made by, and lives as long as.
    """

    name: str
    path: Path
    manifest: Manifest
    layout: Layout
    images: Path | str
    is_ours: bool
    mirror: Mirror | None = None

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
        """Name the file of a shard."""
        return find_shard(self.path / "images", shard)

    def require_ours(self) -> None:
        """Refuse a part whose shards cannot be written or checked one by one: InputError."""
        if not self.is_ours:
            raise InputError(
                f"Shards must be laid out as `hpa convert` does it to be checked or written. Received: {self.path}, "
                "chunked or encoded otherwise. Convert the part again, or only read it."
            )

    def count_readable(self) -> int:
        """Count the samples that were written without fault."""
        return int(is_readable(self.status).sum())

    def count_bytes(self) -> int:
        """Count the bytes on disk of the images."""
        paths = map(self.shard_path, range(self.layout.n_shards))
        return sum(path.stat().st_size for path in paths if path.is_file())

    def files(self) -> PartFiles:
        """Describe the part to a reader."""
        return PartFiles(
            name=self.name,
            images=self.images.absolute() if isinstance(self.images, Path) else self.images,
            is_ours=self.is_ours,
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
        Its folder; of a store at a URL, a copy of all but the chunks of images, as far as they have been asked for.
    mirror : Mirror, optional
        Of a store at a URL: what fills that copy.
    """

    path: Path
    mirror: Mirror | None = None

    @property
    def location(self) -> Path | str:
        """Where the store is: a folder, or a URL."""
        return self.mirror.url if self.mirror else self.path

    def require_local(self) -> Path:
        """Return the store's folder, to write there; InputError if it has none of its own."""
        if self.mirror:
            raise InputError(
                f"A store to write to must be a folder. Received: {self.mirror.url}. Work on a copy of it, or where it "
                "was made."
            )
        return self.path

    def parts(self) -> list[str]:
        """Names of the parts, in alphabetical order."""
        if self.mirror:
            return [name for name in self.mirror.list_parts() if name.isidentifier()]
        zarr.open_group(self.path, mode="r")
        # Not by zarr's own listing: it warns of files that are no arrays.
        with os.scandir(self.path) as entries:
            names = sorted(entry.name for entry in entries if entry.name.isidentifier() and entry.is_dir())
        return [name for name in names if _is_part(self.path / name)]

    def part(self, name: str) -> Part:
        """Open one part; InputError if the store has none of that name."""
        is_there = name.isidentifier() and (self.mirror.fetch_part(name) if self.mirror else name in self.parts())
        if not is_there:
            raise InputError(
                f"part must be in the store. Received: part={name!r}; {self.location} has "
                f"{', '.join(self.parts()) or 'none'}. Convert it first, or name another."
            )
        try:
            part = _open_part(self.path, name, self.mirror)
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"A part must be whole. Received: {name} of {self.location} with a fault: {reason}. Convert it again "
                "with --overwrite."
            ) from error
        return part

    def reader(self, parts: Sequence[str] = ("train",), threads: int | None = None, cache_bytes: int = 0) -> Reader:
        """Open a reader of random batches over one or several parts.

        Parameters
        ----------
        parts : sequence of str
            In this order samples are numbered.
        threads : int, optional
            That decode a batch; by default one a core.
        cache_bytes : int
            Decoded samples that may be kept in memory; see `cache.Cache` and `cache.choose_cache_bytes`.

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
        return Reader([part.files() for part in opened], threads=threads, cache_bytes=cache_bytes)

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
                    f"part {name!r} than {self.location} has now. Run `hpa augment` again with --overwrite."
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


def _open_part(folder: Path, name: str, mirror: Mirror | None) -> Part:
    """Open a part and hold its arrays against its manifest; raises many kinds of errors if they do not agree.

    Its images lie in the folder too, unless that is a mirror.
    """
    group = zarr.open_group(folder / name, mode="r")
    manifest = Manifest.decode(group.attrs.asdict())
    codec = find_codec(manifest.settings["codec"])
    images: Any = group["images"]
    n_samples, *image_shape = images.shape
    layout = Layout(
        n_samples=n_samples, image_shape=tuple(image_shape), shard_samples=int(manifest.settings["shard_samples"])
    )
    size = int(manifest.settings["image_size"])
    if (str(images.dtype), tuple(image_shape)) != ("uint8", (size, size, len(manifest.channels))):
        raise ValueError("images are not as the manifest says")
    part = Part(
        name=name,
        path=folder / name,
        manifest=manifest,
        layout=layout,
        images=f"{mirror.url}/{name}/images" if mirror else folder / name / "images",
        is_ours=_is_ours(images.metadata.to_dict(), layout, codec),
        mirror=mirror,
    )
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


def _is_ours(metadata: dict[str, Any], layout: Layout, codec: Codec) -> bool:
    """Tell whether an array of images is laid out as `writer` does it, from its metadata."""
    try:
        (sharding,) = metadata["codecs"]
        inner = [step["name"] for step in sharding["configuration"]["codecs"]]
        grid, keys = metadata["chunk_grid"], metadata["chunk_key_encoding"]
        return (
            sharding["name"] == "sharding_indexed"
            and tuple(sharding["configuration"]["chunk_shape"]) == (1, *layout.image_shape)
            and inner == (["bytes", "blosc"] if codec.cname else ["bytes"])
            and [step["name"] for step in sharding["configuration"]["index_codecs"]] == ["bytes", "crc32c"]
            and sharding["configuration"]["index_codecs"][0]["configuration"]["endian"] == "little"
            and sharding["configuration"].get("index_location", "end") == "end"
            and tuple(grid["configuration"]["chunk_shape"]) == (layout.shard_samples, *layout.image_shape)
            and not metadata.get("storage_transformers")
            and (keys["name"], keys.get("configuration", {}).get("separator", "/")) == ("default", "/")
        )
    except (KeyError, TypeError, ValueError):
        return False


def open_store(path: str | Path) -> Store:
    """Open a store to read.

    Parameters
    ----------
    path : str or Path
        The store's folder, or its URL: ``s3://``, ``gs://``, ``http://`` or ``https://``, with what
        `remote.make_kvstore` takes from the environment. What is small is then copied to a temporary folder, which
        lives as long as the store.

    Raises
    ------
    InputError
        If there is none, or its metadata are damaged, or its server cannot be reached.
    """
    if is_url(path):
        return _open_remote(str(path))
    store = Store(path=Path(path))
    try:
        store.parts()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"A store must be a folder written by `hpa convert`. Received: {path}: {reason}. Check the path."
        ) from error
    return store


def _open_remote(url: str) -> Store:
    """Open a store at a URL."""
    folder = Path(tempfile.mkdtemp(prefix="hpa-"))
    try:
        mirror = Mirror(url, folder)
        if not mirror.fetch_root():
            raise InputError(
                f"A store must be written by `hpa convert`. Received: {url}, without zarr.json. Check the URL."
            )
    except BaseException:
        _remove_folder(folder, os.getpid())
        raise
    # The one thing that the store and its parts share.
    weakref.finalize(mirror, _remove_folder, folder, os.getpid())
    return Store(path=folder, mirror=mirror)


def _remove_folder(folder: Path, process: int) -> None:
    """Remove a temporary folder, unless this is a fork of the process that made it."""
    if process == os.getpid():
        shutil.rmtree(folder, ignore_errors=True)
