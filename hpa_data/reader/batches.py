"""Batches as plain NumPy arrays, and what is drawn for their samples."""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.ahead import Announcer
from hpa_data.reader.sampler import BatchSampler

T = TypeVar("T")

# Flip in Y, flip in X, transpose: each applied or not. The eight symmetries of a square; the first four of them, those
# without transposition, are the symmetries of any rectangle.
N_SYMMETRIES, N_RECTANGLE_SYMMETRIES = 8, 4

# Multipliers of SplitMix64 (Steele, Lea and Flood 2014), which maps neighboring numbers to unrelated ones. It stays,
# although `Generator.integers` would be shorter: unfinished runs of earlier versions resume bit for bit.
SPLITMIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class PendingImages(Protocol):
    """The images of a batch that is being read."""

    def result(self) -> npt.NDArray[np.uint8]:
        """Wait for the images, uint8 (B, Y, X, C)."""
        ...


class BatchReader(Protocol):
    """What batches are read from: the reader of a store, or of a folder."""

    labels: npt.NDArray[np.uint8] | None
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        """Return N."""
        ...

    def read_async(self, indices: npt.ArrayLike) -> PendingImages:
        """Start to read samples by index."""
        ...


class Batch(NamedTuple):
    """One batch of samples."""

    images: npt.NDArray[np.uint8]
    """Shape (B, Y, X, C). The memory is reused once nothing refers to it."""

    labels: npt.NDArray[np.float32] | None
    """Multi-hot, shape (B, K)."""

    indices: npt.NDArray[np.int64]
    """Shape (B,), into the reader."""


# What is drawn for the samples of a batch, beside them: from `BatchSampler.keys`, int64 (B,), the epoch, and the
# labels, float32 (B, K), or None, to an array, (B, …), and the labels, perhaps changed. It depends on nothing else,
# so that training can resume at any step.
Draw = Callable[
    [npt.NDArray[np.int64], int, npt.NDArray[np.float32] | None],
    tuple[npt.NDArray[Any], npt.NDArray[np.float32] | None],
]


def iter_batches(
    reader: BatchReader,
    sampler: BatchSampler,
    *,
    epochs: int | None = None,
    resume_at: tuple[int, int] | None = None,
    prefetch: int = 1,
) -> Iterator[Batch]:
    """Iterate over batches as NumPy arrays, for any framework or none.

    Parameters
    ----------
    reader : Reader
    sampler : BatchSampler
        With a `rank` of it, batches are the share of one of several processes.
    epochs : int, optional
        Stop before this epoch, counted from 0; never if None.
    resume_at : (int, int), optional
        Epoch and step of the first batch, by default the start of the sampler. The batches are those that an
        uninterrupted iteration would have delivered from there on.
    prefetch : int
        Batches to read ahead of the one in use, in the reader's threads. A reader may fetch the bytes of more.

    Yields
    ------
    Batch
        Each epoch holds each index exactly once over all processes, or as often as the strata of the sampler say,
        except those that its `drop_last` or `divisible_by` leave out. Delete a batch (``del``) before requesting the
        next, so that its memory is reused while it is still in the processor's cache.
    """
    first = sampler.first_step(resume_at)
    end = None if epochs is None else sampler.global_step(epochs, 0)
    steps = itertools.count(first) if end is None else range(first, end)
    announcer = Announcer(reader, sampler, end=end)
    started = (_start(reader, sampler.indices(step), announcer, step) for step in steps)
    labels = None if reader.labels is None else reader.labels.astype(np.float32)
    queue = deque(itertools.islice(started, prefetch))
    while True:
        queue.extend(itertools.islice(started, 1))
        if not queue:
            return
        indices, pending = queue.popleft()
        if isinstance(pending, Exception):
            raise pending
        yield Batch(pending.result(), None if labels is None else labels[indices], indices)
        del pending  # it would keep the memory of this batch from being reused for the next but one


def _start(
    reader: BatchReader, indices: npt.NDArray[np.int64], announcer: Announcer, step: int
) -> tuple[npt.NDArray[np.int64], PendingImages | Exception]:
    """Start to read the batch of a step. An error is kept until the batches before it are delivered."""
    try:
        pending = reader.read_async(indices)
    except (IndexError, InputError) as error:
        return indices, error
    announcer.tell(step)
    return indices, pending


def make_ahead(values: Iterator[T], n_ahead: int = 1) -> Iterator[T]:
    """Yield values while some more than the one in use have been made.

    An error is raised when the values before it have been yielded.
    """
    queue: deque[T] = deque()
    error: Exception | None = None
    while queue or error is None:
        while error is None and len(queue) <= n_ahead:
            try:
                queue.append(next(values))
            except Exception as caught:  # the end, too
                error = caught
        if queue:
            yield queue.popleft()
    if not isinstance(error, StopIteration):
        raise error


def count_symmetries(image_shape: tuple[int, int, int]) -> int:
    """Return how many flips and rotations keep the shape of an image, (Y, X, C): eight of a square, else four."""
    return N_SYMMETRIES if image_shape[0] == image_shape[1] else N_RECTANGLE_SYMMETRIES


def draw_orientations(
    indices: npt.NDArray[np.int64], *, seed: int, epoch: int, n_symmetries: int = N_SYMMETRIES
) -> npt.NDArray[np.uint8]:
    """Draw the orientation of each sample in an epoch, as a function of (seed, epoch, index) alone.

    Parameters
    ----------
    indices : array of int64, shape (B,)
        Or other numbers that tell images apart, see `BatchSampler.keys`.
    seed, epoch : int
    n_symmetries : int
        Of the images, see `count_symmetries`.

    Returns
    -------
    array of uint8, shape (B,)
        0 to 7, or to 3 for images that are not square, equally likely: 1 for a flip in Y, plus 2 for a flip in X, plus
        4 for a transpose, applied in that order.
    """
    key = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    mixed = (indices.astype(np.uint64) + np.uint64(1)) * np.uint64(SPLITMIX[0]) + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(SPLITMIX[1])
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(SPLITMIX[2])
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(n_symmetries)).astype(np.uint8)
