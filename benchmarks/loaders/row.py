"""The rows of the loader benchmark: ways to read the same samples into memory, batch by batch, and their limits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

# Yields the batches of an epoch, given its number: uint8 (B, Y, X, C) each; the last may be smaller.
Epoch = Callable[[int], Iterator[Images]]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every row is given."""

    folder: Path
    """The row's folder, empty at first: `write` writes there what `open` reads."""

    png: Path
    """Folder of each sample's planes, ``<id>_{red,green,blue,yellow}.png``."""

    images: Path
    """The same samples as one ``.npy`` file, uint8 (N, 512, 512, 4), in the order of `ids`."""

    stores: Path
    """Folder of the same samples as our stores, ``<codec>.zarr``, part ``train``."""

    ids: tuple[str, ...]
    batch_size: int
    threads: int
    """For reading and decoding."""

    seed: int
    """The order of an epoch is a function of it and the epoch's number."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A way to read batches."""

    name: str
    description: str
    """What the row is meant to show."""

    shuffle: str = "permutation"
    """The order of an epoch: ``permutation`` (all orders of all samples equally likely), or else in a few words."""

    modules: tuple[str, ...]
    """Must be installed, otherwise the row is shown as absent."""

    open: Callable[[Setup], Epoch]
    """Open what `write` wrote, once per process; return the function that yields the batches of an epoch."""

    write: Callable[[Setup], None] | None = None
    """Write the samples in the loader's format; not timed."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Work that no loader can avoid."""

    name: str
    description: str
    """What the row is meant to show."""

    open: Callable[[Setup], Callable[[], int]]
    """Return the function that does the work once and returns the number of samples."""
