"""How fast copies are made, beside what reading, imgaug and encoding take in memory.

    python -m benchmarks.augment [FOLDER] [--rounds 5] [--threads 2] [--samples 64] [--copies 512] [--codecs lz4hc lz4]

FOLDER holds Kaggle's planes; without it, samples are made up first. They are converted once, not timed, and given so
many copies. The limit of a codec is the decoding of each copy's parent, its transform and the encoding of what
comes out, in as many threads, with nothing read from or written to a file. Prints a table; RESULTS.md holds what was
measured.
"""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.samples import find_folder, make_parser
from hpa_data.augment.execute import augment_store, replay
from hpa_data.augment.plan import AugmentationPlan, plan_augmentation
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import CLASSES
from hpa_data.format.codecs import CODECS, decode_chunk, encode_chunk
from hpa_data.sources.naming import find_samples
from hpa_data.store.store import open_store
from hpa_data.system.executor import Parallelism
from hpa_model.bench.timing import Workload, describe_timings, measure


def make_store(folder: Path, scratch: Path, *, codec: str) -> Path:
    """Convert a folder, every sample of the class that is to be copied."""
    table = scratch / "labels.csv"
    table.write_text("Id,Target\n" + "".join(f"{sample.id},{len(CLASSES) - 1}\n" for sample in find_samples(folder)))
    store = scratch / f"{codec}.zarr"
    convert_files(plan_conversion(folder, store, labels=table, codec=codec))
    return store


def make_rows(folder: Path, scratch: Path, *, threads: int, codecs: list[str], n_copies: int) -> list[Workload]:
    """Build the rows over one folder of planes."""
    pool = ThreadPoolExecutor(threads)
    rows = []
    for codec in codecs:
        store = make_store(folder, scratch, codec=codec)
        n_samples = len(open_store(store).part("train").ids)
        plan = plan_augmentation(open_store(store), min_count=n_samples + n_copies)
        with open_store(store).reader(["train"]) as reader:
            images = reader.read(np.arange(n_samples))
        chunks = [np.frombuffer(bytes(encode_chunk(image, CODECS[codec])), np.uint8) for image in images]

        def limit(plan: AugmentationPlan = plan, chunks: list[np.ndarray] = chunks, codec: str = codec) -> int:
            def run(place: int) -> int:
                order = plan.tasks[place]
                image = np.empty((512, 512, 4), np.uint8)
                decode_chunk(chunks[order.row], image, CODECS[codec])
                return len(encode_chunk(replay(image, order.transform), CODECS[codec]))

            return len(list(pool.map(run, range(len(plan.tasks)))))

        def augment(plan: AugmentationPlan = plan) -> int:
            return augment_store(plan, workers=Parallelism(threads=threads)).n_ok

        rows += [
            Workload(name=f"limit {codec}", description="decode, imgaug and encode in memory", run=limit),
            Workload(
                name=f"augment {codec}",
                description="store to store",
                run=augment,
                prepare=lambda store=store: shutil.rmtree(store / "augmented", ignore_errors=True),
                baseline=f"limit {codec}",
            ),
        ]
    return rows


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__, n_samples=64)
    parser.add_argument("--copies", type=int, default=512)
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        folder = find_folder(options, scratch)
        rows = make_rows(folder, scratch, threads=options.threads, codecs=options.codecs, n_copies=options.copies)
        print(describe_timings(measure(rows, rounds=options.rounds)))


if __name__ == "__main__":
    main()
