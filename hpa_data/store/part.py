"""One part of a store: its arrays, checked against its manifest."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import zarr

from hpa_data.dataset import FAILED, PENDING, is_readable
from hpa_data.errors import InputError, first_line
from hpa_data.format.arrays import (
    ARRAYS,
    IMAGES,
    METADATA_ARRAYS,
    SHARD_ARRAYS,
    ArraySpec,
)
from hpa_data.format.codecs import get_codec
from hpa_data.format.columns import is_native, read_column
from hpa_data.format.layout import Layout, find_shard
from hpa_data.format.manifest import COPY_ARRAYS, Manifest, Provenance
from hpa_data.format.statistics import find_impossible_sums
from hpa_data.reader.engine import ReaderSpec
from hpa_data.store.mirror import Mirror
from hpa_data.store.seal import METADATA_KEY, ChangedError, ChunkReader, Seal, is_manifest_sealed, read_seal
from hpa_data.store.storage import Storage
from hpa_data.system.files import refuse_unreadable

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One group of a store: the samples that were converted together."""

    name: str

    storage: Storage
    """Where the part is written, and read but for its images. For a store at a URL, a copy of it in a folder."""

    manifest: Manifest

    layout: Layout

    arrays: Mapping[str, zarr.Array[Any]] = field(repr=False)
    """All arrays of the part, by name, as they were when it was opened."""

    metadata: Mapping[str, int] = field(repr=False)
    """CRC-32 of the metadata of each, which they were opened from."""

    images: Path | str
    """Folder or URL of the array of images."""

    has_native_layout: bool
    """Whether that array has the chunks and codecs that `hpa convert` writes."""

    mirror: Mirror | None = None
    """What fills that copy, and deletes it when nothing refers to it any longer."""

    compares_seal: bool = True
    """Whether what is read is compared with the seal. `hpa verify` compares everything at once instead."""

    lost: frozenset[str] = frozenset()
    """Keys of chunks that `hpa verify` has found damaged: they are read as if they did not exist."""

    @property
    def path(self) -> Path:
        """The group's folder."""
        return Path(self.storage.location, self.name)

    @property
    def store_location(self) -> Path | str:
        """Folder or URL of the store."""
        return self.mirror.url if self.mirror else self.path.parent

    @cached_property
    def ids(self) -> list[str]:
        """Sample ids, in the order of the arrays."""
        return [str(name) for name in self._read("id")]

    @cached_property
    def labels(self) -> npt.NDArray[np.uint8] | None:
        """Multi-hot labels, uint8 (N, K), or None."""
        return self._read("labels") if "labels" in self.arrays else None

    @cached_property
    def copies(self) -> Provenance | None:
        """What each sample was made from, in a part of augmented copies."""
        if "recipe" not in self.arrays:
            return None
        return Provenance(**{field: tuple(self._read(name).tolist()) for name, field in COPY_ARRAYS.items()})

    @cached_property
    def columns(self) -> dict[str, list[Any]]:
        """The columns that only some parts have, by array."""
        names = [spec.name for spec in ARRAYS if spec.present == "optional" and spec.name in self.arrays]
        return {name: self._read(name).tolist() for name in names}

    @cached_property
    def shard_arrays(self) -> tuple[ArraySpec, ...]:
        """The arrays that are written with each shard beside the images, in this order."""
        return tuple(spec for spec in SHARD_ARRAYS if spec.present == "always" or spec.name in self.arrays)

    def read_names(self, array: Literal["channel", "class"]) -> tuple[str, ...]:
        """Read the names of the channels or classes, in the order of the arrays."""
        return tuple(map(str, self._read(array)))

    def read_status(self) -> npt.NDArray[np.uint8]:
        """Read what became of each sample, uint8 (N,)."""
        return self._read("status")

    def read_checksums(self) -> npt.NDArray[np.uint32]:
        """Read the CRC-32 of each image's bytes, uint32 (N,)."""
        return self._read("checksum")

    def read_notes(self) -> list[tuple[str, str]]:
        """Read the note on each sample and the file that it is about; most are empty."""
        return [(str(note), str(file)) for note, file in zip(self._read("note"), self._read("note_file"), strict=True)]

    def read_origins(self) -> list[str] | None:
        """Read what the files of each sample are like, see `dataset.Sample.origin`; None if the part does not know."""
        return list(map(str, self._read("origin"))) if "origin" in self.arrays else None

    def read_filled(self) -> list[tuple[str, ...]] | None:
        """Read the names of each sample's channels that are filled; None if the part does not know."""
        if "filled" not in self.arrays:
            return None
        return [tuple(filter(None, str(names).split(","))) for names in self._read("filled")]

    def read_sums(self) -> npt.NDArray[np.uint64]:
        """Read sum and sum of squares of each image's channels, uint64 (N, C, 2); InputError if no image has such."""
        sums = self._read("sums")
        y, x, _ = self.layout.image_shape
        wrong = np.flatnonzero(find_impossible_sums(sums, pixels=y * x)).tolist()
        if wrong:
            raise InputError(
                f"Cannot read sums of part {self.name!r} in {self.path.parent}: those of {len(wrong)} samples, for "
                f"example {self.ids[wrong[0]]!r}, cannot be of any pixels. Run `hpa verify` with --source and --repair."
            )
        return sums

    def read_metadata(self, *, names: Collection[str] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Read all arrays beside the images, or some, by name; InputError if one is damaged."""
        chosen = [spec.name for spec in METADATA_ARRAYS if (names is None or spec.name in names)]
        return {name: self._read(name) for name in chosen if name in self.arrays}

    def shard_path(self, shard: int) -> Path:
        """Return the path of a shard."""
        return find_shard(self.path / IMAGES.name, shard)

    def require_native_layout(self) -> None:
        """Refuse a part whose shards cannot be checked or written one by one: InputError."""
        if not (self.has_native_layout and all(is_native(self.arrays[spec.name]) for spec in self.shard_arrays)):
            raise InputError(
                f"Cannot check or write the shards of {self.path}: their chunks or codecs are not those of `hpa "
                "convert`. Convert the part again, or only read it."
            )

    def count_readable(self) -> int:
        """Count the samples whose image can be read."""
        return int(is_readable(self.read_status()).sum())

    def count_pending(self) -> int:
        """Count the samples that a conversion would write: pending or failed ones."""
        return int(np.isin(self.read_status(), (PENDING, FAILED)).sum())

    def count_bytes(self) -> int:
        """Count the bytes of the images on disk."""
        shards = (find_shard(IMAGES.name, shard).as_posix() for shard in range(self.layout.n_shards))
        return sum(self.storage.size(f"{self.name}/{key}") for key in shards)

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
            checksums=self.read_checksums(),
            dataset=self.manifest.dataset,
            fingerprint=self.manifest.fingerprint,
            copies=self.copies,
        )

    def compare_manifest(self) -> None:
        """Refuse a manifest that is not the one that was sealed: InputError."""

        def compare(seal: Seal | None) -> None:
            if seal is not None and not is_manifest_sealed(self.storage, self.name, seal):
                raise ChangedError(METADATA_KEY)

        self._compare(compare)

    def _compare(self, read: Callable[[Seal | None], Item]) -> Item:
        """Read something; InputError if it raises ChangedError, and the part is not just being written."""
        while True:
            seal = read_seal(self.storage, self.name) if self.compares_seal else None
            try:
                return read(seal)
            except ChangedError as error:
                if read_seal(self.storage, self.name) == seal:
                    raise InputError(
                        f"Cannot read part {self.name!r} of {self.store_location}: {error} fails its checksum in the "
                        "part's seal. Run `hpa verify` to see what is damaged; convert the part again with --overwrite."
                    ) from error

    def _read(self, name: str) -> Any:
        if self.mirror is not None:
            self.mirror.fetch_array(self.name, name)
        try:
            return self._compare(partial(self._read_compared, self.arrays[name]))
        except InputError:
            raise
        # Whatever a damaged chunk makes its codecs raise.
        except Exception as error:
            refuse_unreadable(error, f"{name} of part {self.name!r} in {self.path.parent}")
            raise InputError(
                f"Cannot read {name} of part {self.name!r} in {self.path.parent}: {first_line(error)}. Convert the "
                "part again with --overwrite."
            ) from error

    def _read_compared(self, array: zarr.Array[Any], seal: Seal | None) -> npt.NDArray[Any]:
        """Read an array; ChangedError if its metadata or a chunk are not those that were sealed."""
        name = array.basename
        if seal is not None and seal.metadata.get(name) != self.metadata[name]:
            raise ChangedError(f"{name}/{METADATA_KEY}")
        chunks = ChunkReader(self.storage, self.name, array, seal)
        if seal is not None and not is_native(array):  # zarr-python reads them again
            for key in chunks.keys:
                chunks.get(key)
        return read_column(array, lambda key: None if f"{name}/{key}" in self.lost else chunks.get(key))
