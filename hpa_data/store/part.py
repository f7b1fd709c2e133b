"""One part of a store: its arrays, read and compared with its manifest."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from hpa_data.dataset import FAILED, PENDING, is_readable
from hpa_data.errors import InputError, first_line
from hpa_data.format.codecs import Codec, get_codec
from hpa_data.format.layout import Layout, find_shard
from hpa_data.format.manifest import Manifest, Provenance, fingerprint
from hpa_data.reader.engine import ReaderSpec
from hpa_data.store.mirror import Mirror


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
    has_native_layout : bool
        Whether that array is laid out as `writer` does it.
    mirror : Mirror, optional
        Of a store at a URL: what `path` is made by, and lives as long as.
    """

    name: str
    path: Path
    manifest: Manifest
    layout: Layout
    images: Path | str
    has_native_layout: bool
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
    def copies(self) -> Provenance | None:
        """What each sample was made of, in a part of augmented copies."""
        if "recipe" not in self.group:
            return None
        columns = [tuple(str(text) for text in self._read(name)) for name in ("parent", "parent_part", "recipe")]
        checksums = tuple(self._read("parent_checksum").tolist())
        return Provenance(parents=columns[0], parts=columns[1], checksums=checksums, transforms=columns[2])

    def read_status(self) -> npt.NDArray[np.uint8]:
        """Read what became of each sample, uint8 (N,)."""
        return self._read("status")

    def read_checksums(self) -> npt.NDArray[np.uint32]:
        """Read the CRC-32 of each image's bytes, uint32 (N,)."""
        return self._read("checksum")

    def read_notes(self) -> list[tuple[str, str]]:
        """Read the note on each sample and the file that it is about; most are empty."""
        return [(str(note), str(file)) for note, file in zip(self._read("note"), self._read("note_file"), strict=True)]

    def read_sums(self) -> npt.NDArray[np.uint64]:
        """Read sum and sum of squares of each image's channels, uint64 (N, C, 2)."""
        return self._read("sums")

    def shard_path(self, shard: int) -> Path:
        """Name the file of a shard."""
        return find_shard(self.path / "images", shard)

    def require_native_layout(self) -> None:
        """Refuse a part whose shards cannot be written or checked one by one: InputError."""
        if not self.has_native_layout:
            raise InputError(
                f"Shards must be laid out as `hpa convert` does it to be checked or written. Received: {self.path}, "
                "chunked or encoded otherwise. Convert the part again, or only read it."
            )

    def count_readable(self) -> int:
        """Count the samples whose image can be read."""
        return int(is_readable(self.read_status()).sum())

    def count_pending(self) -> int:
        """Count the samples that a conversion would write: pending or failed ones."""
        return int(np.isin(self.read_status(), (PENDING, FAILED)).sum())

    def count_bytes(self) -> int:
        """Count the bytes on disk of the images."""
        paths = map(self.shard_path, range(self.layout.n_shards))
        return sum(path.stat().st_size for path in paths if path.is_file())

    def reader_spec(self) -> ReaderSpec:
        """Describe the part to a reader."""
        return ReaderSpec(
            name=self.name,
            images=self.images.absolute() if isinstance(self.images, Path) else self.images,
            has_native_layout=self.has_native_layout,
            layout=self.layout,
            codec=get_codec(self.manifest.settings["codec"]),
            ids=self.ids,
            labels=self.labels,
            status=self.read_status(),
            copies=self.copies,
        )

    def _read(self, name: str) -> Any:
        try:
            return self.group[name][:]  # type: ignore[index]
        # Whatever a damaged chunk makes its codecs raise.
        except Exception as error:
            reason = first_line(error)
            raise InputError(
                f"A part must be whole. Received: {self.path}, whose {name} cannot be read: {reason}. Convert it again "
                "with --overwrite."
            ) from error


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
    codec = get_codec(manifest.settings["codec"])
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
        has_native_layout=_has_native_layout(images.metadata.to_dict(), layout, codec),
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


def _has_native_layout(metadata: dict[str, Any], layout: Layout, codec: Codec) -> bool:
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
