"""What differs between the backends of Keras: batches, devices, determinism, gradients."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.metadata import version
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.errors import InputError, Notice
from hpa_data.reader.batches import BatchReader, Draw, iter_batches, make_ahead
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata

JAX_FLAG = "--xla_gpu_deterministic_ops=true"

BACKENDS = ("tensorflow", "jax")
# Settings of Keras that would change a result, with the values that all networks here are made for. The user's file
# ~/.keras/keras.json and variables may say otherwise.
KERAS_SETTINGS: dict[str, Any] = {
    **{"floatx": "float32", "epsilon": 1e-7, "image_data_format": "channels_last"},
    **{"max_epochs": None, "max_steps_per_epoch": None},
}
_overridden: dict[str, Any] = {}


def settle_keras() -> None:
    """Give Keras the settings that networks are made for, whatever a file or a variable says.

    Raises
    ------
    InputError
        If its backend is neither TensorFlow nor JAX.
    """
    backend = str(keras.backend.backend())
    if backend not in BACKENDS:
        raise InputError(f"KERAS_BACKEND must be {' or '.join(BACKENDS)}. Received: {backend}. Set one of them.")
    for name, value in KERAS_SETTINGS.items():
        # Versions of Keras before 3.12 have no limits of epochs and steps.
        found = getattr(keras.config, name, lambda: None)()
        if found != value:
            _overridden[name] = found
            if name == "floatx" and keras.config.dtype_policy().name == found:
                keras.config.set_dtype_policy(value)
            getattr(keras.config, f"set_{name}")(value)


def list_overridden() -> list[Notice]:
    """Tell which settings of Keras `settle_keras` has changed in this process."""
    if not _overridden:
        return []
    return [
        Notice(
            what="settings of Keras, from keras.json or a variable KERAS_…, are not used, as they would change results",
            n=len(_overridden),
            unit="setting",
            examples=tuple(f"{name}={value} ({KERAS_SETTINGS[name]} is used)" for name, value in _overridden.items()),
            remedy="Use --precision for another arithmetic, and --epochs for fewer epochs.",
        )
    ]


def on_tensorflow() -> bool:
    """Return whether Keras runs on TensorFlow, which is imported only then."""
    return str(keras.backend.backend()) == "tensorflow"


def feed(
    reader: BatchReader,
    indices: npt.ArrayLike,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: int = 0,
    epochs: int | None = None,
    resume_at: tuple[int, int] = (0, 0),
    divisible_by: int = 1,
    min_last: int = 1,
    strata: Strata | None = None,
    draw: Draw | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Any:
    """Make the batches that `pipeline.dataset` makes, in a form that the backend accepts.

    With several processes (on JAX), they are the shares of this one.

    Returns
    -------
    tf.data.Dataset or generator
        Of images (or pairs of images and what `draw` draws) and labels, or of images alone if the reader has no labels.
    """
    if on_tensorflow():
        from hpa_model.pipeline import dataset

        return dataset(
            *(reader, indices, batch_size, shuffle, seed, epochs),
            resume_at=resume_at,
            divisible_by=divisible_by,
            min_last=min_last,
            strata=strata,
            draw=draw,
        )
    sampler = BatchSampler(
        indices,
        batch_size,
        shuffle=shuffle,
        seed=seed,
        divisible_by=divisible_by,
        min_last=min_last,
        strata=strata,
        rank=rank,
        world_size=world_size,
    )
    batches = _generate(reader, sampler, epochs=epochs, resume_at=resume_at, draw=draw)
    return put_ahead(batches) if list_gpus() else batches


def _generate(
    reader: BatchReader,
    sampler: BatchSampler,
    *,
    epochs: int | None,
    resume_at: tuple[int, int],
    draw: Draw | None,
) -> Iterator[Any]:
    """Yield batches, with what `draw` draws for them unless it is None.

    It draws for whole batches, as the devices of all processes work on one together.
    """
    step = sampler.global_step(*resume_at)
    all_labels = None if reader.labels is None or draw is None else reader.labels.astype(np.float32)
    for batch in iter_batches(reader, sampler, epochs=epochs, resume_at=resume_at):
        images: Any = batch.images
        labels = batch.labels
        if draw is not None:
            whole = None if all_labels is None else all_labels[sampler.batch_indices(step)]
            drawn, mixed = draw(sampler.batch_keys(step), sampler.epoch_of(step), whole)
            share = sampler.share(step)
            images, labels = (images, drawn[share]), None if mixed is None else mixed[share]
        yield images if labels is None else (images, labels)
        step += 1
        del batch, images, labels


def put_ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """Copy each batch of arrays to JAX's device while the one before it is used."""
    import jax

    return make_ahead(map(jax.device_put, batches))  # which returns at once


