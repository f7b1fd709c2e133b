"""How one augmented copy is made of its parent in the store."""

import uuid
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader import Reader
from hpa_data.samples import Sample
from hpa_data.store import Part, Store, open_store
from hpa_data.writer import compute_checksum


class CopyOrder(NamedTuple):
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


def list_orders(store: Store, part: Part) -> list[CopyOrder]:
    """List how each copy of a part was made, as the store says; InputError if its parents are not there any more."""
    if part.copies is None:
        raise InputError(f"A part to make again must hold copies. Received: {part.name!r}, without. Name another.")
    store.check_parents(part)
    places: dict[tuple[str, str], tuple[int, int, int]] = {}
    for name in sorted(set(part.copies.parts)):
        parent = store.part(name)
        for row, numbers in enumerate(zip(parent.checksum.tolist(), parent.status.tolist(), strict=True)):
            places[name, parent.ids[row]] = (row, *numbers)
    told = zip(part.copies.parts, part.copies.parents, part.copies.recipes, strict=True)
    try:
        return [CopyOrder(name, *places[name, parent], recipe) for name, parent, recipe in told]
    except KeyError as error:
        raise InputError(
            f"Copies must be those of the store's own samples. Received: part {part.name!r} with a copy of "
            f"{error.args[0][1]!r}, which is not there. Run `hpa augment` again with --overwrite."
        ) from error


def make_reading(store: Path) -> Callable[[CopyOrder], Sample]:
    """Return the function that makes one copy after the other from the parents in a store, in any thread or process."""
    return partial(_make_copy, store, uuid.uuid4().hex)


def _make_copy(store: Path, mark: str, order: CopyOrder) -> Sample:
    """Read a parent, hold it against its checksum, and do to it what the recipe says."""
    image = _open_reader(store, order.part, mark).read_here(order.row)
    if compute_checksum(image) != order.checksum:
        raise InputError(
            f"A parent must be whole to be copied. Received: sample {order.row} of part {order.part!r}, whose pixels "
            "fail the checksum. Run `hpa verify` with --source and --repair."
        )
    return Sample(image=replay(image, order.recipe), status=order.status)


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
        If the recipe is none.
    """
    from hpa_data.operations import carry_out  # imgaug takes two seconds to import

    return carry_out(recipe, image)


@lru_cache(maxsize=8)
def _open_reader(store: Path, part: str, _mark: str) -> Reader:
    """Open a part once in a process for one run: what lies at a path may be another store in the next."""
    return open_store(store).reader([part], threads=1)
