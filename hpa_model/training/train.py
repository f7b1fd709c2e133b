"""Training: k folds, one model each, straight down the page."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from zipfile import is_zipfile

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError
from hpa_data.folds.plan import FoldPlan, plan_training
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.system.lock import LOCK_NAME, hold_store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import encode_table
from hpa_model import nets
from hpa_model.backend import check_devices, make_deterministic, on_tensorflow
from hpa_model.config import TrainConfig
from hpa_model.evaluation.scores import Scores, score_run
from hpa_model.predict import predict_probs
from hpa_model.runs.checkpoint import START, read_state
from hpa_model.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CONFIG_FILE,
    FOLDS_FILE,
    PROBS_FILE,
    RECIPE_FILE,
    RunDescription,
    fold_folder,
    read_arrays,
    read_run,
    read_versions,
    remove_partial_files,
)
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import OutOfFold, write_out_of_fold
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, EpochReport, Fold, FoldJob, count_images, ignore_epoch
from hpa_model.training.tensorboard import no_log, open_log


def train(
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
) -> Scores:
    """Train one model a fold and write the run folder; the same call goes on where one was stopped.

    Parameters
    ----------
    store : Store
    config : TrainConfig
    out : Path
        The run folder to make, or to go on with.
    overwrite : bool
        Replace a run that is there.
    recipe : Path, optional
        The file that `config` came from, to be kept in the run folder.
    cache_bytes : int
        Decoded samples that may be kept in memory; changes nothing but the time.
    progress : Progress, optional
        Of images, all epochs of all folds together.
    on_epoch : function of (int, EpochRecord), optional
        Called after each epoch with the fold's number, from 0, and the record of the epoch.
    checkpointing : Checkpointing, optional
        Checkpoints and logs.

    Returns
    -------
    Scores
        Of the out-of-fold probabilities: each sample is scored by the model that has not seen it.

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of another run; nothing is written then. If the loss is
        no number any more.
    """
    kept = None if recipe is None else recipe.read_bytes()  # it may lie in the folder that is replaced
    check_devices(config.devices)
    if config.deterministic:
        make_deterministic()
    with store.reader(config.parts, cache_bytes=cache_bytes) as reader:
        # Samples and folds
        description = describe_run(store, config, reader)
        build_network(description, fold=0)  # refuses what cannot be built before anything is written
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
        with hold_run(out, description, overwrite=overwrite):
            if kept is not None:
                write_atomic(out / RECIPE_FILE, kept)
            # One model a fold, and what it says of the samples that it has not seen
            train_folds(
                out,
                description,
                plan,
                reader,
                lambda fold: build_network(description, fold=fold.number),
                progress=progress,
                on_epoch=on_epoch,
                checkpointing=checkpointing,
            )

    # Scores and thresholds
    return score_run(out)


def describe_run(store: Store, config: TrainConfig, reader: Reader) -> RunDescription:
    """Gather what the run folder says of its data."""
    manifests = {name: store.part(name).manifest for name in config.parts}
    first = manifests[config.parts[0]]
    location = store.location
    return RunDescription(
        config=config,
        store=str(location.absolute()) if isinstance(location, Path) else location,
        channels=first.channels,
        classes=first.classes,
        image_shape=reader.image_shape,
        n_left_out=int((~is_readable(reader.status)).sum()),
        fingerprints={name: manifest.fingerprint for name, manifest in manifests.items()},
        versions=read_versions() | {"backend": str(keras.backend.backend())},
    )


def build_network(description: RunDescription, *, fold: int) -> keras.Model:
    """Build the network of a fold; its weights are a function of (seed, fold) and Keras's backend."""
    config = description.config
    seed_fold(config, fold)
    return nets.build(
        config.model,
        description.image_shape,
        len(description.classes),
        image_size=config.image_size or None,
        bn_momentum=config.bn_momentum,
        precision=config.precision,
        options=config.options,
    )


def seed_fold(config: TrainConfig, fold: int) -> None:
    """Set Keras's seeds as a function of (seed, fold)."""
    seed = int(np.random.SeedSequence([config.seed, fold]).generate_state(1)[0])
    if on_tensorflow():
        keras.utils.set_random_seed(seed)
    else:
        # What the line above does too, and all that Keras draws from; but it loads TensorFlow where it is installed.
        random.seed(seed)


@contextmanager
def hold_run(out: Path, description: RunDescription, *, overwrite: bool) -> Iterator[None]:
    """Make a run folder, or open one to go on with, and keep every other writer off it."""
    with hold_store(out, what="run"):
        if check_run_folder(out, description, overwrite=overwrite):
            for path in out.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in {LOCK_NAME, CONFIG_FILE}:  # without the latter it would be no run to replace
                    path.unlink()
            description.write(out)
        remove_partial_files(out)
        yield


def check_run_folder(out: Path, description: RunDescription, *, overwrite: bool) -> bool:
    """Tell whether a run folder is to be made, or one is there to go on with; InputError if it is no such place."""
    if not out.is_dir() or all(path.name == LOCK_NAME or path.match(".*.part") for path in out.iterdir()):
        return True
    there = read_run(out)  # refuses what is no run
    if overwrite:
        return True
    differing = _compare(there, description)
    if differing:
        raise InputError(
            f"{out} must be a run with the same settings, to go on with, or new. Received: one with another "
            f"{', '.join(differing)}. Give the same settings, pass --overwrite, or name another folder."
        )
    return False