def reraise_reader_errors(reader: BatchReader) -> AbstractContextManager[BatchReader]:
    """Raise an error of a reader as it was, whatever the backend makes of it; see `pipeline`."""
    if not on_tensorflow():
        return nullcontext(reader)
    from hpa_model import pipeline

    return pipeline.reraise_reader_errors(reader)


def check_devices(devices: int) -> None:
    """Check that training on this many devices is possible: several need TensorFlow; InputError if it is not."""
    if devices == 1:
        return
    if not on_tensorflow():
        raise InputError(
            f"devices must be 1 unless Keras runs on TensorFlow. Received: devices={devices} on "
            f"{keras.backend.backend()}. Set KERAS_BACKEND=tensorflow."
        )
    from hpa_model.pipeline import select_devices

    select_devices(devices)


def list_gpus() -> list[str]:
    """List the names of the GPUs that the backend can use."""
    if on_tensorflow():
        from hpa_model import pipeline

        return pipeline.list_gpus()
    import jax

    return [str(device.device_kind) for device in jax.local_devices() if device.platform != "cpu"]


def describe_device(devices: int) -> str:
    """Name what a training computes on, and the backend: ``CPU, 2 threads, tensorflow 2.21.0``."""
    backend = str(keras.backend.backend())
    names = [f"{n} x {name}" if n > 1 else name for name, n in Counter(list_gpus()[:devices]).items()]
    shared = f" as {devices} devices" if devices > 1 else ""
    device = f"GPU {', '.join(names)}" if names else f"CPU, {CPU_COUNT} threads{shared}"
    return f"{device}, {backend} {version(backend)}"


def device_scope(devices: int) -> AbstractContextManager[Any]:
    """Distribute the model that is built in this scope: each device takes its share of every batch."""
    if devices == 1:
        return nullcontext()
    from hpa_model.pipeline import mirrored_scope

    return mirrored_scope(devices)


def sum_over_devices(values: Any) -> Any:
    """Add up a tensor, or each of a list, over the devices that share a step; unchanged elsewhere. Differentiable."""
    if not on_tensorflow():
        return values
    from hpa_model import pipeline

    return pipeline.sum_over_devices(values)


def make_pullback(model: keras.Model) -> Callable[[Any, Any, Any], tuple[list[Any], Any]]:
    """Make what computes a network of two inputs, and gradients of its first output by its second input.

    Parameters
    ----------
    model : keras.Model
        With several outputs; the first is float32 (B, K).

    Returns
    -------
    function of (first, second, seeds)
        Of both inputs, (B, ...), and seeds, float32 (S, B, K). It returns the outputs, and for each seed the gradient
        of the sum of seed times first output by the second input, (S, B, ...). JAX compiles it anew for each B and S.
    """
    if on_tensorflow():
        from hpa_model import pipeline

        return partial(pipeline.pull_back, model)
    import jax

    @jax.jit
    def compute(trainable: Any, others: Any, first: Any, second: Any, seeds: Any) -> Any:
        def apply(point: Any) -> Any:
            (output, *more), _ = model.stateless_call(trainable, others, [first, point], training=False)
            return output, more

        output, pull, more = jax.vjp(apply, second, has_aux=True)
        return [output, *more], jax.lax.map(lambda seed: pull(seed)[0], seeds)

    def pull_back(first: Any, second: Any, seeds: Any) -> Any:
        weights = [[each.value for each in kind] for kind in (model.trainable_variables, model.non_trainable_variables)]
        return compute(*weights, first, second, seeds)

    return pull_back


def make_deterministic() -> None:
    """Make the backend's sums round the same way in every run, for the rest of the process.

    Raises
    ------
    InputError
        If the backend cannot, or only if an environment variable is set.
    """
    if on_tensorflow():
        from hpa_model import pipeline

        pipeline.make_deterministic()
        return
    backend = str(keras.backend.backend())
    if backend == "jax":
        import jax

        # On CPUs, XLA's sums do not depend on the timing of its threads.
        if jax.default_backend() == "cpu" or JAX_FLAG in os.environ.get("XLA_FLAGS", ""):
            return
        raise InputError(
            f"Cannot train deterministically: JAX needs {JAX_FLAG} on a GPU. Set XLA_FLAGS={JAX_FLAG} in the "
            "environment."
        )
    raise InputError(
        f"Cannot train deterministically: Keras runs on {backend}. Set KERAS_BACKEND=tensorflow, or leave "
        "deterministic out."
    )
