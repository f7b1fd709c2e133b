"""Batches of a store as a `tf.data` pipeline. The only module of the trainer that imports TensorFlow."""

import atexit
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchReader, BatchSampler, Started, draw_orientations

# TensorFlow asks for the next batch some microseconds after it got one, if it wants one.
QUIET_S = 0.02
# Somebody who goes on asking in a thread of their own must not keep Python from ending.
MAX_WAIT_S = 60.0


def dataset(  # noqa: PLR0917 - the project's public face, called by position from outside
    reader: BatchReader,
    indices: npt.ArrayLike,
    batch_size: int = 20,
    shuffle: bool = True,
    seed: int = 0,
    epochs: int | None = None,
    *,
    start: tuple[int, int] = (0, 0),
    drop_last: bool = False,
    multiple: int = 1,
    symmetries: bool = False,
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
        The epoch to end before, counted from 0; without end if None.
    start : (int, int)
        Epoch and step to begin at: what comes is what an uninterrupted stream would have delivered from there on.
    drop_last : bool
        Leave out an epoch's last batch if it is smaller than the others.
    multiple : int
        Cut an epoch to a multiple of so many samples, for devices that share each batch.
    symmetries : bool
        Deliver with the images how each is to be turned, for `nets.symmetry.turn` to do on the device; a function of
        (seed, epoch, index).

    Returns
    -------
    tf.data.Dataset
        Of (uint8 (B, Y, X, C), float32 (B, K)), or of images alone if the reader has no labels. With `symmetries`,
        images are a pair: uint8 (B, Y, X, C) and uint8 (B,). Each epoch holds each index exactly once, except what
        `drop_last` or `multiple` leave out: other samples in each epoch that is shuffled. Images are not copied on
        their way. One call into Python a batch; one batch is ready and one being read, ahead of the one in use.

    Raises
    ------
    ValueError
        If there are no samples, no batch, or the batch size is below 1.
    """
    order = BatchSampler(indices, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, multiple=multiple)
    first = order.count(*start)
    last = None if epochs is None else order.n_steps * epochs
    labels = None if reader.labels is None else reader.labels.astype(np.float32)
    begun: dict[int, Started] = {}

    def read(number: Any) -> tuple[npt.NDArray[Any], ...]:
        with _CALLS.enter():
            return read_step(int(number))

    def read_step(step: int) -> tuple[npt.NDArray[Any], ...]:
        started = begun.pop(step, None) or reader.start(order.pick(step))
        begun.clear()  # of an iterator that was given up
        if last is None or step + 1 < last:
            with suppress(IndexError, InputError):  # which come again when it is that batch's turn
                begun[step + 1] = reader.start(order.pick(step + 1))
        chosen = order.pick(step)
        delivered: tuple[npt.NDArray[Any], ...] = (started.result(),)
        if symmetries:
            delivered += (draw_orientations(chosen, seed=seed, epoch=step // order.n_steps),)
        return delivered if labels is None else (*delivered, labels[chosen])

    def fetch(number: tf.Tensor) -> Any:
        kinds = (tf.uint8,) + (tf.uint8,) * symmetries + (tf.float32,) * (labels is not None)
        tensors = list(tf.numpy_function(read, [number], kinds))
        n_images = batch_size if drop_last else None
        tensors[0].set_shape((n_images, *reader.image_shape))
        images: Any = tensors.pop(0)
        if symmetries:
            tensors[0].set_shape((n_images,))
            images = (images, tensors.pop(0))
        if labels is None:
            return images
        tensors[0].set_shape((n_images, labels.shape[1]))
        return images, tensors[0]

    numbers = tf.data.Dataset.counter(first) if last is None else tf.data.Dataset.range(first, max(first, last))
    options = tf.data.Options()
    # Nothing here is to be tuned, and the thread that would do it sleeps for up to a minute before a pipeline can end.
    options.autotune.enabled = False
    # The reader's threads do the work; more of TensorFlow's would only get in their way.
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return numbers.map(fetch).prefetch(1).with_options(options)


class _Calls:
    """Calls of TensorFlow's threads into Python. None may be under way when Python ends.

    Python would stop its thread for ever, and TensorFlow, which lets go of its pipelines after that, wait for it.
    """

    def __init__(self) -> None:
        # What several threads do to a list at once is done one after the other.
        self._under_way: list[None] = []
        self._ended_s = -math.inf

    @contextmanager
    def enter(self) -> Iterator[None]:
        self._under_way.append(None)
        try:
            yield
        finally:
            self._ended_s = time.monotonic()
            self._under_way.pop()

    def wait(self) -> None:
        """Wait until TensorFlow has read ahead as far as it wants to, and asks for nothing more."""
        latest_s = time.monotonic() + MAX_WAIT_S
        while self._under_way or time.monotonic() < self._ended_s + QUIET_S:
            if time.monotonic() > latest_s:
                break
            time.sleep(QUIET_S / 4)


_CALLS = _Calls()
atexit.register(_CALLS.wait)


def png_dataset(paths: list[list[str]], batch_size: int) -> tf.data.Dataset:
    """Read PNG planes as TensorFlow's documentation does it: what a store is held against.

    Parameters
    ----------
    paths : list of lists of str
        Of each sample, a file a channel.
    batch_size : int

    Returns
    -------
    tf.data.Dataset
        Of uint8 (B, Y, X, C), shuffled over all samples, one epoch.
    """

    def read(files: tf.Tensor) -> tf.Tensor:
        planes = [tf.io.decode_png(tf.io.read_file(files[place]), channels=1) for place in range(len(paths[0]))]
        return tf.concat(planes, axis=-1)  # (Y, X, C)

    samples = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    return samples.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def list_gpus() -> list[str]:
    """List the names of the GPUs that TensorFlow sees."""
    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in found]


def pick_devices(devices: int) -> list[str]:
    """Name so many GPUs, or logical CPUs where there is none; InputError if there are not as many."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) < devices:
        raise InputError(f"devices must not exceed those there are. Received: {devices} of {len(found)}. Lower it.")
    return [device.name for device in found[:devices]]


def mirror(devices: int) -> AbstractContextManager[Any]:
    """Let what is built inside be mirrored on several devices, see `pick_devices`."""
    return _pick_strategy(tuple(pick_devices(devices))).scope()


@lru_cache
def _pick_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Make a strategy once for its devices: the sums of a second one are mixed up with those of the first."""
    return tf.distribute.MirroredStrategy(devices)


def make_deterministic() -> None:
    """Let TensorFlow's sums round the same way each time, for the rest of the process."""
    tf.config.experimental.enable_op_determinism()


class _Remembering:
    """A reader that remembers what went wrong in it: TensorFlow hands on the text of an exception alone."""

    def __init__(self, reader: BatchReader) -> None:
        self.labels = reader.labels
        self.image_shape = reader.image_shape
        self.fault: Exception | None = None
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader)

    def start(self, indices: npt.ArrayLike) -> Started:
        with self.remember():
            return _RememberingBatch(self, self._reader.start(indices))

    @contextmanager
    def remember(self) -> Iterator[None]:
        try:
            yield
        except Exception as fault:
            self.fault = fault
            raise


class _RememberingBatch:
    def __init__(self, reader: _Remembering, started: Started) -> None:
        self._reader = reader
        self._started = started

    def result(self) -> npt.NDArray[np.uint8]:
        with self._reader.remember():
            return self._started.result()


@contextmanager
def reraise_reader_errors(reader: BatchReader) -> Iterator[BatchReader]:
    """Let a fault of a reader come through TensorFlow as the exception that it was.

    Build the pipeline over the reader that is yielded; run it inside the ``with``.
    """
    remembering = _Remembering(reader)
    try:
        yield remembering
    except tf.errors.OpError as error:
        # What went wrong in reading ahead of a step that failed for a reason of its own is not that reason.
        if remembering.fault is not None and str(remembering.fault) in str(error):
            raise remembering.fault from None
        raise
