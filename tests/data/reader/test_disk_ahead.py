"""Samples are fetched from the disk before they are decoded, and nothing is fetched where all is in memory."""

import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.reader import disk_ahead
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.disk_ahead import DiskAhead
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store
from hpa_data.system import mapping
from hpa_data.system.mapping import MappedFile
from hpa_data.system.paging import find_madvise, find_mincore
from tests.builders import build_store, list_files

pytestmark = pytest.mark.skipif(find_madvise() is None or find_mincore() is None, reason="needs Linux")

N = 40
DATASET = HPA_2018.resized(64, 64)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Give a store whose samples, each of four pages, lie in one shard."""
    labels = np.eye(len(DATASET.classes), dtype=np.uint8)[np.arange(N) % 28]
    store = build_store(tmp_path_factory.mktemp("ahead") / "a.zarr", DATASET, labels, codec="raw")
    for path in list_files(store.path):
        with (store.path / path).open("rb") as file:
            os.fsync(file)
    return store


@pytest.fixture
def right(small: Store) -> np.ndarray:
    with small.reader() as reader:
        return reader.read(np.arange(N))


def drop(store: Store) -> None:
    """Have the system drop a store from memory; no reader of it may be open."""
    for path in list_files(store.path):
        with (store.path / path).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    path = store.part("train").shard_path(0)
    if MappedFile(path, max_bytes=2**30).fetch(path.stat().st_size - 1, path.stat().st_size):  # of its index
        pytest.skip("this file system keeps its files in memory")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Give the ranges of bytes that are fetched because they were not in memory."""
    ranges: list[tuple[int, int]] = []
    fetch = MappedFile.fetch

    def record(file: MappedFile, start: int, stop: int) -> bool:
        was_there = fetch(file, start, stop)
        if not was_there:
            ranges.append((start, stop))
        return was_there

    monkeypatch.setattr(MappedFile, "fetch", record)
    return ranges


def find_ahead(reader: Reader) -> DiskAhead:
    ahead = reader._engine.look_ahead()
    assert isinstance(ahead, DiskAhead)
    return ahead


def test_bytes_that_are_fetched_are_in_memory_soon(small: Store) -> None:
    drop(small)
    file = MappedFile(small.part("train").shard_path(0), max_bytes=2**30)
    assert not file.fetch(10_000, 200_000)
    until = time.monotonic() + 30
    while not file.fetch(10_000, 200_000) and time.monotonic() < until:
        time.sleep(0.01)
    assert all(file.fetch(at, at + 1) for at in range(10_000, 200_000, mmap.PAGESIZE))


def test_no_advice_is_longer_than_the_system_takes_and_none_is_missing(small: Store) -> None:
    file = MappedFile(small.part("train").shard_path(0), max_bytes=2**30)
    advised: list[tuple[int, int]] = []
    file._mincore, file._request_bytes = None, 8192
    file._advise = lambda address, n_bytes, _: advised.append((address - file._address, n_bytes))
    assert not file.fetch(5000, 40_001)
    assert all(start % mmap.PAGESIZE == 0 and n_bytes <= 8192 for start, n_bytes in advised)
    assert [start + n_bytes for start, n_bytes in advised[:-1]] == [start for start, _ in advised[1:]]
    assert advised[0][0] == 4096
    assert sum(advised[-1]) == 40_001


@pytest.mark.parametrize("batch_size", [4, N])
def test_every_sample_of_an_epoch_is_fetched_and_right(
    batch_size: int,
    small: Store,
    right: np.ndarray,
    fetched: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disk_ahead, "MAX_SAMPLES", 6)  # fewer than one request has, and more than another
    monkeypatch.setattr(mapping, "CHECK_S", 0.0)  # look at each
    drop(small)
    with small.reader(threads=2) as reader:
        assert find_ahead(reader).n_samples == 6
        n_before = len(fetched)
        seen = []
        for batch in iter_batches(reader, BatchSampler(np.arange(N), batch_size, seed=1), epochs=1):
            assert (batch.images == right[batch.indices]).all()
            seen += batch.indices.tolist()
        assert sorted(seen) == list(range(N))
        missing = set(range(N)) - {start // right[0].nbytes for start, _ in fetched[n_before:]}
        assert missing <= set(range(8))  # opening reads the first byte of a file, and the system some more


def test_what_is_in_memory_is_no_longer_asked_for_until_something_is_missing(
    small: Store, right: np.ndarray, fetched: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_ahead, "N_THERE", 8)
    monkeypatch.setattr(mapping, "CHECK_S", 0.0)  # look at each
    with small.reader(threads=1) as reader:
        reader.read(np.arange(N))
        ahead = find_ahead(reader)
        reader.read(np.arange(N))  # the thread that looks ahead of the first request has ended
        until = time.monotonic() + 30
        while ahead.n_samples and time.monotonic() < until:
            time.sleep(0.01)
        assert ahead.n_samples == 0
        assert ahead._threads._queue.empty()
        fetched.clear()
        ahead.expect(np.arange(N))
        assert not ahead._is_expected.any()
        reader.release(np.arange(N))
        drop(small)
        fetched.clear()
        assert (reader.read([20, 3]) == right[[20, 3]]).all()
        assert fetched
        assert ahead.n_samples > 0


def test_pages_are_given_back_at_once_where_the_store_does_not_fit_into_memory(
    small: Store, right: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_resident_kib(path: Path) -> int:
        lines = iter(Path("/proc/self/smaps").read_text().splitlines())
        of_file = [[next(lines) for _ in range(8)] for line in lines if line.endswith(str(path))]
        return sum(int(line.split()[1]) for fields in of_file for line in fields if line.startswith("Rss:"))

    path = small.part("train").shard_path(0)
    for free, is_short in ((2**40, False), (1000, True)):
        monkeypatch.setattr(disk_ahead, "find_free_memory", lambda free=free: free)
        with small.reader() as reader:
            assert (reader.read(np.arange(N)) == right).all()
            assert (reader.read(np.arange(N)) == right).all()
            resident = read_resident_kib(path)
        assert resident <= 64 if is_short else resident > right.nbytes // 1024 // 2


def test_of_a_pass_over_a_store_no_more_is_fetched_than_is_read_soon(
    small: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_ahead, "MAX_SAMPLES", 6)
    with small.reader() as reader:
        reader.expect(np.arange(N))
        assert np.flatnonzero(find_ahead(reader)._is_expected).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_closed_reader_fetches_nothing(small: Store) -> None:
    with small.reader() as reader:
        ahead = find_ahead(reader)
        reader.read([1])
    ahead.expect(np.arange(N))
    ahead.fetch(3)
    assert not ahead._files
