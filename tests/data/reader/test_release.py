from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, Sample
from hpa_data.folds.duplicates import hash_samples
from hpa_data.reader.reader import Reader
from hpa_data.stats.intensities import measure_intensities
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.store import Store, open_store

N_SAMPLES, SIZE = 96, 256


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of 24 MiB, whose images do not compress."""
    path = tmp_path_factory.mktemp("noisy") / "a.zarr"
    rng = np.random.default_rng(0)
    plan = PartPlan(
        path=path,
        name="train",
        ids=tuple(map(str, range(N_SAMPLES))),
        labels=None,
        settings={},
        dataset=HPA_2018.resized(SIZE, SIZE),
        codec="raw",
        shard_samples=8,
    )
    image = rng.integers(0, 256, (SIZE, SIZE, 4), np.uint8)
    build_part(plan, range(N_SAMPLES), lambda row: Sample(image=np.roll(image, row)), expected_bytes=lambda n: n)
    return open_store(path)


def count_mapped_bytes(store: Store) -> int:
    """Count the bytes of the store's files that are in this process's memory."""
    total, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith("Rss:"):
            total += 1024 * int(line.split()[1]) * is_ours
        elif "-" in line.split()[0]:
            is_ours = f"{store.path}/" in line
    return total


pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what is mapped")


def test_samples_that_are_released_take_no_memory_and_can_be_read_again(noisy: Store) -> None:
    with noisy.reader() as reader:
        first = reader.read(np.arange(N_SAMPLES)).copy()
        assert count_mapped_bytes(noisy) >= first.nbytes
        reader.release(np.arange(N_SAMPLES))
        assert count_mapped_bytes(noisy) == 0
        np.testing.assert_array_equal(reader.read(np.arange(N_SAMPLES)), first)


def test_opening_a_reader_leaves_no_shard_in_memory(noisy: Store) -> None:
    with noisy.reader():
        assert count_mapped_bytes(noisy) == 0


def test_a_pass_over_the_store_leaves_no_shard_in_memory(noisy: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with noisy.reader() as reader:
        hash_samples(reader, np.arange(N_SAMPLES), threads=2)
        assert count_mapped_bytes(noisy) == 0
    most = []
    release = Reader.release
    monkeypatch.setattr(Reader, "release", lambda *given: (most.append(count_mapped_bytes(noisy)), release(*given)))
    measure_intensities(noisy, "train", threads=2)
    assert max(most) <= 64 * SIZE**2 * 4 + 8 * 2**16
