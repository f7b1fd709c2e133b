"""How many small images per second random batches have: our reader beside `np.memmap` and its fancy indexing.

    python -m benchmarks.small_images [--samples 20000] [--size 64] [--batch 256] [--threads 2] [--rounds 5]

The images are uint8, size x size x 4, in files of this machine's page cache. The rows take turns, so that what else
the machine does meets all of them; each rate is the median of the rounds, with the lowest and the highest. For each row
every image of one batch is compared with what was written.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel, Dataset, Sample
from hpa_data.format.options import CodecName
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.store import open_store

Images = npt.NDArray[np.uint8]
CODECS: tuple[CodecName, ...] = ("raw", "lz4hc")


def draw_images(n: int, size: int) -> Images:
    """Draw images that compress as real ones do, uint8 (N, Y, X, 4): blocks of one value with noise."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (n, -(-size // 8), -(-size // 8), 4), np.uint8)
    images = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, :size, :size]
    return images + rng.integers(0, 8, images.shape, np.uint8)


def write_store(path: Path, images: Images, codec: CodecName) -> None:
    """Write the images as a store."""
    size = images.shape[1]
    channels = tuple(Channel(name=f"c{number}") for number in range(images.shape[3]))
    dataset = Dataset(name="crops", channels=channels, classes=("a", "b"), height=size, width=size)
    ids = tuple(f"crop-{number:07}" for number in range(len(images)))
    labels = np.eye(2, dtype=np.uint8)[np.arange(len(images)) % 2]
    plan = PartPlan(path=path, name="train", ids=ids, labels=labels, settings={}, codec=codec, dataset=dataset)
    build_part(plan, list(images), lambda image: Sample(image=image), expected_bytes=lambda n: n)


def read_batches(reader: Reader, batch: int) -> Iterator[tuple[npt.NDArray[np.int64], Images]]:
    """Read random batches one after the other."""
    sampler = BatchSampler(np.arange(len(reader)), batch)
    for step in range(sampler.n_steps):
        indices = sampler.indices(step)
        yield indices, reader.read(indices)


def read_ahead(reader: Reader, batch: int) -> Iterator[tuple[npt.NDArray[np.int64], Images]]:
    """Read the same batches as training does, the next ones meanwhile."""
    for read in iter_batches(reader, BatchSampler(np.arange(len(reader)), batch), epochs=1):
        yield read.indices, read.images


def index_map(mapped: Images, batch: int) -> Iterator[tuple[npt.NDArray[np.int64], Images]]:
    """Index the map with the same batches."""
    sampler = BatchSampler(np.arange(len(mapped)), batch)
    for step in range(sampler.n_steps):
        indices = sampler.indices(step)
        yield indices, mapped[indices]


def measure(
    make: Callable[[], Iterator[tuple[npt.NDArray[np.int64], Images]]], expected: Images, *, is_first: bool
) -> float:
    """Return the samples per second of one epoch; the first one compares its images with what is expected."""
    if is_first:
        indices, images = next(iter(make()))
        if not (images == expected[indices]).all():
            raise RuntimeError("a batch differs from what was written")
    n_samples = 0
    started = time.perf_counter()
    for indices, images in make():
        n_samples += len(indices)
        images[:, 0, 0, 0].sum()  # a byte of each image
    return n_samples / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"samples": 20_000, "size": 64, "batch": 256, "threads": 2, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    images = draw_images(options.samples, options.size)
    with tempfile.TemporaryDirectory() as name:
        rows: dict[str, Callable[[], Iterator[tuple[npt.NDArray[np.int64], Images]]]] = {}
        readers = []
        for codec in CODECS:
            write_store(Path(name, f"{codec}.zarr"), images, codec)
            reader = open_store(Path(name, f"{codec}.zarr")).reader(threads=options.threads)
            readers.append(reader)
            rows[f"hpa {codec}, read"] = lambda reader=reader: read_batches(reader, options.batch)  # type: ignore[misc]
            rows[f"hpa {codec}, NumPy"] = lambda reader=reader: read_ahead(reader, options.batch)  # type: ignore[misc]
        np.save(Path(name, "images.npy"), images)
        mapped = np.load(Path(name, "images.npy"), mmap_mode="r")
        rows["np.memmap"] = lambda: index_map(mapped, options.batch)
        rates: dict[str, list[float]] = {row: [] for row in rows}
        for number in range(options.rounds):
            for row, make in rows.items():
                rates[row].append(measure(make, images, is_first=number == 0))
        for reader in readers:
            reader.close()
    print(f"{'row':<20}  {'samples/s':>9}")
    for row, values in rates.items():
        print(f"{row:<20}  {statistics.median(values):>9,.0f} [{min(values):,.0f}, {max(values):,.0f}]")


if __name__ == "__main__":
    main()
