"""Image files: how planes are named, found and read."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.schema import CHANNELS, FAILED, IMAGE_SIZE, OK

EXTENSIONS = (".png",)


@dataclass(frozen=True, kw_only=True)
class SampleFiles:
    """The files of one sample.

    Attributes
    ----------
    id : str
        The sample's id.
    planes : tuple of (Path or None), length C
        One file a channel in the order of `CHANNELS`; None where it is missing.
    """

    id: str
    planes: tuple[Path | None, ...]


def find_samples(folder: Path) -> list[SampleFiles]:
    """Find the samples in a folder of planes named ``<id>_<channel>.png``, as Kaggle has them.

    Parameters
    ----------
    folder : Path
        Looked through without its subfolders.

    Returns
    -------
    list of SampleFiles
        Sorted by id, each id once. Files that are no planes are passed over.

    Raises
    ------
    InputError
        If the folder is missing, cannot be read, or holds no plane.
    """
    if not folder.is_dir():
        raise InputError(f"The source must be a folder of images. Received: {folder}, which is none. Check the path.")
    found: dict[str, list[Path | None]] = {}
    for sample_id, channel, path in _scan(folder):
        planes = found.setdefault(sample_id, [None] * len(CHANNELS))
        if planes[channel] is not None:
            raise InputError(
                f"A sample must have one file a channel. Received: {planes[channel]} and {path.name}. Remove one."
            )
        planes[channel] = path
    if not found:
        raise InputError(
            f"The source must hold planes named <id>_<{'|'.join(CHANNELS)}>.png. Received: {folder} without any. "
            "Pass the folder that holds the files themselves."
        )
    return [SampleFiles(id=sample_id, planes=tuple(found[sample_id])) for sample_id in sorted(found)]


def _scan(folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Yield (id, number of the channel, path) of each plane in a folder, in any order."""
    places = {channel: place for place, channel in enumerate(CHANNELS)}
    # scandir, not Path.iterdir: 125,000 planes in a second.
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, extension = os.path.splitext(entry.name)
            sample_id, _, channel = stem.rpartition("_")
            if sample_id and channel in places and extension.lower() in EXTENSIONS:
                if not _is_unicode(sample_id):
                    raise InputError(
                        f"File names must be UTF-8. Received: {os.fsencode(entry.name)!r} in {folder}. Rename the file."
                    )
                yield sample_id, places[channel], Path(entry.path)


def _is_unicode(name: str) -> bool:
    """Tell whether a file name is text; Python hides bytes that are none in surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_sample(files: SampleFiles) -> npt.NDArray[np.uint8]:
    """Read the planes of one sample.

    Parameters
    ----------
    files : SampleFiles
        As `find_samples` gave it.

    Returns
    -------
    array of uint8, shape (512, 512, 4)
        Channels in the order of `CHANNELS`, exactly as the files have them.

    Raises
    ------
    InputError
        If a plane is missing, cannot be decoded, or is not 512 × 512, 8-bit and gray.
    """
    missing = [channel for channel, path in zip(CHANNELS, files.planes, strict=True) if path is None]
    if missing:
        raise InputError(
            f"Sample {files.id!r} must have a plane for each channel. Received: none for {', '.join(missing)}. "
            f"Add {files.id}_{missing[0]}.png, or take the sample out."
        )
    return cv2.merge([_read_plane(path) for path in files.planes if path is not None])


def _read_plane(path: Path) -> npt.NDArray[np.uint8]:
    """Read one plane, uint8 (512, 512). OpenCV decodes a PNG in three quarters of Pillow's time."""
    if not path.is_file():  # a pipe would wait for ever
        raise InputError(f"A plane must be a file. Received: {path}, which is none. Remove it.")
    try:
        # Read here, decode there: OpenCV cannot open every file name on every system.
        encoded = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"A plane must be readable. Received: {path}: {error.strerror}. Check the file.") from error
    try:
        plane = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED) if encoded.size else None
    except (cv2.error, MemoryError):
        plane = None  # a header that claims more pixels than OpenCV allows
    if plane is None:
        raise InputError(
            f"A plane must be a whole image file. Received: {path} of {encoded.size} bytes, which cannot be decoded. "
            "Fetch the file again."
        )
    if plane.shape != (IMAGE_SIZE, IMAGE_SIZE) or plane.dtype != np.uint8:
        raise InputError(
            f"A plane must be {IMAGE_SIZE} x {IMAGE_SIZE}, 8-bit and gray. Received: {path} with shape {plane.shape} "
            f"and dtype {plane.dtype}. Convert the file."
        )
    return plane


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

    def __init__(self, samples: Sequence[SampleFiles]) -> None:
        self.ids = [sample.id for sample in samples]
        self.labels: npt.NDArray[np.uint8] | None = None
        self.status = np.full(len(samples), OK, np.uint8)
        self.failures: dict[int, str] = {}
        self.image_shape = (IMAGE_SIZE, IMAGE_SIZE, len(CHANNELS))
        self._samples = list(samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __enter__(self) -> "FolderReader":
        return self

    def __exit__(self, *_: object) -> None:
        """Have nothing to close."""

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
                images[place] = read_sample(self._samples[index])
            except InputError as error:
                self.status[index] = FAILED
                self.failures[index] = str(error)
        return images
