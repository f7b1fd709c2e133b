"""Caches on a disk that are killed while they are filled, filled by two processes, and on a disk that is full."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.reader.cache_folder import list_parts
from hpa_data.store.store import Store
from tests.builders import build_store
from tests.web_server import web_server

pytestmark = pytest.mark.slow

N = 300
DATASET = Dataset(name="d", channels=(Channel(name="a"), Channel(name="b")), classes=("x",), height=64, width=64)
# Reads epochs through a cache; prints the CRC-32 of each image in the order of the store, and its requests.
READER = """
import json, sys, zlib
from pathlib import Path
import numpy as np
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.disk_cache import DiskCache, set_disk_cache
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import open_store
url, folder, epochs = sys.argv[1:]
set_disk_cache(DiskCache(Path(folder), 2**30))
with open_store(url).reader() as reader:
    found = {}
    for batch in iter_batches(reader, BatchSampler(np.arange(len(reader)), 10, seed=1), epochs=int(epochs)):
        for index, image in zip(batch.indices.tolist(), batch.images):
            crc = zlib.crc32(image)
            assert found.setdefault(index, crc) == crc
    print(json.dumps([found[index] for index in range(len(reader))]))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(tmp_path_factory.mktemp("store") / "a.zarr", DATASET, np.zeros((N, 1)))


@pytest.fixture(scope="module")
def expected(store: Store) -> list[int]:
    return [int(value) for value in store.part("train").read_checksums()]


def start(url: str, folder: Path, epochs: int = 2) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", READER, url, str(folder), str(epochs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[list[int], str]:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    checksums: list[int] = json.loads(out)
    return checksums, error


def test_ten_kills_while_a_cache_is_filled_leave_it_right(store: Store, expected: list[int], tmp_path: Path) -> None:
    rng = random.Random(0)
    n_kept = []
    with web_server(store.path, lambda _: time.sleep(0.02) or False) as (url, paths):  # type: ignore[func-returns-value]
        for _ in range(10):
            process = start(url, tmp_path / "cache", epochs=1000)
            n_before, stop_at = len(paths), rng.randrange(10, 60)
            while sum("/images/c/" in path for path in paths[n_before:]) < stop_at and process.poll() is None:
                if n_kept and n_kept[-1] > N * 8000:  # all is there
                    break
                time.sleep(0.001)
            time.sleep(rng.random() * 0.1)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            n_kept.append(sum(part.n_bytes for part in list_parts(tmp_path / "cache")))
            assert not any(part.is_used for part in list_parts(tmp_path / "cache"))
        assert finish(start(url, tmp_path / "cache"))[0] == expected
        paths.clear()
        assert finish(start(url, tmp_path / "cache"))[0] == expected
    assert sum("/images/c/" in path for path in paths) == -(-N // 64)  # the indexes
    assert n_kept == sorted(n_kept)


def test_two_processes_fill_a_cache_at_once(store: Store, expected: list[int], tmp_path: Path) -> None:
    with web_server(store.path) as (url, _):
        processes = [start(url, tmp_path / "cache") for _ in range(3)]
        for process in processes:
            assert finish(process)[0] == expected
    assert len(list_parts(tmp_path / "cache")) == 1


def test_a_cache_on_a_full_disk_reads_on(store: Store, expected: list[int], tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], check=False).returncode:
        pytest.skip("no right to mount a file system")
    try:
        with web_server(store.path) as (url, paths):
            checksums, error = finish(start(url, folder / "cache"))
            assert checksums == expected
            paths.clear()
            assert finish(start(url, folder / "cache", epochs=1))[0] == expected
        assert "takes nothing more: No space left on device" in error
        assert 0 < sum("/images/c/" in path for path in paths) < N
        assert os.statvfs(folder).f_bfree == 0
    finally:
        subprocess.run(["umount", folder], check=True)
