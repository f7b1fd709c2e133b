"""What differs between the backends of Keras: batches, devices, determinism."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.errors import InputError, Notice
from hpa_data.reader.batches import BatchReader, Draw, iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata
from hpa_data.system.hosts import Hosts, Place, find_free_port, join_hosts

JAX_FLAG = "--xla_gpu_deterministic_ops=true"
# Until the connection to a host that was lost is known to be closed.
LOST_S = 10.0


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
    over_hosts: bool = False,
) -> Any:
    """Make the batches that `pipeline.dataset` makes, in a form that the backend accepts.

    With `over_hosts`, in a training over hosts, they are the shares of this one.

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
    hosts = joined_hosts() if over_hosts else None
    sampler = BatchSampler(
        indices,
        batch_size,
        shuffle=shuffle,
        seed=seed,
        divisible_by=divisible_by,
        min_last=min_last,
        strata=strata,
        rank=0 if hosts is None else hosts.index,
        world_size=1 if hosts is None else hosts.n_hosts,
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
    """Copy each batch of arrays to JAX's device while the one before it is used.

    An error is raised when the batches before it have been yielded.
    """
    import jax

    ahead: list[Any] = []
    error: Exception | None = None
    while error is None:
        try:
            ahead.append(jax.device_put(next(batches)))  # returns at once
        except Exception as caught:  # the end, too
            error = caught
        if len(ahead) > 1 or (error is not None and ahead):
            yield ahead.pop(0)
    if not isinstance(error, StopIteration):
        raise error


def reraise_reader_errors(reader: BatchReader) -> AbstractContextManager[BatchReader]:
    """Raise an error of a reader as it was, whatever the backend makes of it; see `pipeline`."""
    if not on_tensorflow():
        return nullcontext(reader)
    from hpa_model import pipeline

    return pipeline.reraise_reader_errors(reader)


# The processes that train together with this one, if there are any. JAX knows one group per process, too.
_joined: list[Hosts] = []


def joined_hosts() -> Hosts | None:
    """Return the processes that this one trains with, or None."""
    return _joined[0] if _joined else None


@contextmanager
def over_hosts(place: Place | None, tell: Callable[[str], None]) -> Iterator[Hosts | None]:
    """Join the processes of a training over hosts; before JAX is asked for devices.

    Parameters
    ----------
    place : Place or None
        None for a single process; nothing is done then.
    tell : function of str
        Called with a line about what is waited for.

    Raises
    ------
    InputError
        If Keras runs on TensorFlow, or the others do not come.
    """
    if place is None:
        yield None
        return
    if on_tensorflow():
        raise InputError(
            "Cannot train over hosts on TensorFlow: Keras 3 fails in fit with its strategy for that "
            "(MultiWorkerMirroredStrategy). Set KERAS_BACKEND=jax on all hosts."
        )
    import jax

    with join_hosts(place, tell) as hosts:
        port = hosts.share(str(find_free_port(place.address[0])).encode() if hosts.is_first else None)
        host = f"[{place.address[0]}]" if ":" in place.address[0] else place.address[0]
        address = f"{host}:{port.decode()}"
        jax.distributed.initialize(address, hosts.n_hosts, hosts.index, coordinator_bind_address=address)
        _joined.append(hosts)
        try:
            yield hosts
        finally:
            _joined.clear()
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]


def meet_hosts() -> None:
    """Wait until all processes of a training over hosts are here."""
    if _joined:
        _joined[0].meet()


def count_shares(devices: int) -> int:
    """Return among how many devices each batch is shared out: those of all hosts, or `devices` of this one."""
    if not _joined:
        return devices
    import jax

    return int(jax.device_count())


def check_hosts(batch_size: int) -> None:
    """Check that a batch can be shared out among the devices of all hosts; InputError if not."""
    n_shares = count_shares(1)
    if batch_size % n_shares:
        raise InputError(
            f"batch_size must be divisible by {n_shares}, the devices of all hosts. Received: batch_size={batch_size}. "
            "Pass another --batch-size."
        )


@lru_cache
def _distribute() -> Any:
    """Make the distribution of a training over hosts: each device takes its share of a batch, all have all weights."""
    return keras.distribution.DataParallel(auto_shard_dataset=False)


@contextmanager
def own_device_scope() -> Iterator[None]:
    """Compute on a device of this process, also within `device_scope`."""
    if not _joined:
        yield
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


@contextmanager
def explain_lost_hosts() -> Iterator[None]:
    """Let this process end with a line about a lost host, rather than with an error of the library that misses it."""
    try:
        yield
    except Exception as error:
        if _joined and not isinstance(error, InputError):
            _joined[0].wait_for_the_end(LOST_S)
        raise


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
    if _joined:
        return _distribute().scope()
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
