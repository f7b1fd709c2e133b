"""Fine-tuning: the classification heads of trained models are trained further, over frozen backbones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_data.system.progress import SILENT, Progress
from hpa_model.config import DEFAULTS, FoldChoice, Loss, TrainConfig
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.scores import score_run
from hpa_model.losses import LOSSES
from hpa_model.runs.folder import read_run
from hpa_model.training.base import open_base
from hpa_model.training.folds import copy_folds, train_folds
from hpa_model.training.job import Checkpointing, EpochReport, ignore_epoch
from hpa_model.training.run import open_run, prepare_backend
from hpa_model.training.train import TrainedRun, describe_missing, train_run


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run that is finished."""

    run: Path
    scores: Scores


def train_and_finetune(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    overwrite: bool = False,
    allow_unlabeled: bool = False,
    recipe: Path | None = None,
    weights: str | Path | None = None,
    cache_bytes: int = 0,
    progress: Progress = SILENT,
    on_epoch: EpochReport = ignore_epoch,
    checkpointing: Checkpointing | None = None,
) -> list[TrainedRun]:
    """Train, then fine-tune once for each of `config.finetunings`. Arguments as in `train.train_run`.

    Returns
    -------
    list of TrainedRun
        The run; then, if it is finished, the fine-tuned ones, in the folders next to it (see `name_finetuned`).
    """
    options = {"cache_bytes": cache_bytes, "progress": progress, "on_epoch": on_epoch, "checkpointing": checkpointing}
    trained = train_run(
        store,
        config,
        out,
        folds=folds,
        overwrite=overwrite,
        allow_unlabeled=allow_unlabeled,
        recipe=recipe,
        weights=weights,
        **options,  # type: ignore[arg-type]
    )
    done = [trained]
    for loss, epochs in config.finetunings if trained.scores is not None else ():
        finetuned = finetune(
            out,
            loss=loss,
            epochs=epochs,
            folds=config.finetune_folds,
            store=store,
            overwrite=overwrite,
            **options,  # type: ignore[arg-type]
        )
        done.append(TrainedRun(run=finetuned.run, scores=finetuned.scores))
    return done


def name_finetuned(run: Path, loss: str) -> Path:
    """Return the default run folder of fine-tuning."""
    return run.absolute().with_name(f"{run.absolute().name}-finetuned-{loss}")


def finetune(
    run: Path,
    *,
    loss: Loss = "bce",
    epochs: int = 14,
    folds: FoldChoice = "best",
    learning_rate: float | None = None,
    batch_size: int | None = None,
    store: Store | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    cache_bytes: int = 0,
    progress: Progress = SILENT,
    on_epoch: EpochReport = ignore_epoch,
    checkpointing: Checkpointing | None = None,
) -> FinishedRun:
    """Train the classification heads of a run's models further; the backbones do not change.

    Parameters
    ----------
    run : Path
        A finished run.
    loss : str
        One of `losses.LOSSES`.
    epochs : int
        At most. Which epoch's model is kept is a setting of the run, ``keep``, as is all that is not named here.
    folds : {"best", "all"}
        Only the model of the fold with the highest macro-F1 at the best thresholds of that fold, as the paper did, or
        all. The models of the other folds are copied.
    learning_rate : float, optional
    batch_size : int, optional
        By default those of the run.
    store : Store, optional
        By default the one that the run was trained from.
    out : Path, optional
        The run folder to create, or to resume; by default `name_finetuned`.
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
        were repaired since.
    """
    trained = read_run(run)
    scores = score_run(run)
    best = max(scores.folds, key=lambda fold: fold.macro_f1_in_sample).fold
    is_per_label = LOSSES[loss].is_per_label
    config = replace(
        trained.config,
        loss=loss,
        epochs=epochs,
        learning_rate=trained.config.learning_rate if learning_rate is None else learning_rate,
        batch_size=batch_size or trained.config.batch_size,
        finetune_epochs=0,
        finetune_loss=DEFAULTS.finetune_loss,
        head_epochs=0,
        backbone_rate_factor=1.0,
        class_weights=trained.config.class_weights if is_per_label else "none",
        label_smoothing=trained.config.label_smoothing if is_per_label else 0.0,
    )
    out = out or name_finetuned(run, loss)
    if out.resolve() == run.resolve():
        raise InputError(f"out must be another folder than the run. Received: {out}. Name another.")
    prepare_backend(config)
    base = open_base(run, tuple(range(config.folds)) if folds == "all" else (best,))
    store = store or open_store(trained.store)
    with open_run(
        store, config, out, overwrite=overwrite, cache_bytes=cache_bytes, base=base, progress=progress
    ) as opened:
        copy_folds(run, opened)
        missing = train_folds(
            opened,
            base.load,
            progress=progress,
            on_epoch=on_epoch,
            checkpointing=checkpointing,
        )
    if missing:
        raise InputError(f"Cannot score {out}: {describe_missing(missing)}")
    return FinishedRun(run=out, scores=score_run(out))
