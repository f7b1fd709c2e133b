"""Samples as arrays: read from the files of a source, one or many."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, FILLED, HPA_2018, OK, Dataset, Sample
from hpa_data.errors import InputError
from hpa_data.sources.decode import open_image
from hpa_data.sources.files import read_file
from hpa_data.sources.image_file import ImageFile
from hpa_data.sources.levels import to_uint8
from hpa_data.sources.naming import SampleFiles, missing_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.schemes import Extract
from hpa_data.system.memory import BufferPool

# Page-aligned, so that a disk takes uncompressed images without a copy.
_images = BufferPool()

# Samples that are opened to find the native size.
N_NATIVE = 15


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
    _check_files(files, options, dataset)
    channels: list[npt.NDArray[np.uint8]] = []
    notes: list[str] = []
    shapes: dict[str, tuple[int, int]] = {}
    filled: list[str] = []
    opened: tuple[str, ImageFile] | None = None
    for channel, file in zip(dataset.channel_names, files.planes, strict=True):
        plane = None
        if file is not None:
            # A stack is opened once; of single planes, one at a time is in memory.
            if opened is None or opened[0] != file.name:
                opened = None
                opened = (file.name, open_image(read_file(file.root, file.name), file.name, options))
            image = opened[1]
            shapes[file.name] = image.shape
            plane = file.extract(image)
            if plane is None and options.missing != "fill":
                raise _missing_plane(channel, file.extract, image, options, dataset)
        if plane is None:
            channels.append(np.zeros((dataset.height, dataset.width), np.uint8))
            filled.append(channel)
            continue
        channels.append(
            to_uint8(plane, (dataset.height, dataset.width), scaling=options.scaling(channel), options=options)
        )
        notes += [plane.note] if plane.note else []
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {y} x {x}" for name, (y, x) in shapes.items())
        raise InputError(
            f"Cannot read sample {files.id!r}: its planes differ in size ({listed}). Replace the wrong ones."
        )
    if len(filled) == len(channels) and opened is not None:  # not a sample without any image
        extract = next(file.extract for file in files.planes if file is not None)
        raise _missing_plane(dataset.channel_names[0], extract, opened[1], options, dataset)
    merged = _images.acquire((*channels[0].shape, len(channels)))
    cv2.merge(channels, merged)
    return Sample(image=merged, status=FILLED if filled else OK, filled=tuple(filled), note="; ".join(notes))


def find_native_size(samples: Sequence[SampleFiles], options: ImportOptions) -> tuple[int, int]:
    """Find the size, (Y, X), that most of some samples have, evenly spaced, by the first file of each.

    Raises
    ------
    InputError
        If none of those files can be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    error = InputError("Cannot find the size of the files: no sample has one. Pass a number as --image-size.")
    for index in np.unique(np.linspace(0, len(samples) - 1, N_NATIVE).round().astype(int)).tolist():
        file = next((file for file in samples[index].planes if file is not None), None)
        try:
            if file is not None:
                sizes[open_image(read_file(file.root, file.name), file.name, options).shape] += 1
        except InputError as raised:
            error = raised
    if not sizes:
        raise error
    return max(sizes, key=lambda size: (sizes[size], size))


def _check_files(files: SampleFiles, options: ImportOptions, dataset: Dataset) -> None:
    """Refuse a sample that cannot be read, before any of its files is."""
    if files.error:
        raise InputError(f"Cannot read sample {files.id!r}: {files.error}.")
    missing = missing_channels(files, dataset)
    if missing and options.missing != "fill":
        first = next(plane.name for plane in files.planes if plane is not None)
        raise InputError(
            f"Cannot read sample {files.id!r}: there is no file for {', '.join(missing)} beside {first}. Add the "
            "files, or pass --missing fill and --overwrite to fill the channels with zeros."
        )


def _missing_plane(
    channel: str, extract: Extract, image: ImageFile, options: ImportOptions, dataset: Dataset
) -> InputError:
    key = extract.keywords.get("key", channel) if isinstance(extract, partial) else channel
    plane = f"channel {channel!r}" if key == channel else f"plane {key!r}, channel {channel!r},"
    names = f": {', '.join(image.names)}" if image.names else " without names"
    example = ",".join(f"{name}={index}" for index, name in enumerate(dataset.channel_names))
    if options.missing == "fill":
        remedy = f"No channel was found, and a sample without any is not filled. Pass --channels, for example {example}"
    else:
        remedy = f"Pass --channels, for example {example}, or --missing fill to fill the channel with zeros"
    return InputError(
        f"Cannot find {plane} in {image.file}, which has {image.n_planes} planes{names}. {remedy}.", file=image.file
    )


class FolderReader:
    """Read batches straight from image files, with the interface of a store's reader."""

    def __init__(
        self, samples: Sequence[SampleFiles], options: ImportOptions | None = None, dataset: Dataset = HPA_2018
    ) -> None:
        if options is not None:
            options.check_channels(dataset.channel_names)
        self.ids = [sample.id for sample in samples]
        self.labels: npt.NDArray[np.uint8] | None = None  # image files have none
        # uint8 (N,): `OK`, or `FAILED` once a sample could not be read.
        self.status = np.full(len(samples), OK, np.uint8)
        # The error message of each index that could not be read.
        self.failures: dict[int, str] = {}
        self.image_shape = dataset.image_shape  # (Y, X, C)
        self._samples = list(samples)
        self._options = options
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._samples)

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
                images[position] = read_sample(self._samples[index], self._options, self._dataset).image
            except InputError as error:
                self.status[index] = FAILED
                self.failures[index] = str(error)
        return images


class _PendingBatch:
    """A batch that is read when its result is asked for."""

    def __init__(self, reader: FolderReader, indices: npt.ArrayLike) -> None:
        self._reader = reader
        self._indices = indices

    def result(self) -> npt.NDArray[np.uint8]:
        """Read the batch, uint8 (B, Y, X, C)."""
        return self._reader.read(self._indices)