def _compare(there: RunDescription, here: RunDescription) -> list[str]:
    """Name what differs between two runs and would change the weights; what comes afterwards does not."""
    differing = []
    for name in TrainConfig.__dataclass_fields__:
        old, new = getattr(there.config, name), getattr(here.config, name)
        if not name.startswith("finetune_") and old != new:
            differing.append(f"{name} ({old} there, {new} here)")
    for name in sorted(set(there.fingerprints) & set(here.fingerprints)):
        if there.fingerprints[name] != here.fingerprints[name]:
            differing.append(f"part {name} (it was converted again)")
    if there.base_models != here.base_models:
        differing.append("models to fine-tune (they were trained again, or are another run's)")
    if there.finetuned_folds != here.finetuned_folds:
        differing.append(f"finetuned_folds ({there.finetuned_folds} there, {here.finetuned_folds} here)")
    backends = there.versions.get("backend"), here.versions.get("backend")
    if backends[0] != backends[1]:
        differing.append(f"Keras backend ({backends[0]} there, {backends[1]} here)")
    return differing


def train_folds(
    out: Path,
    description: RunDescription,
    plan: FoldPlan,
    reader: Reader,
    begin: Callable[[Fold], keras.Model | None],
    *,
    progress: Progress,
    on_epoch: EpochReport,
    checkpointing: Checkpointing | None,
) -> None:
    """Train a network on each fold that is not done, and gather what the best ones say of their validation sets.

    Parameters
    ----------
    out : Path
        The run folder.
    description : RunDescription
    plan : FoldPlan
    reader : Reader
    begin : function of Fold
        Gives the network to train, or None where it has filled the fold's folder itself.
    progress, on_epoch, checkpointing
        As in `train`.
    """
    if (out / FOLDS_FILE).exists():
        check_folds(out, plan, reader.ids)
    write_atomic(out / FOLDS_FILE, _list_folds(plan, reader.ids))
    config, checkpointing = description.config, checkpointing or Checkpointing()
    folds = []
    for number in range(plan.n_folds):
        training, validation = plan.split(number)
        fold = Fold(number=number, folder=fold_folder(out, number), training=training, validation=validation)
        fold.folder.mkdir(exist_ok=True)
        remove_partial_files(fold.folder)
        if not is_done(fold):
            folds.append(fold)
    progress.start(sum(count_left(config, fold) for fold in folds if fold.number in description.trained_folds))
    with open_log(out) if checkpointing.tensorboard and folds else nullcontext(no_log) as log:
        for fold in folds:
            network = begin(fold)
            if network is None:
                continue
            job = FoldJob(
                config=config,
                reader=reader,
                fold=fold,
                classes=description.classes,
                progress=progress,
                on_epoch=on_epoch,
                checkpointing=checkpointing,
                log=log,
            )
            fit_fold(network, job)
            write_probs(description, fold, reader)
    gather_probs(out, plan, reader)


def check_folds(run: Path, plan: FoldPlan, ids: list[str]) -> None:
    """Refuse a run whose samples do not validate in the folds of a plan: some would be scored by who has seen them."""
    path = run / FOLDS_FILE
    try:
        there = path.read_bytes()
    except OSError as error:
        raise InputError(f"A run must say who validates where. Received: {path}: {error}. Train again.") from error
    if there != _list_folds(plan, ids):
        raise InputError(
            f"The samples of a run must stay in their folds. Received: a store with others than {path}; a sample "
            "failed or was mended since. Train into another folder, or pass --overwrite."
        )


def _list_folds(plan: FoldPlan, ids: list[str]) -> bytes:
    """Say in which fold each sample validates, as a CSV table."""
    return encode_table(("id", "fold"), [(ids[index], plan.folds[index]) for index in np.flatnonzero(plan.folds >= 0)])


def is_done(fold: Fold) -> bool:
    """Tell whether a fold has its model and what that says; what is left of more or of less is removed."""
    done = (fold.folder / PROBS_FILE).exists() and is_zipfile(fold.folder / BEST_FILE)
    (fold.folder / (CHECKPOINT_FILE if done else PROBS_FILE)).unlink(missing_ok=True)
    return done


def count_left(config: TrainConfig, fold: Fold) -> int:
    """Count the images that a fold is still to be trained on, all epochs together."""
    saved = fold.folder / CHECKPOINT_FILE
    state = read_state(saved) if saved.exists() else START
    return (config.epochs - state.epoch) * count_images(config, fold) - state.n_images


def write_probs(description: RunDescription, fold: Fold, reader: Reader) -> None:
    """Write what a fold's best model says of its validation set: the sign that the fold is done."""
    model = load_model(fold.folder / BEST_FILE, description)
    probs = predict_probs([model], reader, fold.validation, description.config.batch_size)
    with open_atomic(fold.folder / PROBS_FILE) as file:
        np.savez(file, probs=probs)
    (fold.folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def gather_probs(out: Path, plan: FoldPlan, reader: Reader) -> None:
    """Put the folds' probabilities together, in the order of the reader."""
    own = np.flatnonzero(plan.folds >= 0)  # the rows that validate somewhere: all but copies and failed samples
    labels: npt.NDArray[np.uint8] = reader.labels[own]  # type: ignore[index]
    probs = np.zeros((len(reader), labels.shape[1]), np.float32)
    for number in range(plan.n_folds):
        _, validation = plan.split(number)
        path = fold_folder(out, number) / PROBS_FILE
        try:
            told = read_arrays(path)["probs"]
            if told.shape != (len(validation), labels.shape[1]) or not ((told >= 0) & (told <= 1)).all():
                raise ValueError(f"no probabilities of {len(validation)} samples")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"A fold must have its probabilities. Received: {path}: {error}. Remove it.") from error
        probs[validation] = told
    write_out_of_fold(
        out, OutOfFold(ids=[reader.ids[i] for i in own], labels=labels, probs=probs[own], folds=plan.folds[own])
    )
