"""Whether training waits for data on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask.system import CPU_COUNT

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_model.bench.io import NOTHING_TO_READ


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """How fast a network trains, fed from a store and from memory.

    Attributes
    ----------
    model, device, precision : str
    batch_size, n_steps : int
    on_device_rate : float
        Images a second when each step has the same batch, which lies on the device: the ceiling.
    from_store_rate : float
        Images a second from the store.
    wait_fraction : float
        Share of the time, fed from the store, that went by in wait_fraction for a batch.
    """

    model: str
    device: str
    precision: str
    batch_size: int
    n_steps: int
    on_device_rate: float
    from_store_rate: float
    wait_fraction: float


def measure_step(
    store: Store,
    parts: tuple[str, ...] = ("train",),
    *,
    model: str = "gapnet",
    image_size: int | None = None,
    batch_size: int = 20,
    n_steps: int = 10,
    precision: str | None = None,
    progress: Progress = SILENT,
) -> StepReport:
    """Measure training steps fed from a store beside steps on one batch that lies on the device.

    Parameters
    ----------
    store : Store
    parts : tuple of str
        With labels.
    model : str
        A name in `nets.NETS`.
    image_size : int, optional
        Rows and columns that the network sees; by default those of the store.
    batch_size, n_steps : int
        The two kinds of steps take turns, so many of each.
    precision : str, optional
        Keras's policy; by default ``mixed_bfloat16`` on a GPU, ``float32`` elsewhere.
    progress : Progress, optional
        Of steps.

    Raises
    ------
    InputError
        If the store has no labels, or the network cannot be built.
    """
    import keras

    from hpa_model import nets
    from hpa_model.pipeline import dataset, list_gpus

    gpus = list_gpus()
    precision = precision or ("mixed_bfloat16" if gpus else "float32")
    with store.reader(parts) as reader:
        if reader.labels is None:
            raise InputError(f"Parts to train on must have labels. Received: {', '.join(parts)}. Choose others.")
        readable = np.flatnonzero(is_readable(reader.status))
        if not len(readable):
            raise InputError(NOTHING_TO_READ.format(store=store.location, parts=", ".join(parts)))
        network = nets.build(
            model, reader.image_shape, reader.labels.shape[1], image_size=image_size, precision=precision
        )
        network.compile("adam", "binary_crossentropy", jit_compile=False)
        batches = iter(dataset(reader, readable, batch_size, drop_last=len(readable) >= batch_size))
        images, labels = next(batches)
        on_device_rate = (keras.ops.copy(images), keras.ops.copy(labels))

        def step(source: Callable[[], Any]) -> tuple[float, float]:
            started = time.perf_counter()
            batch = source()
            waited = time.perf_counter() - started
            network.train_on_batch(*batch)  # returns the loss, and so waits for the device
            progress.advance(1)
            return time.perf_counter() - started, waited

        times: dict[str, list[tuple[float, float]]] = {"on_device_rate": [], "fed": []}
        for number in range(n_steps + 2):  # the first two trace the graph and settle memory
            for name, source in (("on_device_rate", lambda: on_device_rate), ("fed", lambda: next(batches))):
                took = step(source)
                if number >= 2:
                    times[name].append(took)
    seconds = {name: np.array(rows).sum(axis=0) for name, rows in times.items()}
    n_images = len(images) * n_steps
    return StepReport(
        model=model,
        device=", ".join(gpus) or f"{CPU_COUNT} cores",
        precision=precision,
        batch_size=len(images),
        n_steps=n_steps,
        on_device_rate=n_images / float(seconds["on_device_rate"][0]),
        from_store_rate=n_images / float(seconds["fed"][0]),
        wait_fraction=float(seconds["fed"][1] / seconds["fed"][0]),
    )
