"""A store's batches as a `tf.data` pipeline. The only module of `hpa_model` that imports TensorFlow."""

import atexit
import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpa_data.errors import InputError
from hpa_data.reader.ahead import Ahead, AheadReader, Announcer
from hpa_data.reader.batches import BatchReader, Draw, PendingImages
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata

# After a batch, TensorFlow requests the next one within microseconds, if at all.
QUIET_S = 0.02
# A thread that never stops requesting batches must not keep Python from exiting.
MAX_WAIT_S = 60.0


def dataset(  # noqa: PLR0917 - a public function that callers call by position
    reader: BatchReader,
    indices: npt.ArrayLike,
    batch_size: int = 20,
    shuffle: bool = True,
    seed: int = 0,
    epochs: int | None = None,
    *,
    resume_at: tuple[int, int] | None = None,
    drop_last: bool = False,
    divisible_by: int = 1,
    min_last: int = 1,
    strata: Strata | None = None,
    rank: int = 0,
    world_size: int = 1,
    start: tuple[int, int] = (0, 0),
    draw: Draw | None = None,
) -> tf.data.Dataset:
    """Make a dataset of batches, each pairing images with their labels.

    Parameters
    ----------
    reader : Reader
        Of a store, or of a folder.
    indices : sequence of int, length M
        The samples to deliver.
    batch_size : int
        B; the last batch of an epoch may be smaller, or larger by up to `min_last` - 1.
    shuffle : bool
        Permute each epoch anew, over all samples, as a function of (seed, epoch); otherwise keep the given order.
    seed : int
    epochs : int, optional
        Stop before this epoch, counted from 0; never if None.
    resume_at : (int, int), optional
        Epoch and step of the first batch, by default `start`. The batches are those that an uninterrupted iteration
        would have delivered from there on.
    drop_last : bool
        Leave out the last batch of an epoch if it is smaller than the others.
    divisible_by : int
        Shorten each epoch so that the size of every batch is divisible by this number, for devices that share a batch.
    min_last : int
        Fewest images of a last batch: fewer join the batch before it.
    strata : Strata, optional
        How many images of an epoch come from which samples; by default each sample is delivered once.
    rank, world_size : int
        Which of how many processes this is: batches are its shares of those of one process.
    start : (int, int)
        An epoch, and how many of its images all processes together have delivered before. These three are as in
        `hpa_data.reader.BatchSampler`.
    draw : Draw, optional
        What it draws for the samples of a batch is delivered with their images, such as how the device shall change
        them; their labels are those that it returns.

    Returns
    -------
    tf.data.Dataset
        Of (uint8 (B, Y, X, C), float32 (B, K)), or of images alone if the reader has no labels. With `draw`, the
        images are a pair: uint8 (B, Y, X, C) and what was drawn, (B, …). Without `strata`, each epoch holds each index
        exactly once over all processes, except those that `drop_last` or `divisible_by` leave out, other samples in
        each shuffled epoch. Images are not copied. There is one call into Python per batch; one batch is ready and one
        being read ahead of the one in use.

    Raises
    ------
    ValueError
        If there are no samples, if an epoch would have no batch, or if `batch_size` is below 1 or not divisible by
        `divisible_by`.
    """
    sampler = BatchSampler(
        indices,
        batch_size,
        shuffle=shuffle,
        seed=seed,
        drop_last=drop_last,
        divisible_by=divisible_by,
        min_last=min_last,
        strata=strata,
        rank=rank,
        world_size=world_size,
        start=start,
    )
    first = sampler.first_step(resume_at)
    end = None if epochs is None else sampler.global_step(epochs, 0)
    source = _BatchSource(reader, sampler, end=end, draw=draw)
    n_images = batch_size // world_size if drop_last else None
    specs = [tf.TensorSpec((n_images, *reader.image_shape), tf.uint8)]
    if draw is not None:
        first_labels = None if source.labels is None else source.labels[:1]
        example, _ = draw(sampler.indices(first)[:1], 0, first_labels)
        specs.append(tf.TensorSpec((n_images, *example.shape[1:]), example.dtype))
    if source.labels is not None:
        specs.append(tf.TensorSpec((n_images, source.labels.shape[1]), tf.float32))

    def fetch(step: tf.Tensor) -> Any:
        tensors = list(tf.numpy_function(source.read, [step], [spec.dtype for spec in specs]))
        for tensor, spec in zip(tensors, specs, strict=True):
            tensor.set_shape(spec.shape)
        labels = [] if source.labels is None else [tensors.pop()]
        images = tensors[0] if draw is None else tuple(tensors)
        return (images, *labels) if labels else images

    steps = tf.data.Dataset.counter(first) if end is None else tf.data.Dataset.range(first, max(first, end))
    options = tf.data.Options()
    # There is nothing to tune, and the thread that would tune sleeps for up to a minute before a pipeline can end.
    options.autotune.enabled = False
    # The reader's threads do the work; more of TensorFlow's would only compete with them.
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return steps.map(fetch).prefetch(1).with_options(options)


