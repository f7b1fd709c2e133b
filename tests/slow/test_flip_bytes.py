"""Two thousand bytes are changed in shards, one at a time, and an epoch is read with each (`make test-slow`)."""

import random
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.format.options import CodecName
from tests.builders import build_store
from tests.flips import flip_shards

N_FLIPS = 2000

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("engine", ["mapped", "past the page cache", "ranges", "tensorstore"])
@pytest.mark.parametrize("codec", ["lz4hc", "raw"])
def test_no_changed_byte_of_a_shard_reaches_a_batch_in_silence(engine: str, codec: CodecName, tmp_path: Path) -> None:
    dataset = HPA_2018.resized(64, 64)
    labels = np.eye(len(dataset.classes), dtype=np.uint8)[np.arange(12)]
    store = build_store(tmp_path / "a.zarr", dataset, labels, codec=codec)
    counts = flip_shards(store, engine, n_flips=N_FLIPS, rng=random.Random(len(codec)), batch_size=5)
    assert counts["silent"] == 0
    assert counts["refused"] > 0.95 * N_FLIPS
