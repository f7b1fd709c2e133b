"""The folds of a run: training one model per fold, and predicting the samples that it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.predict import predict_probs
from hpa_model.predict.models import name_models
from hpa_model.runs.checkpoint import TrainingState
from hpa_model.runs.folder import (
    BEST_FILE,
    CLASS_F1_FILE,
    HISTORY_FILE,
    LAST_FILE,
    PROBS_FILE,
    fold_folder,
    list_sealed,
    remove_partial_files,
)
from hpa_model.runs.hold import hold_results
from hpa_model.runs.models import load_model
from hpa_model.runs.seal import read_file, seal_files
from hpa_model.training.balance import make_strata
from hpa_model.training.claims import Missing, claim_free_folds, list_missing, read_progress
from hpa_model.training.fit import fit_fold
from hpa_model.training.gather import gather_probs
from hpa_model.training.job import Checkpointing, EpochReport, Fold, FoldJob, count_images
from hpa_model.training.lockstep import describe_hosts, lead_fold
from hpa_model.training.logs import EpochLogger, open_logs
from hpa_model.training.network import check_model, choose_stages
from hpa_model.training.overview import describe_start, describe_training
from hpa_model.training.run import OpenRun

# The files of a finished fold; the last one shows that it is finished.
FOLD_FILES = (HISTORY_FILE, CLASS_F1_FILE, LAST_FILE, BEST_FILE, PROBS_FILE)


def copy_folds(base: Path, run: OpenRun) -> None:
    """Copy the folds that are not fine-tuned from the run that they were trained in."""
    for number in [each for each in run.held if each not in run.description.trained_folds]:
        for name in FOLD_FILES:
            source = fold_folder(base, number) / name
            content = read_file(source) if source.exists() else None
            if name == BEST_FILE:
                sha256 = run.description.base_models[number]
                check_model(base, number, sha256, purpose="copy", content=content)
            if content is not None:
                write_atomic(fold_folder(run.folder, number) / name, content)
        run.held.pop(number).close()


@dataclass(frozen=True, kw_only=True)
class _Reports:
    """Where a training reports, and what it writes on the way."""

    progress: Progress
    on_epoch: EpochReport
    checkpointing: Checkpointing
    log: EpochLogger


def train_folds(
    run: OpenRun,
    make_network: Callable[[int], keras.Model],
    *,
    folds: Sequence[int] | None = None,
    progress: Progress,
    on_epoch: EpochReport,
    checkpointing: Checkpointing | None,
) -> list[Missing]:
    """Train a network on each fold that this process holds; write the out-of-fold probabilities once all are there.

    Parameters
    ----------
    run : OpenRun
    make_network : function of int
        From the number of a fold to its network before training.
    folds : sequence of int, optional
        Those to train. By default all: then those that another process has left unfinished, too.
    progress, on_epoch, checkpointing
        As in `train`.

    Returns
    -------
    list of Missing
        The folds that are not finished; empty if the run is, by this process.
    """
    checkpointing = checkpointing or Checkpointing()
    is_resumed = not run.held
    if is_resumed:
        progress.start(0)
    description = replace(run.description, config=choose_stages(run.description))
    with open_logs(checkpointing.logs, run.folder, description, progress) as log:
        reports = _Reports(progress=progress, on_epoch=on_epoch, checkpointing=checkpointing, log=log)
        missing: list[Missing] = []
        if is_resumed:
            with hold_results(run.folder, progress):
                missing = _gather(run)
        while run.held:
            missing = _train_held(run, make_network, reports)
            if missing and folds is None:
                with hold_results(run.folder, progress):
                    run.held.update(claim_free_folds(run.folder, run.description))
        if not missing:  # this process is the last one; some folds may have been trained without these logs
            for number in run.description.trained_folds:
                log(number, read_progress(run.folder, number))
    if is_resumed and not missing:
        progress.note(describe_start(run, [], []))
    return missing


def _train_held(run: OpenRun, make_network: Callable[[int], keras.Model], reports: _Reports) -> list[Missing]:
    """Train the folds that this process holds; return those that are missing after the last of them."""
    config, progress = choose_stages(run.description), reports.progress
    folds = [_describe_fold(run, number) for number in sorted(run.held)]
    states = [read_progress(run.folder, fold.number) for fold in folds]
    place = describe_start(run, folds, states)
    if place:
        progress.note(place)
    progress.start(sum(_count_remaining(config, fold, state) for fold, state in zip(folds, states, strict=True)))
    for fold, state in zip(folds, states, strict=True):
        reports.log(fold.number, state)  # what was trained without these logs
    for fold in folds:
        job = FoldJob(
            config=config,
            reader=run.reader,
            fold=fold,
            classes=run.description.classes,
            progress=progress,
            on_epoch=reports.on_epoch,
            checkpointing=reports.checkpointing,
            log=reports.log,
            checks_memory=fold is folds[0],
            strata=make_strata(config, run.reader, run.plan, fold.training),
        )
        network = make_network(fold.number)
        if fold is folds[0]:
            for line in [*describe_hosts(config), *describe_training(run, folds, network)]:
                progress.note(line)
        lead_fold(job, network, run.description)
        fit_fold(network, job)
        missing = _finish_fold(run, fold, progress)
    return missing


def _describe_fold(run: OpenRun, number: int) -> Fold:
    training, validation = run.plan.split(number)
    return Fold(number=number, folder=fold_folder(run.folder, number), training=training, validation=validation)


def _count_remaining(config: TrainConfig, fold: Fold, state: TrainingState) -> int:
    """Count the images that a fold has still to be trained on, in all epochs together."""
    return (config.epochs - state.epoch) * count_images(config, fold) - state.n_images


def _finish_fold(run: OpenRun, fold: Fold, progress: Progress) -> list[Missing]:
    """Finish a fold, and the run if it is the last one; return the folds that are missing.

    All under the lock of the run: of several processes, exactly one finds all folds finished after its own.
    """
    probs = _predict_validation(run, fold) if run.plan.n_folds else None
    with hold_results(run.folder, progress):
        if probs is not None:
            with open_atomic(fold.folder / PROBS_FILE) as file:
                np.savez(file, probs=probs)
        seal_files(run.folder, list_sealed([fold.number]))
        run.held.pop(fold.number).close()
        return _gather(run)


def _predict_validation(run: OpenRun, fold: Fold) -> npt.NDArray[np.float32]:
    """Predict the validation set of a fold with its best model, float32 (M, K)."""
    model = load_model(fold.folder / BEST_FILE, run.description)
    return predict_probs(
        [model],
        run.reader,
        fold.validation,
        run.description.config.batch_size,
        names=name_models(run.folder, run.description, [fold.number]),
        remedy=f"Remove {fold.folder}, and run the same command again to train that fold again.",
    )


def _gather(run: OpenRun) -> list[Missing]:
    """Write the out-of-fold probabilities, and seal the run, if all folds are finished; else return the others."""
    missing = list_missing(run.folder, run.description)
    if not missing:
        remove_partial_files(run.folder)  # of killed processes: nobody trains a fold any more
        if run.plan.n_folds:
            gather_probs(run)
        seal_files(run.folder, list_sealed(range(run.plan.n_models)))
    return missing
