"""Samples of a store that does not fit into memory are read past the page cache, and are the same."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.reader import disk_ahead, past_cache
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.disk_ahead import DiskAhead
from hpa_data.reader.past_cache import PastCache
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store
from hpa_data.system import mapping
from hpa_data.system.mapping import MappedFile
from tests.builders import build_store

N = 40
DATASET = HPA_2018.resized(64, 64)


@pytest.fixture(scope="module", params=["raw", "lz4hc"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    labels = np.eye(len(DATASET.classes), dtype=np.uint8)[np.arange(N) % 28]
    store = build_store(tmp_path_factory.mktemp("past") / "a.zarr", DATASET, labels, codec=request.param)
    shard = store.part("train").shard_path(0)
    try:
        os.close(MappedFile(shard, max_bytes=2**30).open_past_cache())
    except OSError:
        pytest.skip("this file system has no reading past the page cache")
    return store


@pytest.fixture(scope="module")
def right(small: Store) -> np.ndarray:
    with small.reader() as reader:
        return reader.read(np.arange(N)).copy()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give a list with the bytes of memory that are free, none at first."""
    found = [0]
    monkeypatch.setattr(disk_ahead, "find_free_memory", lambda: found[0])
    return found


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the samples that were read past the page cache."""
    samples: list[int] = []
    load = PastCache._load

    def record(past: PastCache, sample: int, *rest: Any) -> None:
        samples.append(sample)
        load(past, sample, *rest)

    monkeypatch.setattr(PastCache, "_load", record)
    return samples


def find_past(reader: Reader) -> PastCache:
    ahead = reader._engine.look_ahead()
    assert isinstance(ahead, DiskAhead)
    assert ahead._past is not None
    return ahead._past


@pytest.mark.parametrize("case", [(3, 0.0), (3, 0.6), (N, 0.0), (N, 0.6)])
def test_epochs_of_a_store_that_does_not_fit_are_right(
    small: Store, free: list[int], loaded: list[int], monkeypatch: pytest.MonkeyPatch, case: tuple[int, float]
) -> None:
    batch_size, share = case
    with small.reader() as reader:
        right = reader.read(np.arange(N)).copy()
    monkeypatch.setattr(disk_ahead, "MAX_SAMPLES", 6)  # of a store of this size, no epoch is ahead of the next
    monkeypatch.setattr(past_cache, "MAX_BYTES", 0)
    loaded.clear()
    free[0] = int(share * small.part("train").shard_path(0).stat().st_size)
    with small.reader(threads=2) as reader:
        for batch in iter_batches(reader, BatchSampler(np.arange(N), batch_size, seed=1), epochs=3):
            assert (batch.images == right[batch.indices]).all()
    n_kept = N - len(set(loaded))
    assert n_kept == pytest.approx(disk_ahead.KEPT_SHARE * share * N, abs=1)
    # One that is still in memory from the last epoch is not read again.
    assert 2.5 * (N - n_kept) < len(loaded) <= 3 * (N - n_kept)


@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_whatever_is_expected_what_is_read_is_right(small: Store, right: np.ndarray, data: st.DataObject) -> None:
    samples = st.lists(st.integers(0, N - 1), max_size=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_ahead, "find_free_memory", lambda: 0)
        patch.setattr(past_cache, "MAX_BYTES", 0)  # the fewest places
        patch.setattr(past_cache, "PATIENCE", data.draw(st.integers(0, 2)))
        with small.reader(threads=3) as reader:
            for expected, requested in data.draw(st.lists(st.tuples(samples, samples), max_size=8)):
                reader.expect(expected)
                assert (reader.read(requested) == right[requested]).all()
                if requested:
                    assert (reader.read_one(requested[0]) == right[requested[0]]).all()


def test_it_is_safe_in_several_threads(small: Store, right: np.ndarray, free: list[int]) -> None:
    with small.reader(threads=2) as reader:

        def read(seed: int) -> None:
            sampler = BatchSampler(np.arange(N), 4, seed=seed)
            for batch in iter_batches(reader, sampler, epochs=5):
                assert (batch.images == right[batch.indices]).all()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(read, range(4)))


def test_what_was_expected_in_vain_does_not_stay(
    small: Store, right: np.ndarray, free: list[int], loaded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_cache, "MAX_BYTES", 0)
    with small.reader(threads=1) as reader:
        n_places = find_past(reader).n_samples
        assert n_places < N // 2
        reader.expect(np.arange(n_places))  # and never requested
        for _ in range(3):
            order = np.arange(n_places, N)
            for start in range(0, len(order), 4):
                chosen = order[start : start + 4]
                assert (reader.read(chosen) == right[chosen]).all()
        loaded.clear()
        assert (reader.read(np.arange(20, 24)) == right[20:24]).all()
        assert loaded == [20, 21, 22, 23]


@pytest.mark.parametrize("failure", ["error", "nothing", "short"])
def test_what_cannot_be_read_past_the_page_cache_is_read_from_the_map(
    small: Store, right: np.ndarray, free: list[int], monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    calls = itertools.count()

    def fail(file: int, buffers: list[memoryview], offset: int) -> int:
        if next(calls) % 2:
            return real(file, buffers, offset)
        if failure == "error":
            raise OSError(5, "Input/output error")
        return 0 if failure == "nothing" else real(file, [buffers[0][:4096]], offset) - 4000

    real = os.preadv
    monkeypatch.setattr(past_cache.os, "preadv", fail)
    with small.reader(threads=2) as reader:
        for batch in iter_batches(reader, BatchSampler(np.arange(N), 7, seed=0), epochs=2):
            assert (batch.images == right[batch.indices]).all()
    assert next(calls) > N


def test_where_files_cannot_be_opened_so_all_is_read_from_the_map(
    small: Store, right: np.ndarray, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: MappedFile) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(MappedFile, "open_past_cache", refuse)
    with small.reader() as reader:
        assert reader._engine.look_ahead()._past is None  # type: ignore[union-attr]
        assert (reader.read(np.arange(N)) == right).all()


def test_a_file_that_was_replaced_is_not_read_in_its_place(small: Store, tmp_path: Path) -> None:
    path = tmp_path / "shard"
    path.write_bytes(small.part("train").shard_path(0).read_bytes())
    file = MappedFile(path, max_bytes=2**30)
    os.close(file.open_past_cache())
    (tmp_path / "other").write_bytes(path.read_bytes())
    (tmp_path / "other").replace(path)
    with pytest.raises(OSError, match="Stale"):
        file.open_past_cache()


def test_a_file_that_is_cut_short_is_an_error(tmp_path: Path, free: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "CHECK_S", 0.0)  # look at each
    labels = np.eye(len(DATASET.classes), dtype=np.uint8)[np.arange(N) % 28]
    store = build_store(tmp_path / "a.zarr", DATASET, labels, codec="raw")
    with store.reader() as reader:
        os.truncate(store.part("train").shard_path(0), 100_000)
        with pytest.raises(InputError, match="cut short"):
            reader.read(np.arange(N))


def test_a_forked_process_reads_by_itself(small: Store, right: np.ndarray, free: list[int]) -> None:
    with small.reader(threads=2) as reader:
        reader.expect(np.arange(20))
        child = os.fork()
        if not child:
            is_right = False
            try:
                is_right = bool((reader.read(np.arange(N)) == right).all())
            finally:
                os._exit(0 if is_right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert (reader.read(np.arange(N)) == right).all()


def test_its_memory_is_bounded_and_its_files_are_closed(small: Store, free: list[int]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with small.reader() as reader:
        past = find_past(reader)
        assert past.n_samples * past._place_bytes <= past_cache.MAX_BYTES
        reader.read(np.arange(N))
    assert len(os.listdir("/proc/self/fd")) == before
    past.expect([1, 2])  # of a closed reader: nothing
    assert not past._read
    assert not past._free
