"""The interface between a reader and the engines that read images for it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Dataset
from hpa_data.errors import InputError
from hpa_data.format.codecs import Codec
from hpa_data.format.layout import Layout
from hpa_data.format.manifest import Provenance
from hpa_data.reader.ahead import Ahead

# When the image of a sample is compared with its checksum: each time its bytes are read, the first time that a reader
# reads them, or not at all.
Verify = Literal["always", "first", "never"]


@dataclass(frozen=True, kw_only=True)
class ReaderSpec:
    """One part as a reader needs it: where its images are and what its samples are."""

    name: str

    images: Path | str
    """Folder or URL of the array of images."""

    has_native_layout: bool
    """Whether the array has the layout that `hpa convert` writes, so that its shards can be read without a Zarr
    library."""

    layout: Layout
    codec: Codec
    ids: list[str]
    labels: npt.NDArray[np.uint8] | None
    """Multi-hot, shape (N, K)."""

    status: npt.NDArray[np.uint8]
    """Shape (N,)."""

    checksums: npt.NDArray[np.uint32]
    """Of the image of each sample, shape (N,); see `format.statistics.compute_checksum`."""

    dataset: Dataset

    fingerprint: str
    """Of what the part was created with."""

    copies: Provenance | None = None
    """The parents of the samples, if they are augmented copies."""


class ChannelPicker:
    """Picks some channels of images, in an order of its own."""

    def __init__(self, channels: Sequence[int]) -> None:
        self._pairs = [number for to, channel in enumerate(channels) for number in (channel, to)]

    def pick(self, image: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
        """Copy the channels of an image, uint8 (Y, X, C), to another one, uint8 (Y, X, n); both are contiguous."""
        # In 0.1 ms for one channel of four and 512 x 512 pixels, a fifth of the time of NumPy's indexing.
        cv2.mixChannels([image], [out], self._pairs)


def make_picker(dataset: Dataset, channels: Sequence[str] | None) -> ChannelPicker | None:
    """Return what picks channels by their names; None for all channels as they are. InputError if one is missing."""
    names = dataset.channel_names
    if channels is None or dataset.select(channels).channel_names == names:
        return None
    return ChannelPicker([names.index(name) for name in channels])


class SampleRows:
    """Maps samples, which are numbered across all parts, to a part and a row of it."""

    def __init__(self, parts: Sequence[ReaderSpec]) -> None:
        self._firsts = np.cumsum([0, *(part.layout.n_samples for part in parts)])

    def locate(self, samples: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return the index of the part of each sample, and its row there; int64 (M,) all."""
        parts = np.searchsorted(self._firsts, samples, side="right") - 1
        return parts, samples - self._firsts[parts]


def make_damage_error(part: ReaderSpec, row: int, reason: object) -> InputError:
    """Make the error of a sample, a row of its part, whose bytes are damaged: which, where, and how to mend it."""
    place: object = part.images
    if part.has_native_layout:
        place = f"{part.images}/c/{row // part.layout.shard_samples}/0/0/0"
    what = f"Cannot read sample {part.ids[row]!r} of part {part.name!r}: its bytes in {place} are damaged: {reason}."
    if not part.has_native_layout:
        return InputError(f"{what} Convert the part again.")
    if not isinstance(part.images, Path):
        return InputError(
            f"{what} Run `hpa verify` with --repair on the store that was copied there, and copy it again."
        )
    store = shlex.quote(str(part.images.parents[1]))
    if part.copies is not None:
        return InputError(f"{what} Run `hpa verify {store} --part {part.name} --repair`, which makes it again.")
    return InputError(
        f"{what} Run `hpa verify {store} --part {part.name} --repair --source FOLDER` with the folder that it was "
        "converted from, or convert the part again with --overwrite."
    )


class Job(Protocol):
    """Work in progress."""

    def result(self) -> None:
        """Wait until it is done; raise its error."""
        ...


class Engine(Protocol):
    """Reads images. Samples are numbered across all parts; the caller has checked that they are readable."""

    name: str

    def read_async(
        self, samples: npt.NDArray[np.int64], batch: npt.NDArray[np.uint8], positions: npt.NDArray[np.int64]
    ) -> Sequence[Job]:
        """Start to read `samples`, int64 (M,), into `batch[positions]`."""
        ...

    def read_one(self, sample: int, out: npt.NDArray[np.uint8]) -> None:
        """Read one sample into `out`, uint8 (Y, X, C), in the calling thread."""
        ...

    def look_ahead(self) -> Ahead | None:
        """Begin to read ahead for one iteration; None if nothing would be gained. See `ahead.Announcer`."""
        ...

    def release(self, samples: npt.NDArray[np.int64]) -> None:
        """Give back memory that the files of `samples` take; they can be read again."""
        ...

    def close(self) -> None:
        """Stop the threads and release the files."""
        ...
