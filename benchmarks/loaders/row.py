"""What a row of the loader benchmark is: a way to bring the same samples into memory, batch by batch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Images = npt.NDArray[np.uint8]

# Yields the batches of one epoch, uint8 (B, Y, X, C) each; the last may be smaller.
Epoch = Callable[[int], Iterator[Images]]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every loader is given.

    Attributes
    ----------
    folder : Path
        Its own: `write` puts there what `open` reads. Exists and is empty before `write`.
    png : Path
        Holds each sample's planes, ``<id>_{red,green,blue,yellow}.png``.
    images : Path
        The same samples as one ``.npy``, uint8 (N, 512, 512, 4), in the order of `ids`.
    stores : Path
        Holds the same samples as our own stores, ``<codec>.zarr``, part ``train``.
    ids : tuple of str, length N
    batch_size : int
    threads : int
        That it may use for reading and decoding.
    seed : int
        The order of an epoch is drawn from it and the epoch's number.
    """

    folder: Path
    png: Path
    images: Path
    stores: Path
    ids: tuple[str, ...]
    batch_size: int
    threads: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Loader:
    """A row of the benchmark.

    Attributes
    ----------
    name : str
    shows : str
        What the row is meant to show.
    shuffle : str
        What order its epochs have: ``permutation`` (each order of all samples as likely as any other), or else in a few
        words, such as ``buffer of 256`` or ``none``.
    modules : tuple of str
        That must be importable; otherwise the row is shown as absent.
    open : function of Setup
        Opens what `write` wrote, once a process; returns the function that yields an epoch's batches.
    write : function of Setup, optional
        Writes the samples in its format, once, not timed.
    """

    name: str
    shows: str
    shuffle: str
    modules: tuple[str, ...]
    open: Callable[[Setup], Epoch]
    write: Callable[[Setup], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """Something that no loader can be faster than.

    Attributes
    ----------
    name, shows : str
    open : function of Setup
        Returns the function that does the work once and returns the number of samples.
    """

    name: str
    shows: str
    open: Callable[[Setup], Callable[[], int]]
