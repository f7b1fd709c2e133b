"""The same batches in every framework: order, bytes, labels; over several processes, and resumed."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import hpa_data
from hpa_data.errors import InputError
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import PendingBatch, Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.reader.strata import Strata
from hpa_data.store.store import Store, open_store

N_EPOCHS = 2

# The bytes of the images and of the labels of a batch.
Bytes = tuple[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Order:
    """The order of a test: eleven samples of twelve, so that the last batch of an epoch is smaller than the others."""

    indices: np.ndarray = field(default_factory=lambda: np.arange(1, 12))
    batch_size: int = 6
    options: dict[str, Any] = field(default_factory=dict)

    def sampler(self, **options: Any) -> BatchSampler:
        return BatchSampler(self.indices, self.batch_size, **self.options, **options)


def with_numpy(reader: Reader, order: Order, resume_at: tuple[int, int], **options: Any) -> Iterator[tuple[Any, Any]]:
    for batch in iter_batches(reader, order.sampler(**options), epochs=N_EPOCHS, resume_at=resume_at):
        yield batch.images, batch.labels


def with_tensorflow(
    reader: Reader, order: Order, resume_at: tuple[int, int], **options: Any
) -> Iterator[tuple[Any, Any]]:
    from hpa_model.pipeline import dataset

    options = order.options | options
    yield from dataset(reader, order.indices, order.batch_size, epochs=N_EPOCHS, resume_at=resume_at, **options)


def with_jax(reader: Reader, order: Order, resume_at: tuple[int, int], **options: Any) -> Iterator[tuple[Any, Any]]:
    from hpa_data.reader.jax import batches

    yield from batches(reader, order.sampler(**options), epochs=N_EPOCHS, resume_at=resume_at)  # type: ignore[misc]


def with_torch(reader: Reader, order: Order, resume_at: tuple[int, int], **options: Any) -> Iterator[tuple[Any, Any]]:
    data = pytest.importorskip("torch.utils.data")
    from hpa_data.reader.torch import dataset

    batches = dataset(reader, order.sampler(**options), epochs=N_EPOCHS, resume_at=resume_at)
    yield from data.DataLoader(batches, batch_size=None, num_workers=0)


FRAMEWORKS: dict[str, Callable[..., Iterator[tuple[Any, Any]]]] = {
    "jax": with_jax,
    "tensorflow": with_tensorflow,
    "torch": with_torch,
}


def encode(batches: Iterator[tuple[Any, Any]]) -> list[Bytes]:
    """Return the bytes of the images and of the labels of each batch."""
    found = []
    for images, labels in batches:
        arrays = np.asarray(images), np.asarray(labels)
        assert [array.dtype for array in arrays] == [np.uint8, np.float32]
        found.append((arrays[0].tobytes(), arrays[1].tobytes()))
    return found


def join(shares: list[list[Bytes]]) -> list[Bytes]:
    """Join the shares of each batch, in the order of the ranks."""
    parts = [zip(*each, strict=True) for each in zip(*shares, strict=True)]
    return [(b"".join(images), b"".join(labels)) for images, labels in parts]


def compare_with_numpy(reader: Reader, framework: str, order: Order, *, seed: int) -> None:
    """Compare the batches of all ranks of 1, 2 and 3 processes, from the first step and from a random one."""
    deliver = FRAMEWORKS[framework]
    whole = encode(with_numpy(reader, order, (0, 0), seed=seed))
    assert len(whole) == 2 * N_EPOCHS
    for world_size in (1, 2, 3):
        step = int(np.random.default_rng([seed, world_size]).integers(len(whole)))
        shares = []
        for rank in range(world_size):
            options = {"seed": seed, "rank": rank, "world_size": world_size}
            shares.append(encode(deliver(reader, order, (0, 0), **options)))
            assert encode(deliver(reader, order, divmod(step, 2), **options)) == shares[-1][step:]
        assert join(shares) == whole


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_delivers_the_batches_of_numpy(store: Store, framework: str, seed: int) -> None:
    strata = Strata(of=np.arange(11) % 3, shares=np.array([5.0, 1.0, 2.0])) if seed == 2 else None
    with store.reader() as reader:
        compare_with_numpy(reader, framework, Order(options={"strata": strata}), seed=seed)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_framework_goes_on_with_another_number_of_processes(store: Store, framework: str) -> None:
    order = Order(options={"min_last": 3})
    with store.reader() as reader:
        state = BatchSampler(order.indices, 4, world_size=2).position(4)
        assert state == (1, 4)
        whole = encode(with_numpy(reader, order, (1, 0), start=state))
        shares = [
            encode(FRAMEWORKS[framework](reader, order, (1, 0), start=state, rank=rank, world_size=3))
            for rank in range(3)
        ]
        assert join(shares) == whole


def compare_on_devices(path: str, n_devices: int) -> None:
    """Compare the batches of JAX on several devices of this process with those of NumPy."""
    import jax

    from hpa_data.reader.jax import batches

    with open_store(path).reader(["train"]) as reader:
        order = Order(indices=np.arange(30) % 12, batch_size=12, options={"divisible_by": 12})
        for seed in range(3):
            compare_with_numpy(reader, "jax", order, seed=seed)
        images, labels = next(batches(reader, order.sampler()))  # type: ignore[misc]
        for array in (images, labels):
            assert {shard.device for shard in array.addressable_shards} == {*jax.local_devices()}
            assert {len(shard.data) for shard in array.addressable_shards} == {12 // n_devices}
        with pytest.raises(InputError, match=r"divisible_by of the sampler must be divisible by 4.*divisible_by=1\."):
            batches(reader, BatchSampler(range(12), 4, world_size=2))


def test_jax_shares_batches_among_two_devices(store: Store) -> None:
    script = f"from tests.model.test_frameworks import compare_on_devices; compare_on_devices({str(store.path)!r}, 2)"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=200, env=os.environ | flags)


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_arrays_that_are_kept_do_not_change(store: Store, framework: str) -> None:
    with store.reader() as reader:
        kept = list(FRAMEWORKS[framework](reader, Order(), (0, 0)))
        assert encode(iter(kept)) == encode(with_numpy(reader, Order(), (0, 0)))


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_reader_without_labels_gives_images_alone(store: Store, framework: str) -> None:
    pytest.importorskip(framework)
    module = getattr(hpa_data, framework)
    deliver = module.batches if framework == "jax" else module.dataset
    with store.reader(["test"]) as reader:
        (images,) = deliver(reader, BatchSampler([2, 0], 5, shuffle=False), epochs=1)
        assert np.array_equal(np.asarray(images), reader.read([2, 0]))


def test_tensors_use_the_memory_of_the_batches_which_is_reused(store: Store) -> None:
    data = pytest.importorskip("torch.utils.data")
    from hpa_data.reader.torch import dataset

    addresses = set()

    class Spy(Reader):
        def read_async(self, indices: object) -> PendingBatch:
            pending = super().read_async(indices)  # type: ignore[arg-type]
            addresses.add(pending.result().ctypes.data)
            return pending

    with Spy([store.part("train").reader_spec()]) as reader:
        for images, _ in data.DataLoader(dataset(reader, BatchSampler(range(12), 4), epochs=20), batch_size=None):
            assert images.data_ptr() in addresses
            del images
    assert len(addresses) <= 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_of_a_data_loader_are_refused_with_the_reason(store: Store, method: str) -> None:
    pytest.importorskip("torch")
    # In a process without JAX, whose threads a fork would not survive.
    script = f"""
        from torch.utils.data import DataLoader
        from hpa_data import open_store
        from hpa_data.reader import BatchSampler
        from hpa_data.reader.torch import dataset

        if __name__ == "__main__":
            with open_store({str(store.path)!r}).reader(["train"]) as reader:
                batches = dataset(reader, BatchSampler(range(12), 4))
                next(iter(DataLoader(batches, batch_size=None, num_workers=1, multiprocessing_context={method!r})))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, timeout=200
    )
    assert "InputError: num_workers must be 0, as each worker process would deliver all batches." in done.stderr


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_a_framework_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, framework: str) -> None:
    monkeypatch.setitem(sys.modules, framework, None)
    module = getattr(hpa_data, framework)
    with pytest.raises(InputError, match=rf"{framework} is not installed\. Run: pip install '\.\[{framework}\]'"):
        (module.batches if framework == "jax" else module.dataset)(None, BatchSampler([0], 1))
