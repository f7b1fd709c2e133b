import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import write_shards
from tests.builders import begin, convert, draw_image

PAGE = 4096


@pytest.fixture(scope="module")
def oracle(store: Store) -> np.ndarray:
    """Give the images of both parts as zarr-python reads them."""
    group = zarr.open_group(store.path, mode="r")
    return np.concatenate([group["train"]["images"][:], group["test"]["images"][:]])


@pytest.fixture(scope="module")
def reader(store: Store) -> Reader:
    return store.reader(parts=["train", "test"], threads=2)


@settings(max_examples=40, deadline=None)
@given(indices=st.lists(st.integers(0, 14), max_size=20))
def test_any_indices_give_the_images_that_zarr_gives(reader: Reader, oracle: np.ndarray, indices: list[int]) -> None:
    batch = reader.read(indices)
    assert batch.dtype == np.uint8
    assert batch.shape == (len(indices), 512, 512, 4)
    assert (batch == oracle[indices]).all()


def test_parts_are_numbered_one_after_the_other(reader: Reader, store: Store) -> None:
    assert len(reader) == 15
    assert reader.ids == store.part("train").ids + store.part("test").ids
    assert reader.status.tolist() == [1] * 15


def test_labels_are_there_only_if_every_part_has_them(store: Store, reader: Reader) -> None:
    assert reader.labels is None
    with store.reader() as labelled:
        assert labelled.labels is not None
        assert labelled.labels.shape == (12, 28)


@pytest.mark.parametrize("indices", [[15], [-1], [0, 2**62], [0.5], [[0]], "ab", [None]])
def test_indices_that_name_no_sample_are_refused(reader: Reader, indices: object) -> None:
    with pytest.raises(IndexError, match="indices must be"):
        reader.read(indices)  # type: ignore[arg-type]


def test_several_threads_may_read_at_once(reader: Reader, oracle: np.ndarray) -> None:
    orders = [np.random.default_rng(seed).integers(0, 15, 16) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        for order, batch in zip(orders, pool.map(reader.read, orders), strict=True):
            assert (batch == oracle[order]).all()


def test_a_batch_is_page_aligned_and_its_memory_is_used_again(reader: Reader) -> None:
    first = reader.read([0, 1, 2])
    address = first.ctypes.data
    assert address % PAGE == 0
    del first
    gc.collect()
    assert reader.read([3, 4, 5]).ctypes.data == address


def test_memory_is_not_used_again_while_a_view_of_it_lives(reader: Reader, oracle: np.ndarray) -> None:
    view = reader.read([0, 1, 2])[1, 5:9].reshape(-1)[3:]
    kept = view.copy()
    gc.collect()
    for _ in range(3):
        assert reader.read([3, 4, 5]).shape[0] == 3
    assert (view == kept).all()


def test_a_batch_outlives_its_reader(store: Store, oracle: np.ndarray) -> None:
    with store.reader() as short:
        batch = short.read([7])
    del short
    gc.collect()
    assert (batch[0] == oracle[7]).all()


@pytest.fixture
def broken(kaggle: Path, tmp_path: Path) -> Path:
    """Hold a store of one part and one shard, to be damaged."""
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    return tmp_path / "a.zarr"


def shard_of(store: Path) -> Path:
    return store / "test" / "images" / "c" / "0" / "0" / "0" / "0"


@pytest.mark.parametrize("keep", [0, 10, 5000, -1])
def test_a_shard_cut_short_is_refused(broken: Path, keep: int) -> None:
    shard = shard_of(broken)
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"must be a whole file\. Received: .*images"):
        open_store(broken).reader(["test"])


def test_a_missing_shard_is_refused(broken: Path) -> None:
    shard_of(broken).unlink()
    with pytest.raises(InputError, match="must be a whole file.*No such file"):
        open_store(broken).reader(["test"])


def test_a_damaged_chunk_is_refused_with_the_name_of_its_sample(broken: Path) -> None:
    shard = shard_of(broken)
    content = bytearray(shard.read_bytes())
    content[12] ^= 0xFF  # the length in the header of the first chunk
    shard.write_bytes(content)
    reader = open_store(broken).reader(["test"])
    assert (reader.read([1])[0] == draw_image(101)).all()
    with pytest.raises(InputError, match=r"must be whole\. Received: sample 'new-0' of part 'test', damaged in"):
        reader.read([1, 0])


def test_a_sample_that_failed_or_is_pending_is_never_a_black_image(tmp_path: Path) -> None:
    part = begin(tmp_path / "a", "abcd", shard_samples=2)

    def read(index: int) -> Sample:
        if index == 1:
            raise InputError("no such luck")
        return Sample(image=draw_image(index))

    write_shards(part, range(4), read)
    part.group["status"][2:4] = 0  # type: ignore[index]
    reader = open_store(tmp_path / "a").reader()
    assert reader.status.tolist() == [1, 2, 0, 0]
    assert (reader.read([0])[0] == draw_image(0)).all()
    with pytest.raises(InputError, match="sample 'b', which failed to convert"):
        reader.read([0, 1])
    with pytest.raises(InputError, match="sample 'd', which is not yet converted"):
        reader.read([3])
