"""The cache of decoded samples."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.errors import InputError
from hpa_data.reader.cache import Cache, choose_cache_bytes
from hpa_data.store.store import Store, open_store
from hpa_data.system.memory import find_free_memory
from tests.builders import convert


@pytest.mark.parametrize("capacity", [0, 1, 5, 15, 100])
@settings(deadline=None, max_examples=8)
@given(batches=st.lists(st.lists(st.integers(0, 14), max_size=9), min_size=1, max_size=8))
def test_a_cache_changes_no_pixel(store: Store, oracle: np.ndarray, capacity: int, batches: list[list[int]]) -> None:
    with store.reader(["train", "test"], threads=2, cache_bytes=capacity * 2**20) as reader:
        for indices in batches * 2:
            assert (reader.read(indices) == oracle[indices]).all()


def test_what_is_cached_is_not_read_again(kaggle: Path, tmp_path: Path) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test")
    shard = tmp_path / "a.zarr" / "test" / "images" / "c" / "0" / "0" / "0" / "0"
    with open_store(tmp_path / "a.zarr").reader(["test"], cache_bytes=2 * 2**20) as reader:
        before = reader.read([0, 1, 2]).copy()
        shard.write_bytes(bytes(shard.stat().st_size))  # in place: the map sees it
        assert (reader.read([1, 0]) == before[[1, 0]]).all()
        with pytest.raises(InputError, match="damaged"):
            reader.read([2])


def test_a_cache_is_safe_in_several_threads() -> None:
    cache = Cache(50, (4, 4, 1), 30 * 16, threads=2)
    images = np.arange(50, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 1), np.uint8)

    def read_and_insert(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            samples = rng.integers(0, 50, 7)
            batch = np.full((7, 4, 4, 1), 255, np.uint8)
            missing, copies = cache.copy_async(samples, batch)
            for job in copies:
                job.result()
            batch[missing] = images[samples[missing]]
            assert (batch == images[samples]).all()
            cache.insert(samples, batch, missing)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_and_insert, range(4)))
    kept = np.zeros((50, 4, 4, 1), np.uint8)
    missing, copies = cache.copy_async(np.arange(50), kept)
    for job in copies:
        job.result()
    assert len(missing) == 20
    kept[missing] = images[missing]
    assert (kept == images).all()


def test_a_cache_must_fit_into_free_memory() -> None:
    free = find_free_memory()
    assert 2**20 < free < 2**50
    assert choose_cache_bytes(None, 1000) == 1000
    assert choose_cache_bytes(500, 1000) == 500
    assert choose_cache_bytes(2**60, 1000) == 1000  # more than all samples need
    assert choose_cache_bytes(None, 2**60) < free * 0.7
    with pytest.raises(InputError, match="Cannot cache samples in memory"):
        choose_cache_bytes(2**60, 2**60)
