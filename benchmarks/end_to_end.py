"""How fast each step of the main job runs on this machine: files, conversion, batches, batches through tf.data.

    python -m benchmarks.end_to_end [FOLDER] [--rounds 5]

FOLDER holds Kaggle's planes; without it, samples are made up first. Prints a table; RESULTS.md holds what was measured.
"""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from benchmarks.samples import find_folder, make_parser
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.format.codecs import CODECS, decode_chunk, encode_chunk
from hpa_data.reader.reader import Reader
from hpa_data.sources.naming import find_samples
from hpa_data.sources.samples import read_sample
from hpa_data.store.store import open_store
from hpa_model.bench.timing import Workload, describe_timings, measure
from hpa_model.pipeline import dataset

BATCH_SIZE = 20


def make_rows(folder: Path, scratch: Path, *, threads: int, n_reads: int) -> list[Workload]:
    """Build the rows over one folder of planes; `n_reads` samples are read in each row that reads."""
    samples = find_samples(folder)
    pool = ThreadPoolExecutor(threads)
    images = [sample.image for sample in pool.map(read_sample, samples)]
    chunks = [np.frombuffer(encode_chunk(image, CODECS["lz4hc"]), np.uint8) for image in images]
    order = np.random.default_rng(0).integers(0, len(samples), n_reads)

    def decode_files() -> int:
        return len(list(pool.map(read_sample, samples)))

    def convert(codec: str) -> int:
        path = scratch / "convert.zarr"
        return convert_files(plan_conversion(folder, path, codec=codec), overwrite=True).n_samples

    def decode_chunks() -> int:
        def run(own: np.ndarray) -> None:
            out = np.empty_like(images[0])
            for index in own:
                decode_chunk(chunks[index], out, CODECS["lz4hc"])

        list(pool.map(run, np.array_split(order, threads)))
        return n_reads

    def read_batches(reader: Reader) -> int:
        for start in range(0, n_reads, BATCH_SIZE):
            reader.read(order[start : start + BATCH_SIZE])
        return n_reads

    def read_tf_data(reader: Reader) -> int:
        return sum(len(batch) for batch in dataset(reader, order, BATCH_SIZE, shuffle=True, epochs=1))

    rows = [
        Workload(name="PNG decode", description="what reading the files costs at least", run=decode_files),
        Workload(name="convert lz4hc", description="files to store, the default codec", run=lambda: convert("lz4hc")),
        Workload(
            name="convert lz4",
            description="files to store, the codec that is fast to write",
            run=lambda: convert("lz4"),
        ),
        Workload(
            name="decode lz4hc", description="the limit of a compressed store: chunks in memory", run=decode_chunks
        ),
    ]
    for codec in ("lz4hc", "raw"):
        convert_files(plan_conversion(folder, scratch / f"{codec}.zarr", codec=codec))
        reader = open_store(scratch / f"{codec}.zarr").reader(threads=threads)
        rows += [
            Workload(
                name=f"reader {codec}", description="random batches in NumPy", run=lambda r=reader: read_batches(r)
            ),
            Workload(
                name=f"tf.data {codec}",
                description="random batches in TensorFlow",
                run=lambda r=reader: read_tf_data(r),
            ),
        ]
    return rows


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=128)
    parser.add_argument("--reads", type=int, default=2000, help="samples in each row that reads a store")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        rows = make_rows(find_folder(options, scratch), scratch, threads=options.threads, n_reads=options.reads)
        print(describe_timings(measure(rows, rounds=options.rounds)))


if __name__ == "__main__":
    main()
