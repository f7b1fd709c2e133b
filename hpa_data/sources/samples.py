"""Samples as arrays: read from the files of a source, one or many."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, FILLED, HPA_2018, OK, Dataset, Sample
from hpa_data.errors import InputError
from hpa_data.format.statistics import compute_checksum, sum_pixels
from hpa_data.sources.levels import to_uint8
from hpa_data.sources.loading import load_planes
from hpa_data.sources.naming import SampleFiles
from hpa_data.sources.options import ImportOptions
from hpa_data.system.memory import BufferPool

# Page-aligned, so that a disk takes uncompressed images without a copy.
_images = BufferPool()


def read_sample(files: SampleFiles, options: ImportOptions | None = None, dataset: Dataset = HPA_2018) -> Sample:
    """Read the planes of one sample.

    Parameters
    ----------
    files : SampleFiles
        As `find_samples` returned it.
    options : ImportOptions, optional
        The same as for `find_samples`.
    dataset : Dataset
        The same as for `find_samples`. Planes are reduced to its height and width.

    Returns
    -------
    Sample
        8-bit planes of that size have exactly the values of their files.

    Raises
    ------
    InputError
        If a plane is missing (and is not to be filled), cannot be decoded, or has another size than the others.
    """
    options = options or ImportOptions()
    channels: list[npt.NDArray[np.uint8]] = []
    notes: list[str] = []
    filled: list[str] = []
    sizes: dict[str, tuple[int, int]] = {}
    origins: dict[str, None] = {}  # in place of a set, for its order
    for channel, image, plane in load_planes(files, options, dataset):
        if image is not None:
            sizes[image.file] = image.shape
            origins[image.describe()] = None
        if plane is None:
            channels.append(np.zeros((dataset.height, dataset.width), np.uint8))
            filled.append(channel)
            continue
        try:
            reduced = to_uint8(
                plane, (dataset.height, dataset.width), scaling=options.scaling(channel), options=options
            )
        except InputError:
            others = load_planes(files, options, dataset)
            _check_sizes(files, {other.file: other.shape for _, other, _ in others if other is not None})
            raise
        channels.append(reduced)
        notes += [plane.note] if plane.note else []
        del image, plane  # of single planes, one at a time is in memory
    _check_sizes(files, sizes)
    merged = _images.acquire((*channels[0].shape, len(channels)))
    cv2.merge(channels, merged)
    return Sample(
        image=merged,
        status=FILLED if filled else OK,
        filled=tuple(filled),
        origin=" + ".join(origins),
        note="; ".join(notes),
    )


def _check_sizes(files: SampleFiles, sizes: dict[str, tuple[int, int]]) -> None:
    """Refuse a sample whose files, by name, have planes of different sizes (Y, X)."""
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {y} x {x}" for name, (y, x) in sizes.items())
        raise InputError(
            f"Cannot read sample {files.id!r}: its planes differ in size ({listed}). Replace the wrong ones."
        )


def _check_windows(options: ImportOptions, dataset: Dataset) -> None:
    for name in dataset.channel_names:
        if options.scaling(name).method == "dataset-percentile":
            raise InputError(
                "intensity must not be dataset-percentile where files are read without a store: its windows are "
                f"measured when a part is converted. Received: intensity={options.intensity!r}, without a window for "
                f"channel {name!r}. Pass --intensity {name}=window=LOW:HIGH, or convert the files first."
            )


class FolderReader:
    """Read batches straight from image files, with the interface of a store's reader."""

    def __init__(
        self, samples: Sequence[SampleFiles], options: ImportOptions | None = None, dataset: Dataset = HPA_2018
    ) -> None:
        if options is not None:
            options.check_channels(dataset.channel_names)
            _check_windows(options, dataset)
        self.ids = [sample.id for sample in samples]
        self.labels: npt.NDArray[np.uint8] | None = None  # image files have none
        # uint8 (N,): `OK`, or `FAILED` or `FILLED` once a sample was read.
        self.status = np.full(len(samples), OK, np.uint8)
        # By index: the error message of each sample that could not be read, and the file that it is about, if any.
        self.failures: dict[int, str] = {}
        self.failed_files: dict[int, str] = {}
        # By index: notes on samples that were read, and the names of their channels that were filled.
        self.notes: dict[int, str] = {}
        self.filled: dict[int, tuple[str, ...]] = {}
        # By index: CRC-32, and the sums of the channels and of their squares, of each image that was read.
        self.checksums: dict[int, int] = {}
        self.sums: dict[int, npt.NDArray[np.uint64]] = {}
        self.image_shape = dataset.image_shape  # (Y, X, C)
        self._samples = list(samples)
        self._options = options
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._samples)

    def find_file(self, name: str) -> list[int]:
        """List the samples, by index, that have a file of this name in the folder."""
        return [
            index
            for index, sample in enumerate(self._samples)
            if any(plane is not None and plane.name == name for plane in sample.planes)
        ]

    def __enter__(self) -> "FolderReader":
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no file stays open."""

    def read_async(self, indices: npt.ArrayLike) -> "_PendingBatch":
        """Return a batch that is read when its result is asked for: this reader has no threads of its own."""
        return _PendingBatch(self, indices)

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Read samples by index.

        Parameters
        ----------
        indices : sequence of int, length B
            Any order, repeats allowed.

        Returns
        -------
        array of uint8, shape (B, Y, X, C)
            Zeros where the files cannot be read; `status` and `failures` then record it.
        """
        chosen = np.asarray(indices, np.int64)
        images = np.zeros((len(chosen), *self.image_shape), np.uint8)
        for position, index in enumerate(chosen.tolist()):
            try:
                sample = read_sample(self._samples[index], self._options, self._dataset)
            except InputError as error:
                self.status[index] = FAILED
                self.failures[index], self.failed_files[index] = str(error), error.file
                continue
            images[position] = sample.image
            self.checksums[index], self.sums[index] = compute_checksum(sample.image), sum_pixels(sample.image)
            self.status[index] = sample.status
            if sample.note:
                self.notes[index] = sample.note
            if sample.filled:
                self.filled[index] = sample.filled
        return images


class _PendingBatch:
    """A batch that is read when its result is asked for."""

    def __init__(self, reader: FolderReader, indices: npt.ArrayLike) -> None:
        self._reader = reader
        self._indices = indices

    def result(self) -> npt.NDArray[np.uint8]:
        """Read the batch, uint8 (B, Y, X, C)."""
        return self._reader.read(self._indices)
