"""One version of hpa in a process of its own, for `compare_versions`.

    python -m benchmarks.version_worker CHECKOUT FOLDER SCRATCH THREADS

Uses what every version offers: the command `hpa convert`, `open_store`, `Reader.read`, `pipeline.dataset`. Where names
have changed since 0.1.0, both are tried.
"""

import functools
import itertools
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.processes import Answer, serve

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BATCH_SIZE = 20

Rounds = Iterator[int]  # each does a part of the work and is its number of samples


def read_one_by_one(reader: Any) -> Rounds:
    """Read random batches with `Reader.read`, nothing ahead."""
    import numpy as np

    rng = np.random.default_rng(0)
    while True:
        yield len(reader.read(rng.integers(0, len(reader), BATCH_SIZE)))


def read_numpy(reader: Any) -> Rounds:
    """Iterate over batches as NumPy arrays, one read ahead."""
    import numpy as np

    try:
        from hpa_data.reader import BatchSampler, iter_batches
    except ImportError:  # 0.1.0
        from hpa_data.batches import Order as BatchSampler  # type: ignore[import-not-found, no-redef]
        from hpa_data.batches import stream as iter_batches  # type: ignore[no-redef]
    for batch in iter_batches(reader, BatchSampler(np.arange(len(reader)), BATCH_SIZE)):
        n_images = len(batch.images)
        del batch  # its memory can be reused for the next one
        yield n_images


def read_tf_data(reader: Any) -> Rounds:
    """Iterate over batches of `pipeline.dataset`."""
    import numpy as np

    from hpa_model.pipeline import dataset

    for images in dataset(reader, np.arange(len(reader)), BATCH_SIZE):
        yield int(images.shape[0])


def convert(folder: Path, scratch: Path, codec: str) -> Rounds:
    """Convert the samples with the command, into a new store each time."""
    import cli

    n_samples = len(list(folder.glob("*_green.png")))
    for number in itertools.count():
        store = scratch / f"convert-{codec}-{number}.zarr"
        cli.app(["convert", str(folder), str(store), "--codec", codec], standalone_mode=False)
        yield n_samples
        shutil.rmtree(store)


def main() -> None:
    """Serve commands: ``version``, ``time WORKLOAD SECONDS``."""
    checkout, folder, scratch = map(Path, sys.argv[1:4])
    sys.path.insert(0, str(checkout))  # before this checkout
    import hpa_data

    @functools.cache
    def open_workload(name: str) -> Rounds:
        kind, codec = name.split("-")
        if kind == "convert":
            return convert(folder, scratch, codec)
        reader = hpa_data.open_store(scratch / f"{codec}.zarr").reader(threads=int(sys.argv[4]))
        functions: dict[str, Callable[[Any], Rounds]] = {
            "read": read_one_by_one,
            "numpy": read_numpy,
            "tf.data": read_tf_data,
        }
        return functions[kind](reader)

    def time_workload(name: str, seconds: str) -> Answer:
        rounds = open_workload(name)
        n_samples, started, started_cpu = 0, time.perf_counter(), time.process_time()
        while not n_samples or time.perf_counter() - started < float(seconds):
            n_samples += next(rounds)
        taken, cpu = time.perf_counter() - started, time.process_time() - started_cpu
        return {"rate": n_samples / taken, "cpu_s": 1000 * cpu / n_samples}

    def prepare(codec: str) -> Answer:
        import cli

        cli.app(["convert", str(folder), str(scratch / f"{codec}.zarr"), "--codec", codec], standalone_mode=False)
        return {}

    serve({"version": lambda: {"path": hpa_data.__file__}, "prepare": prepare, "time": time_workload})


if __name__ == "__main__":
    main()
