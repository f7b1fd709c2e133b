"""How long opening a large store takes until its first batch, and whether memory stays flat over epochs.

    python -m benchmarks.open_large_store [--samples 110000] [--epochs 20]

The store has all its labels and ids, and as many shards as a real one, which are all links to the same file.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import zarr

from hpa_data.dataset import OK, Sample
from hpa_data.format.statistics import compute_checksum
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.create import PartPlan, create_part
from hpa_data.store.part import Part
from hpa_data.store.store import open_store
from hpa_data.store.write import write_shards


def make_store(path: Path, n_samples: int) -> Part:
    """Make a part of this many samples from one shard."""
    labels = (np.random.default_rng(0).random((n_samples, 28)) < 0.06).astype(np.uint8)
    ids = tuple(f"{number:08x}-bbad-11e8-b2ba-ac1f6b6435d0" for number in range(n_samples))
    part = create_part(PartPlan(path=path, name="train", ids=ids, labels=labels, settings={}))
    image = np.random.default_rng(0).integers(0, 4, (512, 512, 4), np.uint8)
    size = part.layout.shard_samples
    first = create_part(PartPlan(path=path, name="one", ids=ids[:size], labels=labels[:size], settings={}))
    write_shards(first, range(size), lambda _: Sample(image=image))
    for shard in range(part.layout.n_shards):
        target = part.shard_path(shard)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(first.shard_path(0), target)
    zarr.open_array(part.path / "checksum", mode="r+")[:] = compute_checksum(image)
    zarr.open_array(part.path / "status", mode="r+")[:] = OK
    return part


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=110_000)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        part = make_store(Path(name, "a.zarr"), options.samples)
        started = time.perf_counter()
        with open_store(Path(name, "a.zarr")).reader() as reader:
            opened = time.perf_counter()
            reader.read(np.random.default_rng(0).integers(0, len(reader), 20))
            first = time.perf_counter()
            print(
                f"{len(reader)} samples in {part.layout.n_shards} shards: opened in {opened - started:.2f} s, first "
                f"batch after {first - started:.2f} s"
            )
            process, sizes = psutil.Process(), []
            for _ in iter_batches(reader, BatchSampler(np.arange(1000), 20), epochs=options.epochs):
                sizes.append(process.memory_info().rss / 1e6)
            epoch = len(sizes) // options.epochs
            text = ", ".join(f"{sizes[(number + 1) * epoch - 1]:.0f}" for number in range(options.epochs))
            print(f"Resident MB after each of {options.epochs} epochs of 1,000: {text}")


if __name__ == "__main__":
    main()
