"""Samples of a store that does not fit into memory are read past the page cache, and are the same."""

import contextlib
import itertools
import os
from collections.abc import Iterator
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


@pytest.fixture
def displaced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the samples whose place another one took before they were used."""
    samples: list[int] = []
    make_room = PastCache._make_room

    def record(past: PastCache, *, for_later: bool) -> bool:
        before = dict(past._read)
        is_made = make_room(past, for_later=for_later)
        samples.extend(set(before) - set(past._read))
        return is_made

    monkeypatch.setattr(PastCache, "_make_room", record)
    return samples


@pytest.fixture
def missed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give the samples that were not there when they were needed."""
    samples: list[int] = []
    take = PastCache.take

    @contextlib.contextmanager
    def record(past: PastCache, sample: int) -> Iterator[Any]:
        with take(past, sample) as chunk:
            if chunk is None:
                samples.append(sample)
            yield chunk

    monkeypatch.setattr(PastCache, "take", record)
    return samples


def find_ahead(reader: Reader) -> DiskAhead:
    ahead = reader._engine.look_ahead()
    assert isinstance(ahead, DiskAhead)
    return ahead


def find_past(reader: Reader) -> PastCache:
    past = find_ahead(reader)._past
    assert past is not None
    return past


@pytest.mark.parametrize("case", [(3, 0.0), (3, 0.6), (N, 0.0), (N, 0.6)])
def test_epochs_of_a_store_that_does_not_fit_are_right(
    small: Store,
    *,
    free: list[int],
    loaded: list[int],
    displaced: list[int],
    missed: list[int],
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int, float],
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
        n_places = len(find_past(reader)._places)
    n_kept = N - len(set(loaded))
    assert n_kept == pytest.approx(disk_ahead.KEPT_SHARE * share * N, abs=1)
    # In each epoch, all were read or missed, but for those that were still in memory from the epoch before. None was
    # read twice but for those that had to give up their place, to samples that were needed before.
    n_needed = 3 * (N - n_kept)
    assert n_needed - 2 * n_places <= len(loaded) + len(missed) - len(displaced)
    assert len(loaded) - len(displaced) <= n_needed
    assert len(displaced) <= 2 * disk_ahead.MAX_SAMPLES  # those that were expected while an epoch ended


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


