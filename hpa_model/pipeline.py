"""Batches of a store as a `tf.data` pipeline. The only module that imports TensorFlow."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf


class BatchReader(Protocol):
    """What the pipeline asks of a reader."""

    labels: npt.NDArray[np.uint8] | None
    image_shape: tuple[int, int, int]

    def __len__(self) -> int:
        """Return N."""
        ...

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Read samples by index, uint8 (B, Y, X, C)."""
        ...


def dataset(  # noqa: PLR0917 - the project's public face, called by position from outside
    reader: BatchReader,
    indices: npt.ArrayLike,
    batch_size: int = 20,
    shuffle: bool = True,
    seed: int = 0,
    epochs: int | None = None,
) -> tf.data.Dataset:
    """Stream samples in batches, each pairing images with their labels.

    Parameters
    ----------
    reader : Reader
        Of a store, or of a folder.
    indices : sequence of int, length M
        The samples to stream.
    batch_size : int
        B; the last batch of an epoch may be smaller.
    shuffle : bool
        Permute each epoch anew, exactly and over all samples, as a function of (seed, epoch); otherwise keep the order.
    seed : int
    epochs : int, optional
        Without end if None.

    Returns
    -------
    tf.data.Dataset
        Of (uint8 (B, Y, X, C), float32 (B, K)), or of images alone if the reader has no labels. Each epoch holds each
        index exactly once. One call into Python a batch, one batch read ahead of the one in use and one being read.

    Raises
    ------
    ValueError
        If there are no samples or the batch size is below 1.
    """
    given = np.asarray(indices)
    if len(given) == 0 or not np.issubdtype(given.dtype, np.integer) or batch_size < 1:
        raise ValueError(
            "indices must be integers, at least one, and batch_size at least 1. Received: "
            f"{len(given)} of dtype {given.dtype}, {batch_size=}. Pass other values (np.flatnonzero of a mask)."
        )
    chosen = given.astype(np.int64)
    steps = -(-len(chosen) // batch_size)
    labels = None if reader.labels is None else reader.labels.astype(np.float32)

    # Two epochs, because reading ahead crosses the border between them.
    @lru_cache(maxsize=2)
    def order(epoch: int) -> npt.NDArray[np.int64]:
        return permute(chosen, seed=seed, epoch=epoch) if shuffle else chosen

    def read(step: Any) -> tuple[npt.NDArray[Any], ...]:
        epoch, place = divmod(int(step), steps)
        batch = order(epoch)[place * batch_size : (place + 1) * batch_size]
        images = reader.read(batch)
        return (images,) if labels is None else (images, labels[batch])

    def fetch(step: tf.Tensor) -> Any:
        kinds = (tf.uint8,) if labels is None else (tf.uint8, tf.float32)
        tensors = tf.numpy_function(read, [step], kinds)
        tensors[0].set_shape((None, *reader.image_shape))
        if labels is None:
            return tensors[0]
        tensors[1].set_shape((None, labels.shape[1]))
        return tuple(tensors)

    numbers = tf.data.Dataset.counter() if epochs is None else tf.data.Dataset.range(steps * epochs)
    return numbers.map(fetch).prefetch(1)


class _Remembering:
    """A reader that remembers what went wrong in it: TensorFlow hands on the text of an exception alone."""

    def __init__(self, reader: BatchReader) -> None:
        self.labels = reader.labels
        self.image_shape = reader.image_shape
        self.fault: Exception | None = None
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        try:
            return self._reader.read(indices)
        except Exception as fault:
            self.fault = fault
            raise


@contextmanager
def readable_faults(reader: BatchReader) -> Iterator[BatchReader]:
    """Let a fault of a reader come through TensorFlow as the exception that it was.

    Build the pipeline over the reader that is yielded; run it inside the ``with``.
    """
    remembering = _Remembering(reader)
    try:
        yield remembering
    except tf.errors.OpError:
        if remembering.fault is not None:
            raise remembering.fault from None
        raise


def permute(indices: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Shuffle indices as a function of (seed, epoch) alone; a uniform draw over all orders."""
    return np.random.default_rng([seed, epoch]).permutation(indices)
