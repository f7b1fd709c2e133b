"""The folds of a run: training one model per fold, and predicting the samples that it was not trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.predict import predict_probs
from hpa_model.predict.models import name_models
from hpa_model.runs.checkpoint import START, TrainingState, read_state
from hpa_model.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CLASS_F1_FILE,
    HISTORY_FILE,
    LAST_FILE,
    PROBS_FILE,
    fold_folder,
    list_fold_files,
    list_sealed,
    remove_partial_files,
    remove_results,
)
from hpa_model.runs.models import is_complete, load_model
from hpa_model.runs.seal import read_file, seal_files, unseal_files
from hpa_model.training.balance import make_strata
from hpa_model.training.fit import fit_fold
from hpa_model.training.gather import gather_probs
from hpa_model.training.job import Checkpointing, EpochReport, Fold, FoldJob, count_images
from hpa_model.training.logs import open_logs
from hpa_model.training.network import check_model, choose_stages
from hpa_model.training.overview import describe_start, describe_training
from hpa_model.training.run import OpenRun

# The files of a finished fold; the last one shows that it is finished.
FOLD_FILES = (HISTORY_FILE, CLASS_F1_FILE, LAST_FILE, BEST_FILE, PROBS_FILE)


def copy_folds(base: Path, run: OpenRun) -> None:
    """Copy the folds that are not fine-tuned from the run that they were trained in."""
    for fold in _list_unfinished(run):
        if fold.number not in run.description.trained_folds:
            for name in FOLD_FILES:
                source = fold_folder(base, fold.number) / name
                content = read_file(source) if source.exists() else None
                if name == BEST_FILE:
                    sha256 = run.description.base_models[fold.number]
                    check_model(base, fold.number, sha256, purpose="copy", content=content)
                if content is not None:
                    write_atomic(fold.folder / name, content)


def train_folds(
    run: OpenRun,
    make_network: Callable[[int], keras.Model],
    *,
    progress: Progress,
    on_epoch: EpochReport,
    checkpointing: Checkpointing | None,
) -> None:
    """Train a network on each unfinished fold, and write the out-of-fold probabilities of all.

    Parameters
    ----------
    run : OpenRun
    make_network : function of int
        From the number of a fold to its network before training.
    progress, on_epoch, checkpointing
        As in `train`.
    """
    config, checkpointing = choose_stages(run.description), checkpointing or Checkpointing()
    folds = _list_unfinished(run)
    if folds:  # what was fitted to the models that are trained further must not meet the new ones
        remove_results(run.folder)
    states = [_read_state(fold.folder) for fold in folds]
    place = describe_start(run, folds, states)
    if place:
        progress.note(place)
    progress.start(sum(_count_remaining(config, fold, state) for fold, state in zip(folds, states, strict=True)))
    with open_logs(checkpointing.logs, run.folder, replace(run.description, config=config), progress) as log:
        for number in run.description.trained_folds:  # what was trained without these logs
            log(number, _read_state(fold_folder(run.folder, number)))
        for fold in folds:
            job = FoldJob(
                config=config,
                reader=run.reader,
                fold=fold,
                classes=run.description.classes,
                progress=progress,
                on_epoch=on_epoch,
                checkpointing=checkpointing,
                log=log,
                checks_memory=fold is folds[0],
                strata=make_strata(config, run.reader, run.plan, fold.training),
            )
            network = make_network(fold.number)
            if fold is folds[0]:
                for line in describe_training(run, folds, network):
                    progress.note(line)
            fit_fold(network, job)
            _write_probs(run, fold)
            seal_files(run.folder, list_sealed([fold.number]))
    gather_probs(run)
    seal_files(run.folder, list_sealed(range(run.plan.n_folds)))


def _list_unfinished(run: OpenRun) -> list[Fold]:
    """Return the unfinished folds of a run, with folders without partial files."""
    folds = []
    for number in range(run.plan.n_folds):
        training, validation = run.plan.split(number)
        fold = Fold(number=number, folder=fold_folder(run.folder, number), training=training, validation=validation)
        fold.folder.mkdir(exist_ok=True)
        remove_partial_files(fold.folder)
        if not _is_finished(fold, choose_stages(run.description)):
            folds.append(fold)
    return folds


def _is_finished(fold: Fold, config: TrainConfig) -> bool:
    """Return whether a fold has its model and its probabilities, after all epochs; if not, remove the latter."""
    finished = (fold.folder / PROBS_FILE).exists() and is_complete(fold.folder / BEST_FILE)
    # Without a checkpoint it was copied, or trained by a version before 0.4.0.
    if finished and (fold.folder / CHECKPOINT_FILE).exists():
        finished = _read_state(fold.folder).is_over(config)
    if not finished:
        unseal_files(fold.folder.parent, list_fold_files(fold.number))
        (fold.folder / PROBS_FILE).unlink(missing_ok=True)
    return finished


def _read_state(folder: Path) -> TrainingState:
    path = folder / CHECKPOINT_FILE
    return read_state(path) if path.exists() else START


def _count_remaining(config: TrainConfig, fold: Fold, state: TrainingState) -> int:
    """Count the images that a fold has still to be trained on, in all epochs together."""
    return (config.epochs - state.epoch) * count_images(config, fold) - state.n_images


def _write_probs(run: OpenRun, fold: Fold) -> None:
    """Write the predictions of a fold's best model for its validation set, which finishes the fold."""
    model = load_model(fold.folder / BEST_FILE, run.description)
    probs = predict_probs(
        [model],
        run.reader,
        fold.validation,
        run.description.config.batch_size,
        names=name_models(run.folder, run.description, [fold.number]),
        remedy=f"Remove {fold.folder}, and run the same command again to train that fold again.",
    )
    with open_atomic(fold.folder / PROBS_FILE) as file:
        np.savez(file, probs=probs)
