"""Batches for whatever Keras runs on: `tf.data` under TensorFlow, a plain generator under any other backend."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchReader, BatchSampler, draw_orientations, iter_batches

JAX_FLAG = "--xla_gpu_deterministic_ops=true"


def on_tensorflow() -> bool:
    """Tell whether Keras runs on TensorFlow, which is not imported otherwise."""
    return str(keras.backend.backend()) == "tensorflow"


def feed(
    reader: BatchReader,
    indices: npt.ArrayLike,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epochs: int | None = None,
    start: tuple[int, int] = (0, 0),
    multiple: int = 1,
    symmetries: bool = False,
) -> Any:
    """Deliver the batches that `pipeline.dataset` would, in a form that the backend takes.

    Returns
    -------
    tf.data.Dataset or generator
        Of images (or a pair of images and turns) and labels, or of images alone if the reader has no labels.
    """
    if on_tensorflow():
        from hpa_model.pipeline import dataset

        return dataset(
            *(reader, indices, batch_size, shuffle, seed, epochs), start=start, multiple=multiple, symmetries=symmetries
        )
    order = BatchSampler(indices, batch_size, shuffle=shuffle, seed=seed, multiple=multiple)
    return _generate(reader, order, seed, epochs, start, symmetries)


def _generate(  # noqa: PLR0917 - called in one place
    reader: BatchReader, order: BatchSampler, seed: int, epochs: int | None, start: tuple[int, int], symmetries: bool
) -> Iterator[Any]:
    step = order.count(*start)
    for batch in iter_batches(reader, order, epochs=epochs, start=start):
        images: Any = batch.images
        if symmetries:
            images = (images, draw_orientations(batch.indices, seed=seed, epoch=step // order.n_steps))
        yield images if batch.labels is None else (images, batch.labels)
        step += 1
        del batch, images


def reraise_reader_errors(reader: BatchReader) -> AbstractContextManager[BatchReader]:
    """Let a fault of a reader come through the backend as the exception that it was; see `pipeline`."""
    if not on_tensorflow():
        return nullcontext(reader)
    from hpa_model import pipeline

    return pipeline.reraise_reader_errors(reader)


def check_devices(devices: int) -> None:
    """Refuse to train on more than one device where there are not as many, or the backend is not TensorFlow."""
    if devices == 1:
        return
    if not on_tensorflow():
        raise InputError(
            f"devices must be 1 unless Keras runs on TensorFlow. Received: devices={devices} on "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    from hpa_model.pipeline import pick_devices

    pick_devices(devices)


def device_scope(devices: int) -> AbstractContextManager[Any]:
    """Let what is built inside be shared by several devices of this machine, each with its part of a batch."""
    if devices == 1:
        return nullcontext()
    from hpa_model.pipeline import mirror

    return mirror(devices)


def make_deterministic() -> None:
    """Let the backend's sums round the same way each time, for the rest of the process.

    Raises
    ------
    InputError
        If only the environment can see to that, and it does not.
    """
    if on_tensorflow():
        from hpa_model import pipeline

        pipeline.make_deterministic()
        return
    backend = str(keras.backend.backend())
    if backend == "jax":
        import jax

        # On CPUs, XLA's sums do not depend on when its threads come.
        if jax.default_backend() == "cpu" or JAX_FLAG in os.environ.get("XLA_FLAGS", ""):
            return
        raise InputError(
            f"deterministic must be asked of XLA itself on a GPU. Received: no {JAX_FLAG}. Set XLA_FLAGS={JAX_FLAG} in "
            "the environment."
        )
    raise InputError(
        f"deterministic must be left out unless Keras runs on TensorFlow or JAX. Received: {backend}. Set "
        "KERAS_BACKEND=tensorflow."
    )
