"""Which samples make up which batch, and batches as plain NumPy arrays.

The contents of a batch are a function of (seed, epoch, step) alone, so that training can resume at any step.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.strata import REPEAT, Rotation, Strata

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


class BatchSampler:
    """The indices of each batch of each epoch.

    Parameters
    ----------
    indices : sequence of int, length M
        The samples to deliver.
    batch_size : int
        B.
    shuffle : bool
        Permute each epoch anew, over all samples, as a function of (seed, epoch); otherwise keep the given order.
    seed : int
    drop_last : bool
        Leave out the last batch of an epoch if it is smaller than the others.
    divisible_by : int
        Shorten each epoch so that the size of every batch is divisible by this number, so that several devices can
        share a batch equally. `batch_size` must be divisible by it.
    min_last : int
        Fewest samples of a last batch: fewer join the batch before it, which is then larger than the others.
    strata : Strata, optional
        Of these samples. An epoch keeps its length, and each stratum gives its number of images, exactly; by default
        each sample is delivered once. It needs `shuffle`.

    Attributes
    ----------
    n_steps : int
        Batches per epoch.
    n_images : int
        Images per epoch.

    Raises
    ------
    ValueError
        If there are no samples, if an epoch would have no batch, if `batch_size` is below 1 or not divisible by
        `divisible_by`, or if `strata` are of other samples or too many for an epoch.
    """

    def __init__(
        self,
        indices: npt.ArrayLike,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        divisible_by: int = 1,
        min_last: int = 1,
        strata: Strata | None = None,
    ) -> None:
        given = np.asarray(indices)
        if given.ndim != 1 or len(given) == 0 or not np.issubdtype(given.dtype, np.integer):
            raise ValueError(
                "indices must be a sequence of at least one integer. Received: an array of shape "
                f"{given.shape}, dtype {given.dtype}. Pass indices (np.flatnonzero of a mask)."
            )
        if not _is_positive(batch_size):
            raise ValueError(
                f"batch_size must be an integer of at least 1. Received: {batch_size=}. Pass a larger one."
            )
        if not _is_positive(divisible_by) or batch_size % divisible_by:
            raise ValueError(
                f"batch_size must be divisible by {divisible_by}. Received: {batch_size=}. Pass another batch_size."
            )
        unit = batch_size if drop_last else divisible_by
        if len(given) < unit:
            raise ValueError(
                f"indices must fill at least one batch of {unit}. Received: {len(given)} samples. Pass a smaller "
                "batch_size."
            )
        self._batch_size = batch_size
        self.n_images = len(given) // unit * unit
        self.n_steps = count_batches(self.n_images, batch_size, min_last=min_last)
        chosen = given.astype(np.int64)
        chosen.flags.writeable = False  # `indices` returns views of it

        rotation = None
        if strata is not None:
            if not shuffle or len(strata.of) != len(given):
                raise ValueError(
                    f"strata must be of the {len(given)} samples, with shuffle. Received: strata of {len(strata.of)} "
                    f"samples, {shuffle=}. Make them for the same indices."
                )
            rotation = Rotation(chosen, strata, strata.count(self.n_images), seed=seed)

        # Two epochs, because prefetching crosses the border between them.
        @lru_cache(maxsize=2)
        def permute_epoch(epoch: int) -> npt.NDArray[np.int64]:
            drawn = chosen if rotation is None else rotation.draw(epoch)
            order = permute(drawn, seed=seed, epoch=epoch) if shuffle else drawn
            order.flags.writeable = False
            return order

        self._permute = permute_epoch
        self._has_strata = rotation is not None

    def indices(self, step: int) -> npt.NDArray[np.int64]:
        """Return the indices of a batch, int64 (B,), by its global step: one that counts on through all epochs."""
        keys = self.keys(step)
        return keys % REPEAT if self._has_strata else keys

    def keys(self, step: int) -> npt.NDArray[np.int64]:
        """Return the number by which to draw what is random of each image of a batch in its epoch, int64 (B,).

        It is the index of the sample; with strata, another number each time that the sample is drawn again in the same
        epoch, so that its repeats differ.
        """
        epoch, position = divmod(step, self.n_steps)
        first = position * self._batch_size
        end = self.n_images if position == self.n_steps - 1 else first + self._batch_size
        return self._permute(epoch)[first:end]

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the indices of all images of an epoch, int64 (n_images,), in the order of their batches."""
        keys = self._permute(epoch)[: self.n_images]
        return keys % REPEAT if self._has_strata else keys

    def global_step(self, epoch: int, step: int) -> int:
        """Return the number of steps before a step of an epoch; ValueError if the epoch has no such step."""
        if epoch < 0 or not 0 <= step <= self.n_steps:
            raise ValueError(
                f"resume_at must be an epoch, at least 0, and a step of it, from 0 to {self.n_steps}. Received: "
                f"resume_at={(epoch, step)}. Pass the epoch and step that training stopped at."
            )
        return epoch * self.n_steps + step


def count_batches(n_samples: int, batch_size: int, *, min_last: int = 1) -> int:
    """Return the number of batches of at least one sample; a last one of fewer than `min_last` joins the one before."""
    n_full, n_last = divmod(n_samples, batch_size)
    return max(n_full + (n_last >= max(min_last, 1)), 1)


def iter_batches(
    reader: BatchReader,
    sampler: BatchSampler,
    *,
    epochs: int | None = None,
    resume_at: tuple[int, int] = (0, 0),
    prefetch: int = 1,
) -> Iterator[Batch]:
    """Iterate over batches as NumPy arrays, for any framework or none.

    Parameters
    ----------
    reader : Reader
    sampler : BatchSampler
    epochs : int, optional
        Stop before this epoch, counted from 0; never if None.
    resume_at : (int, int)
        Epoch and step of the first batch. The batches are those that an uninterrupted iteration would have delivered
        from there on.
    prefetch : int
        Batches to read ahead of the one in use, in the reader's threads.

    Yields
    ------
    Batch
        Each epoch holds each index exactly once, or as often as the strata of the sampler say. Delete a batch
        (``del``) before requesting the next, so that its memory is reused while it is still in the processor's cache.
    """
    first = sampler.global_step(*resume_at)
    steps = itertools.count(first) if epochs is None else range(first, sampler.n_steps * epochs)
    started = (_start(reader, indices) for indices in map(sampler.indices, steps))
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
    reader: BatchReader, indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], PendingImages | Exception]:
    """Start to read a batch. An error is kept until the batches before it are delivered."""
    try:
        return indices, reader.read_async(indices)
    except (IndexError, InputError) as error:
        return indices, error


def _is_positive(number: object) -> bool:
    return isinstance(number, int | np.integer) and int(number) >= 1


def permute(indices: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffle indices as a function of (seed, epoch) alone; every order is equally likely."""
    return np.random.default_rng([seed, epoch]).permutation(indices)


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
