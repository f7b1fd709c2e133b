"""Batches as PyTorch tensors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchReader, iter_batches
from hpa_data.reader.sampler import BatchSampler

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import IterableDataset

WORKERS = (
    "num_workers must be 0, as each worker process would deliver all batches. Received: a DataLoader with workers. "
    "Pass num_workers=0: the reader decodes in threads of its own, see store.reader(threads=…)."
)


def dataset(
    reader: BatchReader,
    sampler: BatchSampler,
    *,
    epochs: int | None = None,
    resume_at: tuple[int, int] | None = None,
    prefetch: int = 1,
) -> "IterableDataset[tuple[Tensor, Tensor]]":
    """Make a dataset of batches, each pairing images with their labels.

    It may be iterated itself, or through ``DataLoader(dataset, batch_size=None, num_workers=0)``, for ``pin_memory``.

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
        Batches to read ahead of the one in use, in the reader's threads.

    Returns
    -------
    IterableDataset
        Of (uint8 (B, Y, X, C), float32 (B, K)), or of images alone if the reader has no labels: the batches of
        `hpa_data.reader.iter_batches`. Images are not copied; their memory is reused once no tensor refers to it.
        Channels come last; ``images.permute(0, 3, 1, 2)`` is a view with them second.

    Raises
    ------
    InputError
        If PyTorch is not installed. When it is iterated, if it is in a worker process of a `DataLoader`: each would
        deliver all batches. None is needed, as the reader decodes in threads of its own, without Python's lock; worker
        processes would only copy what it has read.
    """
    try:
        import torch
        from torch.utils.data import IterableDataset, get_worker_info
    except ModuleNotFoundError as error:
        raise InputError(f"Cannot make a dataset: {error.name} is not installed. Run: pip install '.[torch]'") from None

    class Batches(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
        def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            if get_worker_info() is not None:
                raise InputError(WORKERS)
            for batch in iter_batches(reader, sampler, epochs=epochs, resume_at=resume_at, prefetch=prefetch):
                images, labels = batch.images, batch.labels
                del batch
                pair = torch.from_numpy(images), None if labels is None else torch.from_numpy(labels)
                del images, labels
                yield pair if pair[1] is not None else pair[0]
                del pair  # or the memory of this batch could not be reused for the next but one

        def __reduce__(self) -> str:
            """Refuse to be sent to a worker process."""
            raise InputError(WORKERS)

    return Batches()
