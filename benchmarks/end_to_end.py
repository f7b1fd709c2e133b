"""How fast each step from files to training runs on this machine: conversion, batches in NumPy and in tf.data.

    python -m benchmarks.end_to_end [FOLDER] [--rounds 5]

FOLDER holds Kaggle's planes; without it, samples are synthesized first. Prints a table; RESULTS.md holds what was
measured.
"""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import numpy.typing as npt

from benchmarks.samples import find_folder, make_parser
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.format.codecs import CODECS, decode_chunk, encode_chunk
from hpa_data.format.options import CodecName
from hpa_data.reader.reader import Reader
from hpa_data.sources.naming import SampleFiles, find_samples
from hpa_data.sources.samples import read_sample
from hpa_data.store.store import open_store
from hpa_model.bench.timing import Workload, describe_timings, measure
from hpa_model.pipeline import dataset

BATCH_SIZE = 20

Order = npt.NDArray[np.int64]  # (M,), the samples to read


def decode_files(samples: Sequence[SampleFiles], pool: ThreadPoolExecutor) -> int:
    """Read and decode the files of all samples."""
    return len(list(pool.map(read_sample, samples)))


def convert(folder: Path, scratch: Path, codec: CodecName) -> int:
    """Convert a folder, replacing the store of the last time."""
    path = scratch / "convert.zarr"
    return convert_files(plan_conversion(folder, path, codec=codec), overwrite=True).n_samples


def decode_chunks(chunks: list[npt.NDArray[np.uint8]], order: Order, threads: int, pool: ThreadPoolExecutor) -> int:
    """Decode `lz4hc` chunks in memory, each thread into one image."""

    def decode(share: Order) -> None:
        out = np.empty((512, 512, 4), np.uint8)
        for index in share.tolist():
            decode_chunk(chunks[index], out, CODECS["lz4hc"])

    list(pool.map(decode, np.array_split(order, threads)))
    return len(order)


def read_batches(reader: Reader, order: Order) -> int:
    """Read batches with `Reader.read`."""
    for start in range(0, len(order), BATCH_SIZE):
        reader.read(order[start : start + BATCH_SIZE])
    return len(order)


def read_tf_data(reader: Reader, order: Order) -> int:
    """Read batches with `pipeline.dataset`."""
    return sum(len(images) for images in dataset(reader, order, BATCH_SIZE, shuffle=True, epochs=1))


def list_workloads(folder: Path, scratch: Path, *, threads: int, n_reads: int) -> list[Workload]:
    """List the steps; `n_reads` samples are read in each workload that reads a store."""
    samples = find_samples(folder)
    pool = ThreadPoolExecutor(threads)
    images = [sample.image for sample in pool.map(read_sample, samples)]
    chunks = [np.frombuffer(bytes(encode_chunk(image, CODECS["lz4hc"])), np.uint8) for image in images]
    order = np.random.default_rng(0).integers(0, len(samples), n_reads)
    workloads = [
        Workload(name="PNG decode", description="the limit of reading files", run=partial(decode_files, samples, pool)),
        Workload(
            name="convert lz4hc",
            description="files to store, the default codec",
            run=partial(convert, folder, scratch, "lz4hc"),
        ),
        Workload(
            name="convert lz4",
            description="files to store, the codec that is fast to write",
            run=partial(convert, folder, scratch, "lz4"),
        ),
        Workload(
            name="decode lz4hc",
            description="the limit of a compressed store: chunks in memory",
            run=partial(decode_chunks, chunks, order, threads, pool),
        ),
    ]
    codecs: tuple[CodecName, ...] = ("lz4hc", "raw")
    for codec in codecs:
        convert_files(plan_conversion(folder, scratch / f"{codec}.zarr", codec=codec))
        reader = open_store(scratch / f"{codec}.zarr").reader(threads=threads)
        workloads += [
            Workload(
                name=f"reader {codec}",
                description="random batches in NumPy",
                run=partial(read_batches, reader, order),
            ),
            Workload(
                name=f"tf.data {codec}",
                description="random batches in TensorFlow",
                run=partial(read_tf_data, reader, order),
            ),
        ]
    return workloads


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=128)
    parser.add_argument("--reads", type=int, default=2000, help="samples in each workload that reads a store")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = find_folder(options, scratch)
        workloads = list_workloads(folder, scratch, threads=options.threads, n_reads=options.reads)
        print(describe_timings(measure(workloads, rounds=options.rounds)))


if __name__ == "__main__":
    main()
