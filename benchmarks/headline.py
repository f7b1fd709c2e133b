"""Which score of a run comes closest to what its predictions score on new samples.

    python -m benchmarks.headline FOLDER [--runs 20]

Each run is small: 400 synthetic training samples of 64 pixels, three folds, and 600 test samples of its own;
`gapnet-pl` and `gapnet` in turn, with classes that are equally frequent or as frequent as Kaggle's. What a run
predicted is kept in FOLDER, so that the table can be made again in seconds.

Prints, for each score, how far it is from the macro-F1 of the test samples (mean of the differences, and root of their
mean square), with temperatures that are not used, relative to their mean, or absolute. RESULTS.md holds what was
measured.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.dataset import HPA_2018
from hpa_data.store.store import open_store
from hpa_data.synth import write_samples
from hpa_model.config import TrainConfig
from hpa_model.metrics import f1_per_class, predict_classes
from hpa_model.predict import predict_probs
from hpa_model.runs.folder import BEST_FILE, fold_folder, read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.thresholds import (
    NEVER,
    apply_temperatures,
    fill_empty_rows,
    fit_temperatures,
    predict_cross_fitted,
    predict_within_folds,
    search_thresholds,
)
from hpa_model.training.train import train

N_FOLDS, N_SAMPLES, N_TEST, PIXELS = 3, 400, 600, 64
COMMON = {"folds": N_FOLDS, "batch_size": 16}
NETWORKS = (
    {"model": "gapnet-pl", "epochs": 24, "learning_rate": 1e-3, "options": {"dropout": 0.1}, "clip_norm": 1.0},
    {
        **{"model": "gapnet", "epochs": 30, "learning_rate": 3e-3, "bn_momentum": 0.8},
        "options": {"dropout": 0.2, "padding": "same"},
    },
)
KINDS = ("none", "relative", "absolute")


def make_run(folder: Path, number: int) -> None:
    """Train a run and predict its test samples, unless that was done before."""
    path, work = folder / f"{number}.npz", folder / f"work{number}"
    if path.exists():
        return
    shutil.rmtree(work, ignore_errors=True)
    write_samples(work / "s", n_samples=N_SAMPLES, n_test=N_TEST, seed=100 + number, uniform=number % 4 < 2)
    for part, labels in (("train", "train.csv"), ("test", "test_truth.csv")):
        plan = plan_conversion(
            work / "s" / part,
            work / "a.zarr",
            part=part,
            labels=work / "s" / labels,
            dataset=HPA_2018.resized(PIXELS, PIXELS),
        )
        convert_files(plan)
    config = TrainConfig(**COMMON, **NETWORKS[number % 2], seed=number)  # type: ignore[arg-type]
    store, run = open_store(work / "a.zarr"), work / "run"
    train(store, config, run, cache_bytes=2**30)
    models = [load_model(fold_folder(run, fold) / BEST_FILE, read_run(run)) for fold in range(N_FOLDS)]
    with store.reader(["test"]) as reader:
        chosen = np.arange(len(reader))
        test = np.stack([predict_probs([model], reader, chosen, batch_size=64) for model in models])
        test_labels = reader.labels
    rows = read_out_of_fold(run)
    arrays = {"oof_labels": rows.labels, "oof_probs": rows.probs, "folds": rows.folds}
    np.savez_compressed(path, **arrays, test_probs=test, test_labels=test_labels)  # type: ignore[arg-type]
    shutil.rmtree(work)


def find_temperatures(
    kind: str, labels: npt.NDArray[np.uint8], probs: npt.NDArray[np.float32], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the temperature of each fold's model, float64 (F,)."""
    if kind == "none":
        return np.ones(N_FOLDS)
    fitted = fit_temperatures(labels, probs, folds)
    return fitted if kind == "absolute" else fitted / np.exp(np.log(fitted).mean())


def score(path: Path, kind: str) -> dict[str, float]:
    """Compute the macro-F1 of the test samples, and the scores that should estimate it."""
    with np.load(path, allow_pickle=False) as file:
        labels, probs, folds = file["oof_labels"], file["oof_probs"], file["folds"]
        test_probs, test_labels = file["test_probs"], file["test_labels"]
    temperatures = find_temperatures(kind, labels, probs, folds)
    scaled = apply_temperatures(probs, temperatures[folds])
    thresholds = search_thresholds(labels, scaled)

    def predict(of_test: npt.NDArray[np.float64]) -> float:
        filled = fill_empty_rows(predict_classes(of_test, thresholds), of_test, thresholds < NEVER)
        return float(f1_per_class(test_labels, filled).mean())

    of_models = [apply_temperatures(*pair) for pair in zip(test_probs, temperatures.tolist(), strict=True)]
    predictions = {
        "other folds": predict_cross_fitted(labels, scaled, folds, fill=True),
        "same fold": predict_within_folds(labels, scaled, folds, fill=True),
        "same rows": predict_classes(scaled, thresholds),
    }
    return {
        "test": predict(np.mean(of_models, axis=0)),
        "test, a single model": float(np.mean([predict(each) for each in of_models])),
        **{name: float(f1_per_class(labels, predicted).mean()) for name, predicted in predictions.items()},
    }


def main() -> None:
    """Parse the arguments, make the runs, and print how far each score is from that of the test samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.runs):
        make_run(arguments.folder, number)
    for kind in KINDS:
        found = [score(arguments.folder / f"{number}.npz", kind) for number in range(arguments.runs)]
        target = np.array([each["test"] for each in found])
        print(f"temperatures: {kind}; macro-F1 of the test samples {target.mean():.3f}")
        for name in list(found[0])[1:]:
            error = np.array([each[name] for each in found]) - target
            print(f"  {name:<22}{error.mean():+.4f}  {np.sqrt((error**2).mean()):.4f}", flush=True)


if __name__ == "__main__":
    main()
