"""Damaged bytes of images: what decodes them does not crash, and `verify` finds them (`make test-slow`)."""

import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.format.codecs import CODECS
from hpa_data.format.options import CodecName
from hpa_data.store.store import open_store
from hpa_data.verify.check import State, verify_store
from tests.builders import build_store
from tests.slow.faults import REPOSITORY

pytestmark = pytest.mark.slow

N_CHUNKS, N_PROCESSES = 80_000, 4
"""Per codec, in as many processes."""

N_FLIPS = 400


@pytest.mark.parametrize("codec", CODECS)
def test_no_damaged_chunk_reads_or_writes_beyond_its_memory(codec: str) -> None:
    """320,000 chunks, each before memory that may not be touched."""
    decoded = refused = 0
    for seed in range(N_PROCESSES):
        words = [sys.executable, "-m", "tests.slow.mutated_chunks", codec, str(N_CHUNKS // N_PROCESSES), str(seed)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        assert done.returncode == 0, (codec, seed, done.returncode, done.stderr)
        numbers = done.stdout.split()
        decoded, refused = decoded + int(numbers[0]), refused + int(numbers[1])
    assert decoded + refused == N_CHUNKS
    assert min(decoded, refused) > N_CHUNKS // 10
    print(f"{codec}: {refused} refused, {decoded} decoded")


@pytest.mark.parametrize("codec", ["lz4hc", "zstd"])
def test_verify_finds_each_flipped_byte_that_changes_a_pixel(codec: CodecName, tmp_path: Path) -> None:
    channels = tuple(Channel(name=name) for name in ("red", "green", "blue"))
    dataset = Dataset(name="small", channels=channels, classes=("one", "two"), height=40, width=40)
    labels = np.eye(2, dtype=np.uint8)[np.arange(10) % 2]
    good = build_store(tmp_path / "good.zarr", dataset, labels, codec=codec)
    with good.reader() as reader:
        pixels = np.stack([reader.read_one(row) for row in range(10)])
    shard = good.part("train").shard_path(0).relative_to(good.path)
    content = (good.path / shard).read_bytes()
    shutil.copytree(good.path, tmp_path / "bad.zarr")
    rng = random.Random(0)
    n_found = 0
    for _ in range(N_FLIPS // 2):
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        (tmp_path / "bad.zarr" / shard).write_bytes(changed)
        found = verify_store(tmp_path / "bad.zarr", threads=1)
        if found.n_errors:
            n_found += 1
            assert {each.state for each in found.findings} <= {State.CORRUPT, State.MISSING}
            continue
        with open_store(tmp_path / "bad.zarr").reader() as reader:
            assert (np.stack([reader.read_one(row) for row in range(10)]) == pixels).all()
    assert n_found > 0.9 * N_FLIPS / 2
    print(f"{codec}: {n_found} of {N_FLIPS // 2} found, no other changes a pixel")
