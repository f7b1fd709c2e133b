"""How fast augmented copies are made, compared with decoding, imgaug and encoding in memory.

    python -m benchmarks.augment [FOLDER] [--rounds 5] [--threads 2] [--samples 64] [--copies 512] [--codecs lz4hc lz4]

FOLDER holds Kaggle's planes; without it, samples are synthesized first. They are converted once, not timed, and get
this many copies. The limit of a codec is decoding the parent of each copy, applying its transform and encoding the
result, in memory, in the same number of threads. Prints a table; RESULTS.md holds what was measured.
"""

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.samples import CODEC_NAMES, find_folder, make_parser
from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import AugmentationPlan, plan_augmentation
from hpa_data.augment.transform import replay
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.format.codecs import CODECS, decode_chunk, encode_chunk
from hpa_data.format.options import CodecName
from hpa_data.sources.naming import find_samples
from hpa_data.store.store import Store, open_store
from hpa_data.system.executor import Parallelism
from hpa_model.bench.timing import Workload, describe_timings, measure


def make_store(folder: Path, scratch: Path, *, codec: CodecName) -> Store:
    """Convert a folder; every sample gets the same class, which is to be copied."""
    table = scratch / "labels.csv"
    table.write_text(
        "Id,Target\n" + "".join(f"{sample.id},{len(HPA_2018.classes) - 1}\n" for sample in find_samples(folder))
    )
    path = scratch / f"{codec}.zarr"
    convert_files(plan_conversion(folder, path, labels=table, codec=codec))
    return open_store(path)


def encode_samples(store: Store, codec: CodecName) -> list[npt.NDArray[np.uint8]]:
    """Encode all samples of a store in memory."""
    with store.reader() as reader:
        images = reader.read(np.arange(len(reader)))
    return [np.frombuffer(bytes(encode_chunk(image, CODECS[codec])), np.uint8) for image in images]


def copy_in_memory(
    plan: AugmentationPlan, chunks: list[npt.NDArray[np.uint8]], codec: CodecName, pool: ThreadPoolExecutor
) -> int:
    """Make all copies of a plan in memory; return their number."""

    def make_copy(number: int) -> int:
        task = plan.tasks[number]
        image = np.empty((512, 512, 4), np.uint8)
        decode_chunk(chunks[task.row], image, CODECS[codec])
        return len(encode_chunk(replay(image, task.transform), CODECS[codec]))

    return len(list(pool.map(make_copy, range(len(plan.tasks)))))


def augment(plan: AugmentationPlan, threads: int) -> int:
    """Make all copies of a plan in its store; return their number."""
    return augment_store(plan, workers=Parallelism(threads=threads)).n_ok


def list_workloads(
    folder: Path, scratch: Path, *, threads: int, codecs: Sequence[CodecName], n_copies: int
) -> list[Workload]:
    """List, for each codec, the limit and the copying."""
    pool = ThreadPoolExecutor(threads)
    workloads = []
    for codec in codecs:
        store = make_store(folder, scratch, codec=codec)
        chunks = encode_samples(store, codec)
        plan = plan_augmentation(store, min_count=len(chunks) + n_copies)
        workloads += [
            Workload(
                name=f"limit {codec}",
                description="decode, imgaug and encode in memory",
                run=partial(copy_in_memory, plan, chunks, codec, pool),
            ),
            Workload(
                name=f"augment {codec}",
                description="store to store",
                run=partial(augment, plan, threads),
                prepare=partial(shutil.rmtree, store.path / "augmented", ignore_errors=True),
                baseline=f"limit {codec}",
            ),
        ]
    return workloads


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=64)
    parser.add_argument("--copies", type=int, default=512)
    parser.add_argument("--codecs", nargs="+", choices=CODEC_NAMES, default=CODEC_NAMES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = find_folder(options, scratch)
        workloads = list_workloads(
            folder, scratch, threads=options.threads, codecs=options.codecs, n_copies=options.copies
        )
        print(describe_timings(measure(workloads, rounds=options.rounds)))


if __name__ == "__main__":
    main()
