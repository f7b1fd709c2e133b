"""Reading at a URL: what is fetched, and connections that break at random (`make test-slow`)."""

import random
import re

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.store.store import Store, open_store
from tests.builders import build_store
from tests.web_server import Handler, web_server

pytestmark = pytest.mark.slow

N_SAMPLES, N_READ = 300, 20
INDEX_BYTES = 64 * 16 + 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Write 300 samples in five shards."""
    channels = tuple(Channel(name=name) for name in ("red", "green"))
    dataset = Dataset(name="small", channels=channels, classes=("one", "two"), height=60, width=60)
    labels = np.eye(2, dtype=np.uint8)[np.arange(N_SAMPLES) % 2]
    return build_store(tmp_path_factory.mktemp("remote") / "a.zarr", dataset, labels)


@pytest.mark.parametrize("seed", range(5))
def test_only_the_bytes_of_the_samples_are_fetched_though_connections_break(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    fetched: list[int] = []

    def misbehave(handler: Handler) -> bool:
        if seed and rng.random() < 0.2:
            return handler.reset()
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        if "/images/c/" in handler.path:
            assert match or handler.headers.get("Range") == f"bytes=-{INDEX_BYTES}"
            fetched.append(int(match[2]) + 1 - int(match[1]) if match else INDEX_BYTES)
        return False

    chosen = np.array(sorted(rng.sample(range(N_SAMPLES), N_READ)))
    with store.reader() as local:
        wanted = local.read(chosen)
        n_bytes = sum(len(local.encoded_chunk(row)) for row in chosen.tolist())  # type: ignore[arg-type]
    n_shards = len(set((chosen // 64).tolist()))
    with web_server(store.path, misbehave) as (url, _), open_store(url).reader() as reader:
        assert (reader.read(chosen) == wanted).all()
    if not seed:
        assert sum(fetched) <= n_bytes + n_shards * INDEX_BYTES
        assert len(fetched) <= N_READ + n_shards
    print(f"seed {seed}: {len(fetched)} requests, {sum(fetched)} bytes; the samples have {n_bytes}")
