"""The same batches in every framework: order, bytes, labels; over several processes, and resumed."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata
from hpa_data.store.store import Store
from hpa_model.pipeline import dataset

N_EPOCHS = 2
BATCH_SIZE = 6
# Eleven samples of twelve: the last batch of an epoch is smaller than the others.
INDICES = np.arange(1, 12)
STRATA = Strata(of=np.arange(11) % 3, shares=np.array([5.0, 1.0, 2.0]))

# The bytes of the images and of the labels.
Bytes = tuple[bytes, bytes]
Make = Callable[[Reader, dict[str, Any], tuple[int, int]], Iterator[tuple[Any, Any]]]


def with_numpy(
    reader: Reader, options: dict[str, Any], resume_at: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    sampler = BatchSampler(INDICES, BATCH_SIZE, **options)
    for batch in iter_batches(reader, sampler, epochs=N_EPOCHS, resume_at=resume_at):
        assert batch.labels is not None
        yield batch.images, batch.labels


def with_tensorflow(reader: Reader, options: dict[str, Any], resume_at: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    yield from dataset(reader, INDICES, BATCH_SIZE, epochs=N_EPOCHS, resume_at=resume_at, **options)


FRAMEWORKS: dict[str, Make] = {"tensorflow": with_tensorflow}


def encode(batches: Iterator[tuple[Any, Any]]) -> list[tuple[bytes, bytes]]:
    """Return the bytes of the images and of the labels of each batch."""
    return [(np.asarray(images).tobytes(), np.asarray(labels).tobytes()) for images, labels in batches]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_delivers_the_batches_of_numpy(store: Store, framework: str, seed: int) -> None:
    steps = np.random.default_rng(seed).integers(4, size=3).tolist()
    with store.reader() as reader:
        for world_size, step in zip((1, 2, 3), steps, strict=True):
            options = {"seed": seed, "strata": STRATA if seed == 2 else None, "world_size": world_size, "min_last": 3}
            whole = encode(with_numpy(reader, options | {"world_size": 1}, (0, 0)))
            shares = []
            for rank in range(world_size):
                expected = encode(with_numpy(reader, options | {"rank": rank}, (0, 0)))
                found = FRAMEWORKS[framework](reader, options | {"rank": rank}, (0, 0))
                assert encode(found) == expected
                resumed = FRAMEWORKS[framework](reader, options | {"rank": rank}, divmod(step, 2))
                assert encode(resumed) == expected[step:]
                shares.append(expected)
            for parts, one in zip(zip(*shares, strict=True), whole, strict=True):
                assert (b"".join(images for images, _ in parts), b"".join(labels for _, labels in parts)) == one


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_goes_on_with_another_number_of_processes(store: Store, framework: str) -> None:
    with store.reader() as reader:
        state = BatchSampler(INDICES, 4, world_size=2).position(4)
        assert state == (1, 4)
        options = {"world_size": 3, "start": state}
        whole = encode(with_numpy(reader, {"start": state, "min_last": 3}, (1, 0)))
        shares = [encode(FRAMEWORKS[framework](reader, options | {"rank": rank}, (1, 0))) for rank in range(3)]
        assert [b"".join(images for images, _ in parts) for parts in zip(*shares, strict=True)] == [
            images for images, _ in whole
        ]
