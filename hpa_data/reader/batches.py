"""Which samples make which batch, and batches as plain NumPy arrays.

What a batch holds is a function of (seed, epoch, step) alone, so that training can go on anywhere.
"""

import itertools
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError

# Images may be mirrored in Y, mirrored in X and transposed, each or not.
N_SYMMETRIES = 8

# Multipliers of SplitMix64 (Steele, Lea and Flood 2014), which turns any two different numbers into unrelated ones.
SPLITMIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class Started(Protocol):
    """A batch that is being read."""

    def result(self) -> npt.NDArray[np.uint8]:
        """Wait until it is read; uint8 (B, Y, X, C)."""
        ...


class BatchReader(Protocol):
    """What batches are made of: the reader of a store, or of a folder."""

    labels: npt.NDArray[np.uint8] | None
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        """Return N."""
        ...

    def start(self, indices: npt.ArrayLike) -> Started:
        """Begin to read samples by index."""
        ...


class Batch(NamedTuple):
    """A batch.

    Attributes
    ----------
    images : array of uint8, shape (B, Y, X, C)
        Its memory is used again once nothing refers to it.
    labels : array of float32, shape (B, K), or None
    indices : array of int64, shape (B,)
        Into the reader.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.float32] | None
    indices: npt.NDArray[np.int64]


class BatchSampler:
    """The batches of every epoch.

    Parameters
    ----------
    indices : sequence of int, length M
        The samples to deliver.
    batch_size : int
        B.
    shuffle : bool
        Permute each epoch anew, exactly and over all samples, as a function of (seed, epoch); otherwise keep the order.
    seed : int
    drop_last : bool
        Leave out an epoch's last batch if it is smaller than the others.
    multiple : int
        Cut an epoch to a multiple of so many samples, of which `batch_size` is one, too: several devices can then share
        each batch equally.

    Attributes
    ----------
    n_steps : int
        Batches an epoch.

    Raises
    ------
    ValueError
        If there are no samples, or no batch, or the batch size is below 1 or no multiple of `multiple`.
    """

    def __init__(
        self,
        indices: npt.ArrayLike,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        multiple: int = 1,
    ) -> None:
        given = np.asarray(indices)
        if (
            given.ndim != 1
            or len(given) == 0
            or not np.issubdtype(given.dtype, np.integer)
            or not _is_count(batch_size)
        ):
            raise ValueError(
                "indices must be integers, at least one, and batch_size at least 1. Received: "
                f"shape {given.shape} of dtype {given.dtype}, {batch_size=}. Pass other values (np.flatnonzero of a "
                "mask)."
            )
        if not _is_count(multiple) or batch_size % multiple:
            raise ValueError(
                f"batch_size must be a multiple of {multiple=}. Received: {batch_size=}. Take another batch."
            )
        unit = batch_size if drop_last else multiple
        if len(given) < unit:
            raise ValueError(
                f"drop_last and multiple must leave a batch. Received: {len(given)} samples, {batch_size=}, "
                f"{multiple=}. Take a smaller batch."
            )
        self._batch_size = batch_size
        self._n_samples = len(given) // unit * unit
        self.n_steps = -(-self._n_samples // batch_size)
        chosen = given.astype(np.int64)
        chosen.flags.writeable = False  # what is picked is a view

        # Two epochs, because reading ahead crosses the border between them.
        @lru_cache(maxsize=2)
        def permute_epoch(epoch: int) -> npt.NDArray[np.int64]:
            order = permute(chosen, seed=seed, epoch=epoch) if shuffle else chosen
            order.flags.writeable = False
            return order

        self._permute = permute_epoch

    def pick(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of a batch, int64 (B,); steps count from 0 on through all epochs."""
        epoch, place = divmod(step, self.n_steps)
        return self._permute(epoch)[: self._n_samples][place * self._batch_size : (place + 1) * self._batch_size]

    def count(self, epoch: int, step: int) -> int:
        """Return the number of steps before a step of an epoch; ValueError if it has no such step."""
        if epoch < 0 or not 0 <= step <= self.n_steps:
            raise ValueError(
                f"start must be an epoch, from 0, and a step of it, from 0 to {self.n_steps}. Received: {epoch}, "
                f"{step}. Pass the place that training came to."
            )
        return epoch * self.n_steps + step


def iter_batches(
    reader: BatchReader,
    order: BatchSampler,
    *,
    epochs: int | None = None,
    start: tuple[int, int] = (0, 0),
    ahead: int = 1,
) -> Iterator[Batch]:
    """Deliver batches as NumPy arrays, for any framework or none.

    Parameters
    ----------
    reader : Reader
    order : BatchSampler
    epochs : int, optional
        The epoch to end before, counted from 0; without end if None.
    start : (int, int)
        Epoch and step to begin at: what comes is what an uninterrupted stream would have delivered from there on.
    ahead : int
        Batches to read ahead of the one that is in use, in the reader's own threads.

    Yields
    ------
    Batch
        Each epoch holds each index exactly once. Let go of a batch (``del``) before asking for the next one, and fewer
        buffers take turns, which is faster the more of them fit into the processor's cache.
    """
    first = order.count(*start)
    steps = itertools.count(first) if epochs is None else range(first, order.n_steps * epochs)
    begun = (_begin(reader, indices) for indices in map(order.pick, steps))
    labels = None if reader.labels is None else reader.labels.astype(np.float32)
    waiting = deque(itertools.islice(begun, ahead))
    while True:
        waiting.extend(itertools.islice(begun, 1))
        if not waiting:
            return
        indices, started = waiting.popleft()
        if isinstance(started, Exception):
            raise started
        yield Batch(started.result(), None if labels is None else labels[indices], indices)
        del started  # else the memory of this batch could not be used for the next one but one


def _begin(reader: BatchReader, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Started | Exception]:
    """Begin a batch; what goes wrong is kept until it is its turn, so that the batches before it are delivered."""
    try:
        return indices, reader.start(indices)
    except (IndexError, InputError) as fault:
        return indices, fault


def _is_count(number: object) -> bool:
    return isinstance(number, int | np.integer) and int(number) >= 1


def permute(indices: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffle indices as a function of (seed, epoch) alone; a uniform draw over all orders."""
    return np.random.default_rng([seed, epoch]).permutation(indices)


def draw_orientations(indices: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.uint8]:
    """Draw how each sample is turned in an epoch, as a function of (seed, epoch, index) alone.

    Parameters
    ----------
    indices : array of int64, shape (B,)

    Returns
    -------
    array of uint8, shape (B,)
        0..7, each as likely: 1 for a mirror in Y, plus 2 for one in X, plus 4 for a transposition, done in that order.
    """
    key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    mixed = (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(SPLITMIX[0]) + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(SPLITMIX[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SPLITMIX[2])
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(N_SYMMETRIES)).astype(np.uint8)
