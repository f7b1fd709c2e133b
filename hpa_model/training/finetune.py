"""Fine-tuning: the dense net of trained models goes on learning, over a frozen chain of convolutions."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from hpa_data.errors import InputError
from hpa_data.folds.plan import plan_training
from hpa_data.store.store import Store, open_store
from hpa_data.system.atomic import write_atomic
from hpa_data.system.progress import SILENT, Progress
from hpa_model.backend import check_devices, make_deterministic
from hpa_model.config import FoldChoice, Loss, TrainConfig
from hpa_model.evaluation.scores import Scores, score_run
from hpa_model.nets.head import freeze_backbone
from hpa_model.runs.folder import BEST_FILE, CLASS_F1_FILE, HISTORY_FILE, LAST_FILE, PROBS_FILE, fold_folder, read_run
from hpa_model.runs.models import load_model
from hpa_model.training.job import Checkpointing, EpochReport, Fold, ignore_epoch
from hpa_model.training.train import (
    check_folds,
    check_run_folder,
    describe_run,
    hold_run,
    seed_fold,
    train,
    train_folds,
)

# What a fold that is not tuned keeps; the last of them is the sign that it is done.
KEPT_FILES = (HISTORY_FILE, CLASS_F1_FILE, LAST_FILE, BEST_FILE, PROBS_FILE)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that is finished.

    Attributes
    ----------
    run : Path
    scores : Scores
    """

    run: Path
    scores: Scores


def train_and_finetune(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    recipe: Path | None = None,
    cache_bytes: int = 0,
    progress: Progress = SILENT,
    on_epoch: EpochReport = ignore_epoch,
    checkpointing: Checkpointing | None = None,
) -> list[FinishedRun]:
    """Train, then fine-tune if the configuration says so: a recipe's whole protocol. Arguments as `train.train`.

    Returns
    -------
    list of FinishedRun
        The run; then the fine-tuned one, beside it (see `name_finetuned`).
    """
    beside = {"cache_bytes": cache_bytes, "progress": progress, "on_epoch": on_epoch, "checkpointing": checkpointing}
    scores = train(store, config, out, overwrite=overwrite, recipe=recipe, **beside)  # type: ignore[arg-type]
    done = [FinishedRun(run=out, scores=scores)]
    if config.finetune_epochs:
        done.append(
            finetune(
                out,
                loss=config.finetune_loss,
                epochs=config.finetune_epochs,
                folds=config.finetune_folds,
                store=store,
                overwrite=overwrite,
                **beside,  # type: ignore[arg-type]
            )
        )
    return done


def name_finetuned(run: Path, loss: str) -> Path:
    """Name the run folder that fine-tuning makes unless told otherwise."""
    return run.absolute().with_name(f"{run.absolute().name}-finetuned-{loss}")


def finetune(
    run: Path,
    *,
    loss: Loss = "bce",
    epochs: int = 14,
    folds: FoldChoice = "best",
    learning_rate: float | None = None,
    store: Store | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    cache_bytes: int = 0,
    progress: Progress = SILENT,
    on_epoch: EpochReport = ignore_epoch,
    checkpointing: Checkpointing | None = None,
) -> FinishedRun:
    """Train the dense net of a run's models further; the chain of convolutions keeps every number that it has.

    Parameters
    ----------
    run : Path
        A finished run.
    loss : {"bce", "f1", "focal"}
    epochs : int
        At most; the best by validation loss is kept.
    folds : {"best", "all"}
        Only the model of the fold with the highest macro-F1 at its own best thresholds, as the paper did, or each. The
        models of the other folds are taken as they are.
    learning_rate : float, optional
        By default what the run began with.
    store : Store, optional
        By default the one that the run was trained from.
    out : Path, optional
        The run folder to make, or to go on with; see `name_finetuned`.
    overwrite, cache_bytes, progress, on_epoch, checkpointing
        As in `train.train`.

    Returns
    -------
    FinishedRun
        A run like any other: it can be evaluated, compared, predicted with.

    Raises
    ------
    InputError
        If the run is not finished, or the store is not the one that it was trained from, or samples of it failed or
        were mended since.
    """
    base = read_run(run)
    scores = score_run(run)
    best = max(scores.folds, key=lambda fold: fold.macro_f1_in_sample).fold
    config = replace(
        base.config,
        loss=loss,
        epochs=epochs,
        learning_rate=base.config.learning_rate if learning_rate is None else learning_rate,
        finetune_epochs=0,
    )
    out = out or name_finetuned(run, loss)
    if out.resolve() == run.resolve():
        raise InputError(f"out must be another folder than the run. Received: {out}. Name another.")
    check_devices(config.devices)
    if config.deterministic:
        make_deterministic()
    models = [fold_folder(run, number) / BEST_FILE for number in range(config.folds)]
    for model in models:  # before an hour is spent on the first of them
        load_model(model, base)
        if not model.with_name(PROBS_FILE).exists():
            raise InputError(
                f"A run must be finished. Received: {model.parent}, without {PROBS_FILE}. Run the same "
                "`hpa train` again."
            )
    store = store or open_store(base.store)
    with store.reader(config.parts, cache_bytes=cache_bytes) as reader:
        description = replace(
            describe_run(store, config, reader),
            finetuned_from=str(run.absolute()),
            finetuned_folds=tuple(range(config.folds)) if folds == "all" else (best,),
            base_models=tuple(hashlib.sha256(model.read_bytes()).hexdigest() for model in models),
        )
        if description.fingerprints != base.fingerprints:
            raise InputError(
                f"The store must be the one that the run was trained from. Received: {store.location}, whose parts "
                "have other fingerprints. Pass --store."
            )
        check_run_folder(out, description, overwrite=overwrite)
        plan = plan_training(
            store,
            config.parts,
            reader,
            config.folds,
            method=config.fold_method,
            seed=config.seed,
            legacy_leak=config.legacy_leak,
        )
        check_folds(run, plan, reader.ids)
        with hold_run(out, description, overwrite=overwrite):

            def begin(fold: Fold) -> keras.Model | None:
                source = fold_folder(run, fold.number)
                if fold.number not in description.finetuned_folds:
                    for name in KEPT_FILES:
                        if (source / name).exists():
                            write_atomic(fold.folder / name, (source / name).read_bytes())
                    return None
                seed_fold(config, fold.number)
                network = load_model(source / BEST_FILE, base)
                freeze_backbone(network)
                return network

            train_folds(
                out, description, plan, reader, begin, progress=progress, on_epoch=on_epoch, checkpointing=checkpointing
            )
    return FinishedRun(run=out, scores=score_run(out))
