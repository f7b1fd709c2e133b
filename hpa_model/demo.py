"""The whole workflow on synthetic samples, at a size that two cores finish in minutes."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from hpa_data.synth import write_samples
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import encode_labels, read_columns, read_label_table
from hpa_model.config import TrainConfig
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.report import write_report
from hpa_model.evaluation.scores import score_run
from hpa_model.metrics import f1_per_class
from hpa_model.predict import predict_submission
from hpa_model.runs.folder import SCORES_FILE
from hpa_model.training.job import EpochReport, ignore_epoch
from hpa_model.training.train import train

CONFIG = TrainConfig(
    model="gapnet-pl",
    options={"dropout": 0.1},
    folds=2,
    epochs=60,
    batch_size=16,
    image_size=128,
    learning_rate=1e-3,
    schedule="cosine",
    keep="last",
    clip_norm=1.0,
    symmetries=True,
)
# Of the decoded samples, 1 MiB each.
CACHE_BYTES = 2**30
# 28 of each class to train on, three to test on.
N_SAMPLES, N_TEST = 784, 84


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the demo."""

    name: str
    """The command that does the same."""

    seconds: float

    output: Path
    """What it wrote."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo did."""

    steps: tuple[Step, ...]
    """In order."""

    run: Path
    """The run folder."""

    scores: Scores
    """Of the out-of-fold probabilities."""

    test_macro_f1: float
    """Of the submission, scored with the labels of the synthetic test samples."""

    test_chance: float
    """The expected score of guessing each class as often as it occurs."""


def run_demo(folder: Path, *, seed: int = 0, progress: Progress = SILENT, on_epoch: EpochReport = ignore_epoch) -> Demo:
    """Generate samples, convert, train, evaluate and predict.

    Parameters
    ----------
    folder : Path
        The folder to create for the samples, the store, the run and the submission.
    seed : int
    progress : Progress, optional
        Of samples or images; each step starts it again, after a note.
    on_epoch : function of (int, EpochRecord, bool), optional
        As in `train`.

    Returns
    -------
    Demo

    Raises
    ------
    InputError
        If the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"folder must be new or empty. Received: {folder}. Remove it, or pass another folder.")
    samples, store, run, submission = (folder / name for name in ("samples", "hpa.zarr", "run", "submission.csv"))
    steps: list[Step] = []
    started = time.perf_counter()

    def finish(name: str, output: Path) -> None:
        nonlocal started
        now = time.perf_counter()
        steps.append(Step(name=name, seconds=now - started, output=output))
        started = now

    progress.note(f"Generating {N_SAMPLES} labeled samples and {N_TEST} test samples")
    progress.start(N_SAMPLES + N_TEST)
    write_samples(samples, n_samples=N_SAMPLES, n_test=N_TEST, seed=seed, uniform=True, progress=progress.part())
    finish("synth", samples)

    progress.note("Converting both folders into one store")
    for part, labels in (("train", samples / "train.csv"), ("test", None)):
        plan = plan_conversion(samples / part, store, part=part, labels=labels)
        convert_files(plan, progress=progress)
    finish("convert", store)

    progress.note(f"Training {CONFIG.folds} folds of {CONFIG.model} at {CONFIG.image_size} pixels")
    train(open_store(store), CONFIG, run, cache_bytes=CACHE_BYTES, progress=progress, on_epoch=on_epoch)
    finish("train", run)

    progress.note("Scoring the out-of-fold predictions")
    scores = score_run(run)
    finish("evaluate", run / SCORES_FILE)

    progress.note("Writing the report")
    finish("report", write_report(run, scores=scores).path)

    progress.note("Predicting the test part with the models of both folds")
    predict_submission(
        run,
        store,
        submission,
        sample_submission=samples / "sample_submission.csv",
        progress=progress,
    )
    finish("predict", submission)

    truth = read_label_table(samples / "test_truth.csv")
    # In the order of the sample submission, which is that of the true labels.
    predictions = encode_labels([row[1] for row in read_columns(submission, ("Id", "Predicted"))])
    return Demo(
        steps=tuple(steps),
        scores=scores,
        run=run,
        test_macro_f1=float(f1_per_class(truth.labels, predictions).mean()),
        test_chance=float(np.mean(truth.labels)),
    )
