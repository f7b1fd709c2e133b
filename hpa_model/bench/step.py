"""Benchmark of training: whether a step waits for its batch on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_model.bench.io import NOTHING_TO_READ


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """How fast a network trains, with batches from the store and with one batch that stays on the device."""

    model: str
    device: str
    """And the backend."""

    precision: str
    batch_size: int
    n_steps: int
    """Of each kind."""

    on_device_rate: float
    """Images per second if each step has the same batch, which stays on the device: the upper limit."""

    from_store_rate: float
    """Images per second with batches from the store. On JAX, each is copied to a GPU while the one before is used."""

    wait_fraction: float
    """Fraction of the time, with batches from the store, spent waiting for a batch."""


def measure_step(
    store: Store,
    parts: tuple[str, ...] = ("train",),
    *,
    model: str = "gapnet",
    image_size: int | tuple[int, int] | None = None,
    batch_size: int = 20,
    n_steps: int = 10,
    precision: str | None = None,
    progress: Progress = SILENT,
) -> StepReport:
    """Measure training steps on batches from a store, and on one batch that stays on the device.

    Parameters
    ----------
    store : Store
    parts : tuple of str
        With labels.
    model : str
        A name in `nets.NETS`.
    image_size : int or (int, int), optional
        See `nets.build`.
    batch_size, n_steps : int
        The two kinds of steps alternate; `n_steps` is the number of each.
    precision : str, optional
        Keras's policy; by default ``mixed_bfloat16`` on a GPU, ``float32`` elsewhere.
    progress : Progress, optional
        Counts steps.

    Raises
    ------
    InputError
        If the store has no labels, or the network cannot be built.
    """
    import keras

    from hpa_model import nets
    from hpa_model.backend import describe_device, feed, list_gpus, on_tensorflow, settle_keras

    settle_keras()
    precision = precision or ("mixed_bfloat16" if list_gpus() else "float32")
    with store.reader(parts) as reader:
        if reader.labels is None:
            raise InputError(f"parts must have labels. Received: {', '.join(parts)}. Choose other parts.")
        readable = np.flatnonzero(is_readable(reader.status))
        if not len(readable):
            raise InputError(NOTHING_TO_READ.format(store=store.location, parts=", ".join(parts)))
        network = nets.build(
            model, reader.image_shape, reader.labels.shape[1], image_size=image_size, precision=precision
        )
        network.compile("adam", "binary_crossentropy", jit_compile=not on_tensorflow())
        divisible_by = min(batch_size, len(readable))  # so that all batches have one size
        batches = iter(feed(reader, readable, divisible_by, divisible_by=divisible_by))
        images, labels = next(batches)
        on_device = (keras.ops.copy(images), keras.ops.copy(labels))

        def time_step(next_batch: Callable[[], Any]) -> tuple[float, float]:
            """Return the seconds that a step took, and those of them before its batch was there."""
            started = time.perf_counter()
            batch = next_batch()
            waited_s = time.perf_counter() - started
            network.train_on_batch(*batch)  # returns the loss, and so waits for the device
            progress.advance(1)
            return time.perf_counter() - started, waited_s

        times: dict[str, list[tuple[float, float]]] = {"on device": [], "from store": []}
        for number in range(n_steps + 2):  # the first two trace the graph and allocate memory
            for name, next_batch in (("on device", lambda: on_device), ("from store", lambda: next(batches))):
                taken = time_step(next_batch)
                if number >= 2:
                    times[name].append(taken)
    on_device_s, _ = np.sum(times["on device"], axis=0).tolist()
    from_store_s, waited_s = np.sum(times["from store"], axis=0).tolist()
    n_images = len(images) * n_steps
    return StepReport(
        model=model,
        device=describe_device(1),
        precision=precision,
        batch_size=len(images),
        n_steps=n_steps,
        on_device_rate=n_images / on_device_s,
        from_store_rate=n_images / from_store_s,
        wait_fraction=waited_s / from_store_s,
    )
