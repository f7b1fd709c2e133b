"""How one augmented copy is made from its parent in the store."""

import uuid
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from hpa_data.augment.transform import replay
from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.reader import Reader
from hpa_data.store.part import Part
from hpa_data.store.store import Store, open_store


class CopyTask(NamedTuple):
    """One copy to make."""

    part: str
    """Of the parent."""
    row: int
    """Of the parent in its part."""
    checksum: int
    """CRC-32 that the parent's bytes must have."""
    status: int
    """Of the parent, and so of the copy."""
    transform: str
    """See `augment.transform`."""


def list_copy_tasks(store: Store, part: Part) -> list[CopyTask]:
    """List, from what a part stores, how each of its copies was made.

    Raises
    ------
    InputError
        If the part holds no copies, or its parents have changed since.
    """
    copies = part.copies
    if copies is None:
        raise InputError(f"part must hold copies. Received: part={part.name!r}, which holds none. Name another part.")
    columns = zip(copies.parts, store.find_parents(part), copies.checksums, copies.transforms, strict=True)
    return [CopyTask(name, row, checksum, status, transform) for name, (row, status), checksum, transform in columns]


def copy_function(store: Path) -> Callable[[CopyTask], Sample]:
    """Return the function that makes a copy from the parents in a store, in any thread or process."""
    return partial(_make_copy, store, uuid.uuid4().hex)


def close_readers() -> None:
    """Close the parts that this process has opened to copy from."""
    _open_reader.cache_clear()


def _make_copy(store: Path, run: str, task: CopyTask) -> Sample:
    """Read a parent, verify its checksum, and apply the transform."""
    reader = _open_reader(store, task.part, run)
    image = reader.read_one(task.row)
    if compute_checksum(image) != task.checksum:
        raise InputError(
            f"Cannot copy sample {task.row} of part {task.part!r}: its pixels fail the checksum. Run `hpa verify` with "
            "--source and --repair."
        )
    return Sample(image=replay(image, task.transform, reader.dataset.channels), status=task.status)


@lru_cache(maxsize=8)
def _open_reader(store: Path, part: str, _run: str) -> Reader:
    """Open a part once per process and run: another run may find another store at the same path."""
    return open_store(store).reader([part], threads=1)
