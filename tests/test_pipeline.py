"""The pipeline: every index once an epoch, each image with its own label."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.reader import Reader
from hpa_data.samples import FolderReader
from hpa_data.store import Store
from hpa_model.pipeline import dataset, permute, readable_faults


class NumberReader:
    """A reader of tiny images that hold their own index."""

    image_shape = (1, 1, 4)

    def __init__(self, n_samples: int) -> None:
        self.labels = np.arange(n_samples, dtype=np.uint8)[:, None] % 2
        self._n_samples = n_samples
        self.n_calls = 0

    def __len__(self) -> int:
        return self._n_samples

    def read(self, indices: np.ndarray) -> np.ndarray:
        self.n_calls += 1
        return np.broadcast_to(np.asarray(indices, np.uint8)[:, None, None, None], (len(indices), 1, 1, 4))


@settings(deadline=None, max_examples=25)
@given(
    n_samples=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
    epochs=st.integers(1, 3),
)
def test_each_epoch_yields_each_index_once_with_its_own_label(
    n_samples: int, batch_size: int, shuffle: bool, seed: int, epochs: int
) -> None:
    reader = NumberReader(n_samples + 5)
    indices = np.arange(5, n_samples + 5)
    batches = [
        (images.numpy(), labels.numpy())
        for images, labels in dataset(reader, indices, batch_size, shuffle, seed, epochs)
    ]
    steps = -(-n_samples // batch_size)
    assert len(batches) == reader.n_calls == steps * epochs
    for epoch in range(epochs):
        own = batches[epoch * steps : (epoch + 1) * steps]
        seen = np.concatenate([images[:, 0, 0, 0] for images, _ in own])
        expected = permute(indices, seed=seed, epoch=epoch) if shuffle else indices
        assert seen.tolist() == expected.tolist()
        assert np.concatenate([labels[:, 0] for _, labels in own]).tolist() == (seen % 2).tolist()
        assert [len(images) for images, _ in own[:-1]] == [batch_size] * (steps - 1)


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [tuple(permute(np.arange(50), seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9


def test_without_a_number_of_epochs_it_goes_on() -> None:
    batches = dataset(NumberReader(3), [0, 1, 2], batch_size=2).take(50)
    assert sum(len(images) for images, _ in batches) == 75


def test_batches_are_uint8_images_and_float32_labels(store: Store) -> None:
    with store.reader() as reader:
        batches = dataset(reader, np.arange(12), batch_size=5, shuffle=False, epochs=1)
        assert batches.element_spec[0].shape.as_list() == [None, 512, 512, 4]
        assert batches.element_spec[1].shape.as_list() == [None, 28]
        images, labels = next(iter(batches))
        assert (images.dtype, labels.dtype) == (tf.uint8, tf.float32)
        assert (images.numpy() == reader.read(np.arange(5))).all()
        assert reader.labels is not None
        assert (labels.numpy() == reader.labels[:5]).all()


def test_a_reader_without_labels_gives_images_alone(store: Store) -> None:
    with store.reader(["test"]) as reader:
        (images,) = list(dataset(reader, [2, 0], batch_size=5, shuffle=False, epochs=1))
        assert (images.numpy() == reader.read([2, 0])).all()


def test_images_reach_tensorflow_without_a_copy(store: Store) -> None:
    addresses = set()

    class Spy(Reader):
        def read(self, indices: object) -> np.ndarray:
            batch = super().read(indices)  # type: ignore[arg-type]
            addresses.add(batch.ctypes.data)
            return batch

    with Spy([store.part("train").files()]) as reader:
        for images, _ in dataset(reader, np.arange(12), batch_size=4, epochs=2):
            assert np.asarray(memoryview(images)).ctypes.data in addresses  # type: ignore[arg-type]


def test_a_fault_of_the_reader_comes_through_as_it_was(store: Store) -> None:
    with (
        store.reader() as reader,
        pytest.raises(IndexError, match=r"^indices must be from 0 to 11\. Received: 12\. Take it out\.$"),
        readable_faults(reader) as watched,
    ):
        list(dataset(watched, [12], epochs=1))


def test_a_fault_that_is_not_the_reader_s_stays_tensorflow_s() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), readable_faults(NumberReader(3)):
        tf.reshape(tf.zeros(3), (2, 2))


@pytest.mark.parametrize(("indices", "batch_size"), [([], 4), ([1], 0), ([True, False], 4), ([0.5], 4)])
def test_nothing_to_stream_is_refused(indices: list[int], batch_size: int) -> None:
    with pytest.raises(ValueError, match="indices must be integers, at least one"):
        dataset(FolderReader([]), indices, batch_size)
