"""How much duplicates under other ids raise the scores of a run, and that folds keep them together by default.

    python -m benchmarks.leak [--samples 150] [--epochs 25] [--rows NAME ...]

Each row trains `gapnet-pl` at 128 pixels on synthetic samples that all are there twice: under a second id in the same
part, or in a part `external` as brighter JPEG files, as the external set holds Kaggle's images. Prints a table;
RESULTS.md holds what was measured.
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import numpy as np

from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.folds.options import DuplicateSearch, FoldMethod
from hpa_data.store.store import Store, open_store
from hpa_data.synth import write_samples
from hpa_data.tables import read_columns, write_table
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import read_run
from hpa_model.training.train import train

SIZE = 128
JPEG_QUALITY, BRIGHTER = 90, 1.2


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training."""

    name: str
    parts: tuple[str, ...]
    duplicates: DuplicateSearch
    fold_method: FoldMethod = "stratified"


ROWS = (
    Row(name="same pixels, not looked for", parts=("twice",), duplicates="ignore"),
    Row(name="same pixels, default", parts=("twice",), duplicates="auto"),
    Row(name="same pixels, grouped", parts=("twice",), duplicates="ignore", fold_method="grouped-stratified"),
    Row(name="external, not looked for", parts=("train", "external"), duplicates="ignore"),
    Row(name="external, exact only", parts=("train", "external"), duplicates="exact"),
    Row(name="external, default", parts=("train", "external"), duplicates="auto"),
)


def make_store(folder: Path, n_samples: int) -> Store:
    """Make parts `train`, `external` with the same images as other files, and `twice` with each under two ids."""
    write_samples(folder / "in", n_samples=n_samples, uniform=True)
    labels = {row[0]: row[1] for row in read_columns(folder / "in" / "train.csv", ("Id", "Target"))}
    for name in ("external", "twice"):
        (folder / name).mkdir()
    for path in sorted((folder / "in" / "train").glob("*.png")):
        for copy in ("a", "b"):
            (folder / "twice" / f"{copy}-{path.name}").symlink_to(path)
        plane = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), np.float64)
        brighter = np.clip(plane * BRIGHTER, 0, 255).astype(np.uint8)
        target = folder / "external" / f"ext-{path.stem}.jpg"
        cv2.imwrite(str(target), brighter, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    named = {
        "train": (folder / "in" / "train", labels),
        "external": (folder / "external", {f"ext-{name}": words for name, words in labels.items()}),
        "twice": (folder / "twice", {f"{copy}-{name}": words for copy in "ab" for name, words in labels.items()}),
    }
    for part, (source, of_part) in named.items():
        table = folder / f"{part}.csv"
        write_table(table, ["Id", "Target"], [[name, words] for name, words in of_part.items()])
        dataset = HPA_2018.resized(SIZE, SIZE)
        convert_files(plan_conversion(source, folder / "hpa.zarr", part=part, labels=table, dataset=dataset))
    return open_store(folder / "hpa.zarr")


def main() -> None:
    """Print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    options = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as scratch:
        store = make_store(Path(scratch), options.samples)
        print(f"{'row':<30}{'searched':>10}{'groups':>8}{'honest':>8}{'same rows':>11}", flush=True)
        for row in (row for row in ROWS if row.name in options.rows):
            config = TrainConfig(
                model="gapnet-pl",
                options={"dropout": 0.1},
                parts=row.parts,
                duplicates=row.duplicates,
                fold_method=row.fold_method,
                folds=options.folds,
                epochs=options.epochs,
                seed=options.seed,
                batch_size=16,
                clip_norm=1.0,
            )
            run = Path(scratch) / row.name
            scores = train(store, config, run, cache_bytes=2**30)
            found = read_run(run).known_leak_check
            print(
                f"{row.name:<30}{found.searched:>10}{found.n_groups:>8}{scores.macro_f1_cross_fitted:>8.3f}"
                f"{scores.macro_f1_in_sample:>11.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
