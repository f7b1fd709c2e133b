"""Samples as arrays: read from the files of a source, one or many."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import CHANNELS, FAILED, FILLED, IMAGE_SIZE, OK, Sample
from hpa_data.errors import InputError
from hpa_data.sources.decode import ImageFile, open_image
from hpa_data.sources.files import read_file
from hpa_data.sources.naming import SampleFiles, missing_channels
from hpa_data.sources.options import ImportOptions
from hpa_data.sources.planes import Plane, extract_color, extract_gray, extract_plane, find_plane, to_uint8
from hpa_data.system.memory import BufferPool

_PICKS: dict[str, Callable[[ImageFile, str | int], Plane]] = {
    "gray": extract_gray,
    "colour": extract_color,
    "stacked": extract_plane,
}

# Page-aligned, so that a disk takes what is not compressed as it is.
_images = BufferPool()


def read_sample(files: SampleFiles, settings: ImportOptions | None = None) -> Sample:
    """Read the planes of one sample.

    Parameters
    ----------
    files : SampleFiles
        As `find_samples` gave it.
    settings : ImportOptions, optional
        The same that it was found with.

    Returns
    -------
    Sample
        Of 512 x 512 8-bit planes, exactly what the files have.

    Raises
    ------
    InputError
        If a plane is missing (unless it is to be filled), cannot be decoded, or has another size than the others.
    """
    settings = settings or ImportOptions()
    if files.fault:
        raise InputError(f"Sample {files.id!r} must be readable. Received: {files.fault}.")
    missing = missing_channels(files)
    if missing and settings.missing != "fill":
        first = next(plane.name for plane in files.planes if plane is not None)
        raise InputError(
            f"Sample {files.id!r} must have a plane for each channel. Received: none for {', '.join(missing)} beside "
            f"{first}. Add the files, or pass --missing fill and --overwrite to go on with zeros."
        )
    channels: list[npt.NDArray[np.uint8]] = []
    notes: list[str] = []
    shapes: dict[str, tuple[int, int]] = {}
    opened: tuple[str, ImageFile] | None = None
    for file in files.planes:
        if file is None:
            channels.append(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8))
            continue
        if opened is None or opened[0] != file.name:  # a stack is opened once, planes of their own one after the other
            opened = None
            opened = (file.name, open_image(read_file(file.root, file.name), file.name))
        shapes[file.name] = opened[1].shape
        if settings.missing == "fill" and file.rule == "stacked" and find_plane(opened[1], file.key) is None:
            channels.append(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8))
            missing.append(CHANNELS[len(channels) - 1])
            continue
        plane = _PICKS[file.rule](opened[1], file.key)
        channels.append(to_uint8(plane, intensity=settings.intensity))
        notes += [plane.note] if plane.note else []
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} with {y} x {x}" for name, (y, x) in shapes.items())
        raise InputError(f"The planes of a sample must have one size. Received: {told}. Correct the files.")
    image = _images.acquire((*channels[0].shape, len(channels)))
    cv2.merge(channels, image)
    return Sample(image=image, status=FILLED if missing else OK, note="; ".join(notes))


class FolderReader:
    """Read batches straight from image files, with the same face as the reader of a store.

    Attributes
    ----------
    ids : list of str
        In the order of the samples.
    labels : None
        A folder has none.
    status : array of uint8, shape (N,)
        1, or 2 once a sample could not be read.
    failures : dict of int to str
        Why, for each index that could not be read.
    image_shape : tuple of int
        (Y, X, C).
    """

    def __init__(self, samples: Sequence[SampleFiles], settings: ImportOptions | None = None) -> None:
        self.ids = [sample.id for sample in samples]
        self.labels: npt.NDArray[np.uint8] | None = None
        self.status = np.full(len(samples), OK, np.uint8)
        self.failures: dict[int, str] = {}
        self.image_shape = (IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS))
        self._samples = list(samples)
        self._settings = settings

    def __len__(self) -> int:
        return len(self._samples)

    def __enter__(self) -> "FolderReader":
        return self

    def __exit__(self, *_: object) -> None:
        """Have nothing to close."""

    def read_async(self, indices: npt.ArrayLike) -> "_Deferred":
        """Put off reading samples by index until somebody waits for them: files have no threads to be read in."""
        return _Deferred(self, indices)

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Read samples by index.

        Parameters
        ----------
        indices : sequence of int, length B
            Any order, repeats allowed.

        Returns
        -------
        array of uint8, shape (B, Y, X, C)
            Black where the files cannot be read; `status` and `failures` say so afterwards. A store's reader need not
            do that: there, the conversion has told good from bad.
        """
        chosen = np.asarray(indices, np.int64)
        images = np.zeros((len(chosen), *self.image_shape), np.uint8)
        for place, index in enumerate(chosen.tolist()):
            try:
                images[place] = read_sample(self._samples[index], self._settings).image
            except InputError as error:
                self.status[index] = FAILED
                self.failures[index] = str(error)
        return images


class _Deferred:
    """A batch that is read when it is asked for."""

    def __init__(self, reader: FolderReader, indices: npt.ArrayLike) -> None:
        self._reader = reader
        self._indices = indices

    def result(self) -> npt.NDArray[np.uint8]:
        """Read it."""
        return self._reader.read(self._indices)