class _BatchSource:
    """Reads the batches of one dataset, one ahead of the one that TensorFlow requests.

    `end` is the step to stop before; what `draw` draws is delivered, too, unless it is None.
    """

    def __init__(self, reader: BatchReader, sampler: BatchSampler, *, end: int | None, draw: Draw | None) -> None:
        self.labels = None if reader.labels is None else reader.labels.astype(np.float32)
        self._reader = reader
        self._sampler = sampler
        self._end = end
        self._draw = draw
        self._pending: dict[int, PendingImages] = {}
        self._announcer = Announcer(reader, sampler, end=end)

    def read(self, step: Any) -> tuple[npt.NDArray[Any], ...]:
        """Return images, what is drawn, and labels, those that there are. Called in TensorFlow's threads."""
        with _ACTIVE_CALLS:
            return self._read(int(step))

    def _read(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        indices = self._sampler.indices(step)
        pending = self._pending.pop(step, None) or self._reader.read_async(indices)
        self._pending.clear()  # of an abandoned iterator
        if self._end is None or step + 1 < self._end:
            with suppress(IndexError, InputError):  # raised again when that batch is requested
                self._pending[step + 1] = self._reader.read_async(self._sampler.indices(step + 1))
                self._announcer.tell(step + 1)
        arrays: tuple[npt.NDArray[Any], ...] = (pending.result(),)
        labels = None if self.labels is None else self.labels[indices]
        if self._draw is not None:
            drawn, labels = self._draw(self._sampler.keys(step), self._sampler.epoch_of(step), labels)
            arrays += (drawn,)
        return arrays if labels is None else (*arrays, labels)


class _ActiveCalls:
    """Counts the calls of TensorFlow's threads into Python that are in progress: a context manager around each.

    Python must not exit during one: it would freeze the thread, and TensorFlow, which releases its pipelines later,
    would wait for it forever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_active = 0
        self._ended_s = -math.inf

    def __enter__(self) -> None:
        with self._lock:
            self._n_active += 1

    def __exit__(self, *_: object) -> None:
        self._ended_s = time.monotonic()
        with self._lock:
            self._n_active -= 1

    def wait(self) -> None:
        """Wait until TensorFlow has prefetched all that it wants to and requests nothing more."""
        latest_s = time.monotonic() + MAX_WAIT_S
        while self._n_active or time.monotonic() < self._ended_s + QUIET_S:
            if time.monotonic() > latest_s:
                break
            time.sleep(QUIET_S / 4)


_ACTIVE_CALLS = _ActiveCalls()
atexit.register(_ACTIVE_CALLS.wait)


def png_dataset(paths: list[list[str]], batch_size: int) -> tf.data.Dataset:
    """Read PNG planes as TensorFlow's documentation recommends: the baseline that a store is compared with.

    Parameters
    ----------
    paths : list of lists of str
        For each sample, the file of each channel.
    batch_size : int

    Returns
    -------
    tf.data.Dataset
        Of uint8 (B, Y, X, C), shuffled over all samples, one epoch.
    """

    def read(files: tf.Tensor) -> tf.Tensor:
        planes = [tf.io.decode_png(tf.io.read_file(files[channel]), channels=1) for channel in range(len(paths[0]))]
        return tf.concat(planes, axis=-1)  # (Y, X, C)

    samples = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths))
    return samples.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def list_gpus() -> list[str]:
    """List the names of the GPUs that TensorFlow sees."""
    found = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in found]


def select_devices(devices: int) -> list[str]:
    """Return the names of this many GPUs, or of logical CPUs if there is no GPU; InputError if there are too few."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(found) < devices:
        raise InputError(
            f"devices must be at most {len(found)}, the number of devices of this machine. Received: "
            f"devices={devices}. Lower it."
        )
    return [device.name for device in found[:devices]]


def mirrored_scope(devices: int) -> AbstractContextManager[Any]:
    """Mirror the variables that are created in this scope on several devices, see `select_devices`."""
    return _get_strategy(tuple(select_devices(devices))).scope()


def sum_over_devices(values: Any) -> Any:
    """Add up a tensor, or each of a list, over the devices that share a step; unchanged elsewhere. Differentiable."""
    replicas = tf.distribute.get_replica_context()
    if replicas is None or replicas.num_replicas_in_sync == 1:
        return values
    return replicas.all_reduce(tf.distribute.ReduceOp.SUM, values)


@lru_cache
def _get_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Make one strategy for each choice of devices: a second one would mix its sums with those of the first."""
    return tf.distribute.MirroredStrategy(devices)


def pull_back(model: Any, first: Any, second: Any, seeds: Any) -> tuple[list[Any], Any]:
    """Compute a network, and gradients of its first output by its second input; see `backend.make_pullback`."""
    point = tf.convert_to_tensor(second)
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(point)
        outputs = model([tf.convert_to_tensor(first), point], training=False)
    return outputs, tf.stack([tape.gradient(outputs[0], point, output_gradients=seed) for seed in tf.unstack(seeds)])


def make_deterministic() -> None:
    """Make TensorFlow's sums round the same way in every run, for the rest of the process."""
    tf.config.experimental.enable_op_determinism()


class _RecordingReader:
    """A reader that keeps its last error: TensorFlow passes on only the text of an exception."""

    def __init__(self, reader: BatchReader) -> None:
        self.labels = reader.labels
        self.image_shape = reader.image_shape
        self.error: Exception | None = None
        self._reader = reader

    def __len__(self) -> int:
        return len(self._reader)

    def read_async(self, indices: npt.ArrayLike) -> PendingImages:
        with self.record():
            return _RecordingBatch(self, self._reader.read_async(indices))

    def look_ahead(self) -> Ahead | None:
        return self._reader.look_ahead() if isinstance(self._reader, AheadReader) else None

    @contextmanager
    def record(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = error
            raise


class _RecordingBatch:
    def __init__(self, reader: _RecordingReader, pending: PendingImages) -> None:
        self._reader = reader
        self._pending = pending

    def result(self) -> npt.NDArray[np.uint8]:
        with self._reader.record():
            return self._pending.result()


@contextmanager
def reraise_reader_errors(reader: BatchReader) -> Iterator[BatchReader]:
    """Raise an error of a reader as it was, instead of TensorFlow's error with its text.

    Build the pipeline over the reader that is yielded, and run it inside the ``with``.
    """
    recording = _RecordingReader(reader)
    try:
        yield recording
    except tf.errors.OpError as error:
        # If the step failed for another reason, an error in prefetching is not the one to raise.
        if recording.error is not None and str(recording.error) in str(error):
            raise recording.error from None
        raise
