"""The pipeline: every index once per epoch, each image with its label."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.reader.batches import draw_orientations, iter_batches
from hpa_data.reader.reader import PendingBatch, Reader
from hpa_data.reader.sampler import BatchSampler, permute
from hpa_data.reader.strata import Strata
from hpa_data.sources.samples import FolderReader
from hpa_data.store.store import Store
from hpa_model.backend import _generate
from hpa_model.pipeline import dataset, reraise_reader_errors
from tests.model.drawing import draw_symmetries


class NumberBatch:
    def __init__(self, indices: np.ndarray) -> None:
        self._indices = indices

    def result(self) -> np.ndarray:
        return np.broadcast_to(np.asarray(self._indices, np.uint8)[:, None, None, None], (len(self._indices), 1, 1, 4))


class NumberReader:
    """A reader of tiny images whose value is their index."""

    image_shape = (1, 1, 4)

    def __init__(self, n_samples: int) -> None:
        self.labels = np.arange(n_samples, dtype=np.uint8)[:, None] % 2
        self._n_samples = n_samples
        self.n_calls = 0

    def __len__(self) -> int:
        return self._n_samples

    def read_async(self, indices: np.ndarray) -> "NumberBatch":
        self.n_calls += 1
        return NumberBatch(indices)


@settings(deadline=None, max_examples=25)
@given(
    n_samples=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    shuffle=st.booleans(),
    seed=st.integers(0, 5),
    epochs=st.integers(1, 3),
)
def test_each_epoch_yields_each_index_once_with_its_label(
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
        in_epoch = batches[epoch * steps : (epoch + 1) * steps]
        seen = np.concatenate([images[:, 0, 0, 0] for images, _ in in_epoch])
        expected = permute(indices, seed=seed, epoch=epoch) if shuffle else indices
        assert seen.tolist() == expected.tolist()
        assert np.concatenate([labels[:, 0] for _, labels in in_epoch]).tolist() == (seen % 2).tolist()
        assert [len(images) for images, _ in in_epoch[:-1]] == [batch_size] * (steps - 1)


@settings(deadline=None, max_examples=12)
@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), seed=st.integers(0, 5), symmetries=st.booleans())
def test_tensorflow_numpy_and_jax_get_the_same_batches_of_strata(sizes: list[int], seed: int, symmetries: bool) -> None:
    strata = Strata(of=np.repeat(np.arange(len(sizes)), sizes), shares=np.arange(len(sizes)) + 1.0)
    reader, chosen = NumberReader(sum(sizes)), np.arange(sum(sizes))
    sampler = BatchSampler(chosen, 4, seed=seed, strata=strata)
    draw = draw_symmetries(reader.image_shape, seed=seed) if symmetries else None
    ours = list(iter_batches(reader, sampler, epochs=2))
    for_jax = list(_generate(reader, sampler, epochs=2, resume_at=(0, 0), draw=draw))
    for_tensorflow = list(dataset(reader, chosen, 4, True, seed, 2, strata=strata, draw=draw))
    for one, jax_batch, (tensors, labels) in zip(ours, for_jax, for_tensorflow, strict=True):
        first, second = (jax_batch[0], tensors) if symmetries else ((jax_batch[0],), (tensors,))
        for array, tensor in zip((*first, jax_batch[1]), (*second, labels), strict=True):
            assert (array == tensor.numpy()).all()
        assert (one.images == first[0]).all()
        assert (one.indices == one.images[:, 0, 0, 0]).all()


def test_hosts_share_what_is_drawn_for_a_whole_batch() -> None:
    reader = NumberReader(12)
    seen = []

    def draw(keys: np.ndarray, epoch: int, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        seen.append(len(keys))
        assert labels is not None
        return keys + 100 * epoch, labels[::-1].copy()  # a label of another image of the batch

    one = list(_generate(reader, BatchSampler(range(12), 6), epochs=2, resume_at=(0, 0), draw=draw))
    shares = [
        list(_generate(reader, BatchSampler(range(12), 6, rank=r, world_size=3), epochs=2, resume_at=(0, 0), draw=draw))
        for r in range(3)
    ]
    assert set(seen) == {6}
    for whole, *parts in zip(one, *shares, strict=True):
        for found, expected in zip(
            ([images for (images, _), _ in parts], [drawn for (_, drawn), _ in parts], [labels for _, labels in parts]),
            (*whole[0], whole[1]),
            strict=True,
        ):
            assert np.array_equal(np.concatenate(found), expected)


def test_each_epoch_and_seed_has_another_order() -> None:
    orders = [tuple(permute(np.arange(50), seed=s, epoch=e)) for s in range(3) for e in range(3)]
    assert len(set(orders)) == 9


def test_without_a_number_of_epochs_the_dataset_never_ends() -> None:
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
        def read_async(self, indices: object) -> PendingBatch:
            pending = super().read_async(indices)  # type: ignore[arg-type]
            addresses.add(pending.result().ctypes.data)
            return pending

    with Spy([store.part("train").reader_spec()]) as reader:
        for images, _ in dataset(reader, np.arange(12), batch_size=4, epochs=2):
            assert np.asarray(memoryview(images)).ctypes.data in addresses  # type: ignore[arg-type]


def test_an_error_of_the_reader_is_raised_as_it_was(store: Store) -> None:
    with (
        store.reader() as reader,
        pytest.raises(IndexError, match=r"^indices must be from 0 to 11\. Received: 12\. Remove it\.$"),
        reraise_reader_errors(reader) as watched,
    ):
        list(dataset(watched, [12], epochs=1))


def test_an_error_of_tensorflow_stays_one() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), reraise_reader_errors(NumberReader(3)):
        tf.reshape(tf.zeros(3), (2, 2))


@pytest.mark.parametrize(("indices", "batch_size"), [([], 4), ([True, False], 4), ([0.5], 4)])
def test_indices_that_are_not_integers_are_refused(indices: list[int], batch_size: int) -> None:
    with pytest.raises(ValueError, match="indices must be a sequence of at least one integer"):
        dataset(FolderReader([]), indices, batch_size)


@settings(deadline=None, max_examples=12)
@given(epoch=st.integers(0, 2), step=st.integers(0, 3), drop_last=st.booleans())
def test_a_resumed_dataset_delivers_what_an_uninterrupted_one_would(
    store: Store, epoch: int, step: int, drop_last: bool
) -> None:
    with store.reader(threads=2) as reader:
        options = {"batch_size": 4, "seed": 5, "epochs": 3, "drop_last": drop_last}
        options["draw"] = draw_symmetries(reader.image_shape, seed=5)
        whole = list(dataset(reader, np.arange(11), **options))
        n_steps = len(whole) // 3
        assert n_steps == (2 if drop_last else 3)
        resume_at = (epoch, min(step, n_steps))
        rest = list(dataset(reader, np.arange(11), **options, resume_at=resume_at))
        assert len(rest) == len(whole) - epoch * n_steps - resume_at[1]
        for one, other in zip(rest, whole[len(whole) - len(rest) :], strict=True):
            for left, right in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
                assert (left.numpy() == right.numpy()).all()


def test_a_dataset_can_be_iterated_again(store: Store) -> None:
    with store.reader() as reader:
        batches = dataset(reader, np.arange(12), 5, epochs=1)
        next(iter(batches))
        first, second = ([images.numpy() for images, _ in batches] for _ in range(2))
        assert [len(images) for images in first] == [5, 5, 2]
        assert all((one == other).all() for one, other in zip(first, second, strict=True))


def test_each_image_comes_with_its_orientation(store: Store) -> None:
    with store.reader() as reader:
        draw = draw_symmetries(reader.image_shape, seed=2)
        batches = dataset(reader, np.arange(12), 5, seed=2, epochs=2, draw=draw)
        (images, codes), labels = batches.element_spec
        assert (images.dtype, codes.dtype, labels.dtype) == (tf.uint8, tf.uint8, tf.float32)
        sampler = BatchSampler(np.arange(12), 5, seed=2)
        for step, ((images, codes), _) in enumerate(batches):
            chosen = sampler.indices(step)
            assert (images.numpy() == reader.read(chosen)).all()
            assert (codes.numpy() == draw_orientations(chosen, seed=2, epoch=step // 3)).all()


def test_memory_is_reused_when_tensors_are_deleted(store: Store) -> None:
    addresses = set()
    with store.reader() as reader:
        for images, _ in dataset(reader, np.arange(12), 4, epochs=20):
            addresses.add(np.asarray(memoryview(images)).ctypes.data)
    assert len(addresses) <= 8  # TensorFlow releases an array only with its next call into Python


def test_python_exits_while_a_batch_is_being_read(tmp_path: Path) -> None:
    reader = """
        import time
        import numpy as np

        class Slow:
            labels, image_shape = None, (2, 2, 1)
            def __len__(self):
                return 9
            def read_async(self, indices):
                return self
            def result(self):
                time.sleep(1)
                return np.zeros((3, 2, 2, 1), np.uint8)
        """
    # The iterator is a global variable: Python deletes it at the very end.
    script = """
        from slow import Slow
        from hpa_model.pipeline import dataset

        batches = iter(dataset(Slow(), range(9), 3))
        next(batches)
        print("one batch of an endless dataset")
        """
    (tmp_path / "slow.py").write_text(textwrap.dedent(reader))
    (tmp_path / "script.py").write_text(textwrap.dedent(script))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "one batch of an endless dataset\n"