@pytest.fixture
def few_places(free: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Read all past the page cache, into the fewest places."""
    monkeypatch.setattr(disk_ahead, "MAX_SAMPLES", 6)
    monkeypatch.setattr(past_cache, "MAX_BYTES", 0)


def read_epoch(reader: Reader, chosen: np.ndarray, right: np.ndarray) -> None:
    for batch in iter_batches(reader, BatchSampler(chosen, 2, seed=5), epochs=1):
        assert (batch.images == right[batch.indices]).all()


@pytest.mark.parametrize("what", ["abandoned", "paused", "plain"])
def test_another_iteration_does_not_keep_one_from_reading_ahead(
    small: Store, right: np.ndarray, few_places: None, missed: list[int], what: str
) -> None:
    with small.reader(threads=1) as reader:
        other = iter_batches(reader, BatchSampler(np.arange(20), 2, seed=3))
        next(other)
        if what == "abandoned":
            other.close()
        missed.clear()
        if what == "plain":
            for first in range(20, N, 4):
                assert (reader.read(np.arange(first, first + 4)) == right[first : first + 4]).all()
        else:
            read_epoch(reader, np.arange(20, N), right)
    assert len(missed) <= 4


def test_training_and_validation_in_turn_read_ahead(
    small: Store, right: np.ndarray, few_places: None, missed: list[int]
) -> None:
    with small.reader(threads=1) as reader:
        training = BatchSampler(np.arange(30), 2, seed=3)
        batches = iter_batches(reader, training, epochs=4)
        for _ in range(4):
            for batch in itertools.islice(batches, training.n_steps):
                assert (batch.images == right[batch.indices]).all()
            read_epoch(reader, np.arange(30, N), right)
    assert len(missed) <= 0.1 * 4 * N


def test_a_batch_that_failed_leaves_no_place_in_use_for_good(
    small: Store, right: np.ndarray, free: list[int], missed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_cache, "MAX_BYTES", 0)
    monkeypatch.setattr(past_cache, "PATIENCE", 1)
    with small.reader(threads=1) as reader:
        past = find_past(reader)
        past.request(range(len(past._places)))  # of a batch that nobody decodes
        for _ in range(2):
            for sample in range(len(past._places), N):
                reader.read([sample])
        missed.clear()
        reader.read(np.arange(N - 4, N))
        assert not missed


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


def test_what_fails_again_and_again_is_no_longer_tried(
    small: Store, right: np.ndarray, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(22, "Invalid argument")

    fetched: list[int] = []
    fetch = MappedFile.fetch
    monkeypatch.setattr(past_cache.os, "preadv", fail)
    with small.reader(threads=2) as reader:
        while find_past(reader).works:
            assert (reader.read(np.arange(N)) == right).all()
        monkeypatch.setattr(
            MappedFile, "fetch", lambda file, start, stop: fetched.append(start) or fetch(file, start, stop)
        )
        read_epoch(reader, np.arange(N), right)
    assert len(set(fetched)) == N


def test_a_system_without_a_thread_to_spare_loses_no_place(
    small: Store, right: np.ndarray, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Any:
        raise RuntimeError("can't start new thread")

    with small.reader(threads=2) as reader:
        past = find_past(reader)
        reader.read([0])
        start = past._threads.start
        monkeypatch.setattr(past._threads, "start", refuse)
        for sample in range(30):
            past.fetch(sample)
        assert len(past._free) + len(past._read) == len(past._places)
        monkeypatch.setattr(past._threads, "start", start)
        assert (reader.read(np.arange(N)) == right).all()


def test_a_sample_that_is_far_larger_than_others_has_no_place(
    small: Store, right: np.ndarray, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_cache, "USUAL_PERCENT", 50)
    with small.reader(threads=2) as reader:
        past = find_past(reader)
        sizes = past._bounds[:, 1] - past._bounds[:, 0]
        assert past.fits.sum() >= N / 2
        assert sizes[past.fits].max() + 2 * 4096 >= past._place_bytes >= sizes[past.fits].max()
        assert (reader.read(np.arange(N)) == right).all()


def test_files_are_left_for_another_reader(small: Store, free: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    n_open = len(os.listdir("/proc/self/fd"))
    limit = n_open + 40  # enough to map the shards, not to open them once more
    monkeypatch.setattr("hpa_data.system.os_errors.resource.getrlimit", lambda _: (limit, limit))
    monkeypatch.setattr("hpa_data.system.os_errors.resource.setrlimit", lambda *_: None)
    with small.reader() as reader:
        assert find_ahead(reader)._past is None


def test_where_files_cannot_be_opened_so_all_is_read_from_the_map(
    small: Store, right: np.ndarray, free: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: MappedFile) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(MappedFile, "open_past_cache", refuse)
    with small.reader() as reader:
        assert find_ahead(reader)._past is None
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


def test_a_forked_process_reads_by_itself_and_its_memory_is_its_own(
    small: Store, right: np.ndarray, free: list[int], missed: list[int]
) -> None:
    with small.reader(threads=2) as reader:
        reader.expect(np.arange(20))
        reader.read([0])
        child = os.fork()
        if not child:
            status = 1
            try:
                own = [np.full(2**20, 7, np.uint8) for _ in range(60)]
                missed.clear()
                is_right = all((reader.read(np.arange(N)) == right).all() for _ in range(5))
                is_own = all((values == 7).all() for values in own)
                status = 0 if is_right and is_own and len(missed) < N else 1
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert (reader.read(np.arange(N)) == right).all()


def test_its_memory_is_bounded_and_its_files_are_closed(small: Store, free: list[int]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with small.reader() as reader:
        past = find_past(reader)
        assert len(past._places) * past._place_bytes <= past_cache.MAX_BYTES
        reader.read(np.arange(N))
    assert len(os.listdir("/proc/self/fd")) == before
    assert not past._read
    assert not past._free
    assert not past._places
