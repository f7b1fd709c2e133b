"""Reading any samples of any parts: the right images, memory that is reused, errors that name the sample."""

import gc
import random
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.dataset import Channel, Dataset, Sample
from hpa_data.errors import InputError
from hpa_data.format.options import CodecName
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import write_shards
from tests.builders import begin, build_store, convert, draw_image

PAGE = 4096


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
    with store.reader() as labeled:
        assert labeled.labels is not None
        assert labeled.labels.shape == (12, 28)


@pytest.mark.parametrize("indices", [[15], [-1], [0, 2**62], [0.5], [[0]], "ab", [None]])
def test_indices_that_are_out_of_range_or_no_integers_are_refused(reader: Reader, indices: object) -> None:
    with pytest.raises(IndexError, match="indices must be"):
        reader.read(indices)  # type: ignore[arg-type]


def test_several_threads_may_read_at_once(reader: Reader, oracle: np.ndarray) -> None:
    orders = [np.random.default_rng(seed).integers(0, 15, 16) for seed in range(24)]
    with ThreadPoolExecutor(6) as pool:
        for order, batch in zip(orders, pool.map(reader.read, orders), strict=True):
            assert (batch == oracle[order]).all()


def test_a_batch_is_page_aligned_and_its_memory_is_reused(reader: Reader) -> None:
    first = reader.read([0, 1, 2])
    address = first.ctypes.data
    assert address % PAGE == 0
    del first
    gc.collect()
    assert reader.read([3, 4, 5]).ctypes.data == address


def test_memory_is_not_reused_while_a_view_of_it_lives(reader: Reader, oracle: np.ndarray) -> None:
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
    """Give a store of one part and one shard, to be damaged."""
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    return tmp_path / "a.zarr"


def shard_path(store: Path, part: str = "test") -> Path:
    return store / part / "images" / "c" / "0" / "0" / "0" / "0"


@pytest.mark.parametrize("keep", [0, 10, 5000, -1])
def test_a_shard_cut_short_is_refused(broken: Path, keep: int) -> None:
    shard = shard_path(broken)
    shard.write_bytes(shard.read_bytes()[:keep])
    with pytest.raises(InputError, match="its shard .*images.* is damaged or missing"):
        open_store(broken).reader(["test"])


def test_a_missing_shard_is_refused(broken: Path) -> None:
    shard_path(broken).unlink()
    with pytest.raises(InputError, match="is damaged or missing.*No such file"):
        open_store(broken).reader(["test"])


def test_a_damaged_chunk_is_refused_and_its_sample_named(broken: Path) -> None:
    shard = shard_path(broken)
    content = bytearray(shard.read_bytes())
    content[12] ^= 0xFF  # the length in the header of the first chunk
    shard.write_bytes(content)
    reader = open_store(broken).reader(["test"])
    assert (reader.read([1])[0] == draw_image(101)).all()
    with pytest.raises(InputError, match="Cannot read sample 'new-0' of part 'test': its bytes in .* are damaged"):
        reader.read([1, 0])


@pytest.mark.parametrize("codec", ["raw", "lz4hc"])
def test_a_flipped_bit_in_an_image_never_reaches_a_batch(tmp_path: Path, codec: CodecName) -> None:
    dataset = Dataset(name="small", channels=(Channel(name="red"),), classes=("one",), height=40, width=40)
    store = build_store(tmp_path / "a.zarr", dataset, [[1], [0], [1]], codec=codec)
    with store.reader() as reader:
        images = reader.read([0, 1, 2]).copy()
    shard = shard_path(store.path, "train")
    content, rng = shard.read_bytes(), random.Random(0)
    n_refused = 0
    for _ in range(60):
        changed = bytearray(content)
        changed[rng.randrange(len(content) - 64 * 16)] ^= 1 << rng.randrange(8)
        shard.write_bytes(changed)
        try:
            with store.reader() as reader:
                assert (reader.read([2, 1, 0]) == images[::-1]).all()
        except InputError:
            n_refused += 1
    assert n_refused > 50


