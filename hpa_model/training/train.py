"""Training: one model per fold, from scratch or resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.files import MAX_TEXT_BYTES, read_regular
from hpa_data.system.progress import SILENT, Progress
from hpa_model.config import TrainConfig
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.scores import score_run
from hpa_model.nets.catalog import find_net
from hpa_model.training.claims import Missing
from hpa_model.training.folds import train_folds
from hpa_model.training.job import Checkpointing, EpochReport, ignore_epoch
from hpa_model.training.network import build_network
from hpa_model.training.run import open_run, prepare_backend
from hpa_model.training.start import open_start


@dataclass(frozen=True, kw_only=True)
class TrainedRun:
    """A run that was trained, or some of its folds."""

    run: Path
    scores: Scores | None
    """None if the run is not finished, or has no folds, so that nothing validates it."""

    missing: tuple[Missing, ...] = ()
    """The folds that are not finished."""


class TrainOptions(TypedDict, total=False):
    """The options of `train`, as those of `train_run`."""

    overwrite: bool
    allow_unlabeled: bool
    recipe: Path | None
    weights: str | Path | None
    cache_bytes: int
    progress: Progress
    on_epoch: EpochReport
    checkpointing: Checkpointing | None


def train(store: Store, config: TrainConfig, out: Path, **options: Unpack[TrainOptions]) -> Scores:
    """Train all folds of a run, see `train_run`; return its scores.

    Raises
    ------
    InputError
        As `train_run` does. If another process trains folds of the run, and this one has trained the others.
    """
    if not config.folds:
        raise InputError("folds must be at least 1 to be scored. Received: folds=0. Call train_run.")
    trained = train_run(store, config, out, **options)
    if trained.scores is None:
        raise InputError(f"Cannot score {out}: {describe_missing(trained.missing)}")
    return trained.scores


def train_run(
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
) -> TrainedRun:
    """Train one model per fold and write the run folder. The same call resumes a run that was stopped.

    Parameters
    ----------
    store : Store
    config : TrainConfig
    out : Path
        The run folder to create, or to resume.
    folds : sequence of int, optional
        The folds to train, from 0. Other processes may train others at the same time. By default all that no other
        process trains.
    overwrite : bool
        Replace an existing run.
    allow_unlabeled : bool
        Train also on parts of which no sample has a class.
    recipe : Path, optional
        The file that `config` came from; it is copied into the run folder.
    weights : str or Path, optional
        A finished run to start from, of the same network and at least as many folds: each fold starts from the best
        model of that fold. Where the classes differ, the classification head is new. `progress` is told if samples are
        validated here that these models were trained on. Or a finished pre-training, see `pretrain.pretrain`: the
        convolutions of each fold start from its encoder. Or a file that Keras wrote, ``.keras``, ``.weights.h5`` or
        ``.h5``, or ``imagenet`` for the weights that `keras.applications` publishes: each fold starts from it, with a
        new classification head. Or ``none``.
    cache_bytes : int
        Limit of the memory for decoded samples. Does not change the result.
    progress : Progress, optional
        Of training images, all epochs of all folds together.
    on_epoch : function of (int, EpochRecord, bool), optional
        Called after each epoch with the number of the fold, from 0, the record of the epoch, and whether its model is
        kept as the best so far.
    checkpointing : Checkpointing, optional
        Checkpoints and logs.

    Returns
    -------
    TrainedRun
        With the scores of the out-of-fold probabilities, if no fold is missing: each sample is scored by the model that
        was not trained on it. Of several processes that train folds of a run, the last one scores it.

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of another run; nothing is written then. If the loss
        becomes NaN or infinite. If another process trains one of `folds`.
    """
    # Now, since it may be in the folder that is replaced.
    content = None if recipe is None else read_regular(recipe, max_bytes=MAX_TEXT_BYTES)
    prepare_backend(config)
    find_net(config.model)  # whose layers a run to start from may need
    start = open_start(weights, config, out, overwrite=overwrite)
    make_network = build_network if start is None else start.build
    with open_run(
        store,
        config,
        out,
        overwrite=overwrite,
        cache_bytes=cache_bytes,
        folds=folds,
        weights=start,
        recipe=content,
        progress=progress,
        allow_unlabeled=allow_unlabeled,
    ) as run:
        missing = train_folds(
            run,
            lambda fold: make_network(run.description, fold=fold),
            folds=folds,
            progress=progress,
            on_epoch=on_epoch,
            checkpointing=checkpointing,
        )
    has_scores = not missing and config.folds > 0
    return TrainedRun(run=out, scores=score_run(out) if has_scores else None, missing=tuple(missing))


def describe_missing(missing: Sequence[Missing]) -> str:
    """Say which folds of a run are not finished, who trains them, and what to do about the others."""
    parts = [f"fold {each.fold} is being trained by {each.holder}" for each in missing if each.holder]
    free = [each.fold for each in missing if not each.holder]
    if not free:
        return f"{'; '.join(parts)}. The last process to finish scores the run."
    parts.append(f"fold {free[0]} is missing" if len(free) == 1 else f"folds {', '.join(map(str, free))} are missing")
    flags = " ".join(f"--fold {fold}" for fold in free)
    return f"{'; '.join(parts)}. Run the same command with {flags}."
