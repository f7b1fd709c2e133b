"""Fitting a baseline: classical features and classifiers, over the folds that a network would be trained on."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.system import CPU_COUNT

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store
from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.interrupts import defer_interrupt
from hpa_data.system.progress import SILENT, Progress
from hpa_model.baseline.features import measure_images, name_features
from hpa_model.baseline.model import fit_model
from hpa_model.baseline.settings import CLASSIFIERS, NAME, SHARED_SETTINGS, BaselineSettings
from hpa_model.config import TrainConfig
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.scores import fit_decision, predict_rows, score_run
from hpa_model.metrics import f1_per_class, find_wrong_row
from hpa_model.runs.baseline import (
    BASELINE_FILE,
    CLASSIFIERS_FILE,
    read_baseline,
    read_features,
    write_baseline,
    write_features,
    write_importances,
)
from hpa_model.runs.folder import PROBS_FILE, fold_folder, list_fold_files, list_sealed, read_arrays, refuse_damage
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.runs.seal import seal_files, unseal_files
from hpa_model.training.gather import gather_probs
from hpa_model.training.run import OpenRun, open_run

# Samples that are read and measured at a time, and seconds between two writes of what has been measured.
BATCH_SIZE, WRITE_S = 32, 30.0


@dataclass(frozen=True, kw_only=True)
class FinishedBaseline:
    """A baseline that is fitted."""

    run: Path

    scores: Scores
    """Of the probabilities of the run, as of any run."""

    alone: Mapping[str, Mapping[str, float]]
    """Macro-F1 of each classifier and of the mean of both, by the names of `evaluation.scores.THRESHOLDINGS`."""


def train_baseline(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    settings: BaselineSettings | None = None,
    overwrite: bool = False,
    allow_unlabeled: bool = False,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> FinishedBaseline:
    """Fit a baseline on each fold and write a run folder. The same call resumes a run that was stopped.

    Parameters
    ----------
    store : Store
    config : TrainConfig
        Of which `SHARED_SETTINGS` count, so that the folds are those of a network with this configuration.
    out : Path
        The run folder to create, or to resume.
    settings : BaselineSettings, optional
    overwrite : bool
        Replace an existing run.
    allow_unlabeled : bool
        Fit also on parts of which no sample has a class.
    threads : int, optional
        By default one per core. The result does not depend on it.
    progress : Progress, optional
        Of samples that are measured.

    Returns
    -------
    FinishedBaseline

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of another run; nothing is written then.
    """
    if config.folds < 2:
        raise InputError(
            f"folds must be at least 2 for a baseline. Received: folds={config.folds}. Pass another number of folds."
        )
    settings = settings or BaselineSettings()
    shared: dict[str, Any] = {name: getattr(config, name) for name in SHARED_SETTINGS}
    config = TrainConfig(model=NAME, image_size=settings.image_size, epochs=1, batch_size=BATCH_SIZE, **shared)
    n_threads = threads or CPU_COUNT
    with open_run(
        store,
        config,
        out,
        overwrite=overwrite,
        cache_bytes=0,
        baseline=settings,
        allow_unlabeled=allow_unlabeled,
        progress=progress,
    ) as run:
        if not run.is_new:
            progress.note(f"Resuming {out}")
        features = _measure_samples(run, settings, threads=n_threads, progress=progress)
        progress.note(f"Fitting {config.folds} folds to {features.shape[1]} features")
        for fold in range(config.folds):
            _fit_fold(run, settings, fold, features, threads=n_threads)
            seal_files(out, list_sealed([fold]))
        gather_probs(run)
        names = name_features(run.reader.dataset.channels)
        models = [read_baseline(out, fold, run.description) for fold in range(config.folds)]
        write_importances(out, names, np.mean([model.trees.importances for model in models], axis=0))
    scores = score_run(out)
    alone = _score_alone(out)
    seal_files(out, list_sealed(range(config.folds)))
    return FinishedBaseline(run=out, scores=scores, alone=alone)


def _measure_samples(
    run: OpenRun, settings: BaselineSettings, *, threads: int, progress: Progress
) -> npt.NDArray[np.float32]:
    """Return the features of all samples that can be read, float32 (N, D), those that were measured before as well."""
    reader, channels = run.reader, run.reader.dataset.channels
    features, is_measured = read_features(run.folder, len(reader), len(name_features(channels)))
    remaining = np.flatnonzero(is_readable(reader.status) & ~is_measured)
    if not len(remaining):
        return features
    progress.note(f"Measuring {features.shape[1]} features of {len(remaining)} samples")
    progress.start(len(remaining))
    written_at = time.monotonic()
    with defer_interrupt() as interrupts:
        for batch in iter_batches(reader, BatchSampler(remaining, BATCH_SIZE, shuffle=False), epochs=1):
            features[batch.indices] = measure_images(batch.images, channels, settings.image_size, threads=threads)
            is_measured[batch.indices] = True
            progress.advance(len(batch.indices))
            is_last = interrupts.requested or batch.indices[-1] == remaining[-1]
            if is_last or time.monotonic() - written_at > WRITE_S:
                write_features(run.folder, features, is_measured)
                written_at = time.monotonic()
            interrupts.stop_if_requested()
            del batch
    return features


def _fit_fold(
    run: OpenRun, settings: BaselineSettings, fold: int, features: npt.NDArray[np.float32], *, threads: int
) -> None:
    """Fit the classifiers of a fold, and predict the samples that they were not fitted on; nothing if that is done."""
    folder = fold_folder(run.folder, fold)
    if (folder / PROBS_FILE).exists() and (folder / BASELINE_FILE).exists():
        return
    training, validation = run.plan.split(fold)
    labels = run.reader.labels[training]  # type: ignore[index]
    if not labels.any():
        raise InputError(
            f"Cannot fit fold {fold}: none of its {len(training)} training samples has a class. Convert with a label "
            "table that names classes."
        )
    unseal_files(run.folder, list_fold_files(fold))
    seed = int(np.random.SeedSequence([run.description.config.seed, fold]).generate_state(1)[0])
    model = fit_model(features[training], labels, settings, seed=seed, threads=threads)
    write_baseline(run.folder, fold, model)
    probs = {name: model.predict(features[validation], name).astype(np.float32) for name in CLASSIFIERS}
    for name, found in probs.items():
        wrong = find_wrong_row(found)
        if wrong is not None:
            sample = run.reader.ids[int(validation[wrong.row])]
            raise InputError(
                f"Cannot predict sample {sample!r}: the classifier {name} of fold {fold} gives {wrong}. Look at the "
                "image of the sample by `hpa preview`; its features may not be numbers."
            )
    with open_atomic(folder / PROBS_FILE) as file:  # last, which finishes the fold
        np.savez(file, probs=probs[settings.model], **probs)  # type: ignore[arg-type]


def _score_alone(run: Path) -> dict[str, dict[str, float]]:
    """Score each classifier and the mean of both, and write the scores into the run folder."""
    rows = read_out_of_fold(run)
    alone: dict[str, dict[str, float]] = {}
    for name in CLASSIFIERS:
        probs = np.zeros_like(rows.probs)
        for fold in np.unique(rows.folds):
            path = fold_folder(run, int(fold)) / PROBS_FILE
            with refuse_damage(path, "Remove it, and run the same `hpa baseline` command again."):
                probs[rows.folds == fold] = found = read_arrays(path)[name]
                if find_wrong_row(found) is not None:
                    raise ValueError(f"for the classifier {name} it has {find_wrong_row(found)}")
        of_classifier = replace(rows, probs=probs)
        predictions = predict_rows(of_classifier, fit_decision(of_classifier, n_folds=int(rows.folds.max()) + 1))
        alone[name] = {kind: float(f1_per_class(rows.labels, found).mean()) for kind, found in predictions.items()}
    unseal_files(run, [CLASSIFIERS_FILE])
    write_atomic(run / CLASSIFIERS_FILE, (json.dumps(alone, indent=2) + "\n").encode())
    return alone