def test_a_sample_that_failed_or_is_pending_is_never_a_black_image(tmp_path: Path) -> None:
    part = begin(tmp_path / "a", "abcd", shard_samples=2)

    def read(index: int) -> Sample:
        if index == 1:
            raise InputError("not readable")
        return Sample(image=draw_image(index))

    write_shards(part, range(4), read)
    zarr.open_group(part.path, mode="r+")["status"][2:4] = 0
    reader = open_store(tmp_path / "a").reader()
    assert reader.status.tolist() == [1, 2, 0, 0]
    assert (reader.read([0])[0] == draw_image(0)).all()
    with pytest.raises(InputError, match="Cannot read sample 'b', index 1: its conversion failed"):
        reader.read([0, 1])
    with pytest.raises(InputError, match="Cannot read sample 'd', index 3: it is not converted yet"):
        reader.read([3])


def read_unless_closed(reader: Reader) -> bool:
    """Read a batch; False if the reader is closed."""
    try:
        return reader.read([0, 1]).shape == (2, 512, 512, 4)
    except ValueError as error:
        return "the reader is closed" not in str(error)


def test_closing_while_batches_are_requested_never_hangs(store: Store) -> None:
    for _ in range(20):
        reader = store.reader(threads=2)
        with ThreadPoolExecutor(2) as pool:
            reading = [pool.submit(read_unless_closed, reader) for _ in range(6)]
            reader.close()
            assert all(future.result(timeout=60) in {True, False} for future in reading)
        assert not read_unless_closed(reader)


def test_a_failed_read_releases_its_memory_at_once(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    shard = tmp_path / "a.zarr" / "test" / "images" / "c" / "0" / "0" / "0" / "0"
    with open_store(tmp_path / "a.zarr").reader(["test"], threads=1) as reader:
        shard.write_bytes(bytes(shard.stat().st_size))  # in place: the map sees it
        gc.disable()
        try:
            for _ in range(5):
                with pytest.raises(InputError, match="damaged"):
                    reader.read([0, 1])
            assert len(reader._buffers._free) == 1
        finally:
            gc.enable()


def test_a_closed_reader_refuses_to_read(store: Store) -> None:
    reader = store.reader()
    reader.close()
    reader.close()
    for use in (reader.read, reader.read_async):
        with pytest.raises(ValueError, match="Cannot read: the reader is closed"):
            use([0])
    with pytest.raises(ValueError, match="Cannot read: the reader is closed"):
        reader.read_one(0)


def test_no_threads_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="threads must be from 1 to 1024"):
        store.reader(threads=0)


def test_memory_stays_flat_over_epochs(store: Store) -> None:
    with store.reader(["train", "test"], threads=2) as reader:
        sampler = BatchSampler(np.arange(15), 4)
        sizes = []
        for epoch in range(20):
            for batch in iter_batches(reader, sampler, resume_at=(epoch, 0), epochs=epoch + 1):
                assert batch.images.any()
            sizes.append(psutil.Process().memory_info().rss)
        assert max(sizes[2:]) - sizes[2] < 4 * 2**20  # less than a batch


@pytest.mark.parametrize(("limit", "status"), [(60, 0), (20, 2)])
def test_few_open_files_do_for_a_few_shards_or_the_need_is_told(store: Store, limit: int, status: int) -> None:
    code = (
        "import sys; from hpa_data.store.store import open_store; from hpa_data.errors import InputError\n"
        "try: print(open_store(sys.argv[1]).reader().read([0]).shape)\n"
        "except InputError as error: print(error); sys.exit(2)\n"
    )
    script = f"ulimit -n {limit}; exec '{sys.executable}' -c \"$0\" '{store.path}'"
    done = subprocess.run(["sh", "-c", script, code], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    if status:
        assert re.search(r"each stays open .* takes \d+; this process may open 20\. Let an administrator", done.stdout)
