"""Batches as JAX arrays on their devices."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.batches import Batch, BatchReader, iter_batches, make_ahead
from hpa_data.reader.sampler import BatchSampler

if TYPE_CHECKING:
    from jax import Array
    from jax.sharding import Sharding


def batches(
    reader: BatchReader,
    sampler: BatchSampler,
    *,
    epochs: int | None = None,
    resume_at: tuple[int, int] | None = None,
    prefetch: int = 1,
    ahead: int = 1,
    sharding: "Sharding | None" = None,
) -> Iterator["tuple[Array, Array] | Array"]:
    """Deliver batches on the devices, each pairing images with their labels.

    Parameters
    ----------
    reader : Reader
        Of a store, or of a folder.
    sampler : BatchSampler
        The order of the samples. With a `rank` of it, batches are the share of one of several processes.
    epochs : int, optional
        Stop before this epoch, counted from 0; never if None.
    resume_at : (int, int), optional
        Epoch and step of the first batch, by default the start of the sampler. The batches are those that an
        uninterrupted iteration would have delivered from there on.
    prefetch : int
        Batches to read ahead, in the reader's threads.
    ahead : int
        Batches to copy to the devices before they are needed; each takes memory of theirs.
    sharding : jax.sharding.Sharding, optional
        How a batch is shared out among devices. By default in equal parts among those of this process; then the sizes
        of its batches must be divisible by their number: pass `divisible_by` to the sampler. One over the devices of
        several processes makes arrays of the whole batch, of which each process passes its share.

    Returns
    -------
    iterator of (jax.Array, jax.Array)
        uint8 (B, Y, X, C) and float32 (B, K), or images alone if the reader has no labels: the batches of
        `hpa_data.reader.iter_batches`.

    Raises
    ------
    InputError
        If JAX is not installed, or if batches cannot be shared equally.
    """
    try:
        import jax
    except ModuleNotFoundError as error:
        raise InputError(f"Cannot make batches: {error.name} is not installed. Run: pip install '.[jax]'") from None
    if sharding is None:
        sharding = _share_among_local_devices(sampler)
    shared = sharding

    # On a CPU, an array of JAX may use the memory of a batch, which is reused once that array is deleted.
    def place(array: npt.NDArray[Any]) -> "Array":
        if shared.is_fully_addressable:
            return jax.device_put(array, shared)
        return jax.make_array_from_process_local_data(shared, array)  # type: ignore[no-untyped-call]

    def copy(batch: Batch) -> "tuple[Array, Array] | Array":
        images = place(batch.images)
        return images if batch.labels is None else (images, place(batch.labels))

    read = iter_batches(reader, sampler, epochs=epochs, resume_at=resume_at, prefetch=prefetch)
    return make_ahead(map(copy, read), ahead)


def _share_among_local_devices(sampler: BatchSampler) -> "Sharding":
    """Share the first axis out among the devices of this process; InputError if that is not possible."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    devices = jax.local_devices()
    n_shares = len(devices) * sampler.world_size
    if len(devices) > 1 and sampler.divisible_by % n_shares:
        raise InputError(
            f"divisible_by of the sampler must be divisible by {n_shares}, the number of devices that share a batch. "
            f"Received: divisible_by={sampler.divisible_by}. Pass divisible_by={n_shares}, or sharding."
        )
    return NamedSharding(Mesh(devices, ("sample",)), PartitionSpec("sample"))  # type: ignore[no-untyped-call]
