"""How one augmented copy is made of its parent in the store."""

import uuid
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import CHANNELS, Sample
from hpa_data.errors import InputError
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store


class CopyTask(NamedTuple):
    """One copy to make: of which sample, and how.

    Attributes
    ----------
    part : str
        The parent's part.
    row : int
        The parent's place in it.
    checksum : int
        CRC-32 that the parent's bytes must have.
    status : int
        The parent's, which is the copy's too.
    recipe : str
    """

    part: str
    row: int
    checksum: int
    status: int
    recipe: str


def list_copy_tasks(store: Store, part: Part) -> list[CopyTask]:
    """List how each copy of a part was made, as the store says.

    Raises
    ------
    InputError
        If the part holds no copies, or its parents are not what they were.
    """
    if part.copies is None:
        raise InputError(f"A part to make again must hold copies. Received: {part.name!r}, without. Name another.")
    told = zip(part.copies.parts, store.find_parents(part), part.copies.checksums, part.copies.recipes, strict=True)
    return [CopyTask(name, row, checksum, status, recipe) for name, (row, status), checksum, recipe in told]


def copy_function(store: Path) -> Callable[[CopyTask], Sample]:
    """Return the function that makes one copy after the other from the parents in a store, in any thread or process."""
    return partial(_make_copy, store, uuid.uuid4().hex)


def close_readers() -> None:
    """Let go of the parts that this process has opened to copy from."""
    _open_reader.cache_clear()


def _make_copy(store: Path, run: str, task: CopyTask) -> Sample:
    """Read a parent, hold it against its checksum, and do to it what the recipe says."""
    image = _open_reader(store, task.part, run).read_one(task.row)
    if compute_checksum(image) != task.checksum:
        raise InputError(
            f"A parent must be whole to be copied. Received: sample {task.row} of part {task.part!r}, whose pixels "
            "fail the checksum. Run `hpa verify` with --source and --repair."
        )
    return Sample(image=replay(image, task.recipe), status=task.status)


def replay(image: npt.NDArray[np.uint8], recipe: str) -> npt.NDArray[np.uint8]:
    """Do to an image what a recipe says.

    Parameters
    ----------
    image : array of uint8, shape (Y, X, 4)
        Stays as it is.
    recipe : str
        As a part of copies keeps it; see `policies`.

    Returns
    -------
    array of uint8, shape (Y, X, 4)
        C-contiguous. The same pixels whoever does it, with the same versions of imgaug and OpenCV.

    Raises
    ------
    InputError
        If the recipe is none, or the image is not of that kind.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != len(CHANNELS):
        raise InputError(
            f"image must be uint8 of shape (Y, X, {len(CHANNELS)}). Received: {image.dtype} of {image.shape}. Pass one "
            "sample of a store."
        )
    from hpa_data.augment.operations import apply_transform  # imgaug takes two seconds to import

    return apply_transform(recipe, image)


@lru_cache(maxsize=8)
def _open_reader(store: Path, part: str, _run: str) -> Reader:
    """Open a part once in a process for one run: what lies at a path may be another store in the next."""
    return open_store(store).reader([part], threads=1)
