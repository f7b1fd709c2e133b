"""What each codec costs and gives, from files to batches: whether the default one is still the right one.

    python -m benchmarks.default_codec [FOLDER] [--rounds 5] [--threads 2] [--samples 256] [--repeat 8]
        [--codecs lz4hc lz4]

FOLDER holds Kaggle's planes; without it, samples are synthesized first. Each file gets several names (--repeat).
For each codec, in interleaved rounds: samples per second of a conversion, bytes of a sample on the disk, and samples
per second of random batches of 20 in an epoch, *warm* and *cold*, after the system was asked to drop the store's files
from its cache. A cold epoch of a store that fits into memory is the first one; a store that does not fit
is always read like that. In brackets are the lowest and the highest round.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.convert import Files, compile_decoder
from benchmarks.loaders.run import drop_from_cache
from benchmarks.samples import CODEC_NAMES, find_folder, make_parser, repeat_files
from hpa_data.format.options import CodecName
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import open_store

BATCH_SIZE = 20


def read_epoch(store: Path, *, threads: int, epoch: int) -> float:
    """Read an epoch in random batches; return samples per second, from the opening of the store on."""
    started = time.perf_counter()
    with open_store(store).reader(threads=threads) as reader:
        sampler = BatchSampler(np.arange(len(reader)), BATCH_SIZE)
        for batch in iter_batches(reader, sampler, resume_at=(epoch, 0), epochs=epoch + 1):
            del batch
        return len(reader) / (time.perf_counter() - started)


def list_files(store: Path) -> list[Path]:
    """List the files of a store."""
    return [path for path in store.rglob("*") if path.is_file()]


def measure_round(files: Files, store: Path, codec: CodecName, *, threads: int, number: int) -> dict[str, float]:
    """Convert the files, and read the store cold and warm."""
    files.remove(codec)
    started = time.perf_counter()
    n_samples = files.convert(codec)
    seconds = time.perf_counter() - started
    contents = list_files(store)
    drop_from_cache(contents)
    cold = read_epoch(store, threads=threads, epoch=number)
    return {
        "convert": n_samples / seconds,
        "kB a sample": sum(path.stat().st_size for path in contents) / n_samples / 1e3,
        "cold": cold,
        "warm": read_epoch(store, threads=threads, epoch=number),  # the epoch before has brought all into the cache
    }


def describe(rounds: Sequence[Mapping[str, float]]) -> str:
    """Return the medians of a codec's rounds, each with the lowest and the highest."""
    cells = []
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        cells.append(f"{name} {statistics.median(values):,.0f} [{min(values):,.0f}, {max(values):,.0f}]")
    return "  ".join(cells)


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=256)
    parser.add_argument("--repeat", type=int, default=8, help="names for each sample")
    parser.add_argument("--codecs", nargs="+", choices=CODEC_NAMES, default=["lz4hc", "lz4"])
    options = parser.parse_args()
    compile_decoder()
    rounds: dict[CodecName, list[dict[str, float]]] = {codec: [] for codec in options.codecs}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = repeat_files(find_folder(options, scratch), scratch / "repeated", times=options.repeat)
        files = Files(folder, scratch, threads=options.threads)
        for number in range(options.rounds + 1):
            for codec, measured in rounds.items():
                store = scratch / f"{codec}.zarr"
                measured.append(measure_round(files, store, codec, threads=options.threads, number=number))
    for codec, measured in rounds.items():
        print(f"{codec:<8}{describe(measured[1:])}")  # without the round that warms up


if __name__ == "__main__":
    main()
