"""Training: k folds, one model each, straight down the page."""

import csv
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.leaks import plan_training
from hpa_data.reader import Reader
from hpa_data.schema import is_readable
from hpa_data.store import Store
from hpa_model import nets
from hpa_model.config import RunDescription, TrainConfig, read_run, read_versions
from hpa_model.evaluate import OutOfFold, Scores, score_run, write_out_of_fold
from hpa_model.metrics import binary_cross_entropy, macro_f1
from hpa_model.nets.symmetry import add_turns
from hpa_model.pipeline import dataset, readable_faults
from hpa_model.predict import BEST_FILE, LAST_FILE, fold_folder, load_model, predict_probs

HISTORY_FILE = "history.csv"
UNFINISHED_FILE = "unfinished.keras"


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of a fold's history.

    Attributes
    ----------
    epoch : int
        From 1.
    loss : float
        Binary cross-entropy averaged over the training batches, with dropout, as the weights changed.
    val_loss, val_macro_f1 : float
        Over the whole validation set after the epoch; F1 with the threshold 0.5 for all classes.
    images_per_s : float
        Trained, validation not counted.
    seconds : float
        The whole epoch, validation included.
    """

    epoch: int
    loss: float
    val_loss: float
    val_macro_f1: float
    images_per_s: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Progress:
    """What a caller may want to be told while training goes on; each is called in the training thread."""

    on_fold: Callable[[int, int], None] = lambda fold, n_images: None
    on_batch: Callable[[int], None] = lambda n_images: None
    on_epoch: Callable[[int, EpochRecord], None] = lambda fold, record: None


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """One fold's part of a training: where it goes, and indices of its samples, int64, into the reader."""

    number: int
    folder: Path
    training: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


def train(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    overwrite: bool = False,
    cache_bytes: int = 0,
    progress: Progress | None = None,
) -> Scores:
    """Train one model a fold and write the run folder.

    Parameters
    ----------
    store : Store
    config : TrainConfig
    out : Path
        The run folder to make.
    overwrite : bool
        Replace a run that is there.
    cache_bytes : int
        Decoded samples that may be kept in memory; changes nothing but the time.
    progress : Progress, optional

    Returns
    -------
    Scores
        Of the out-of-fold probabilities: each sample is scored by the model that has not seen it.

    Raises
    ------
    InputError
        If the store or the settings cannot be used. Nothing is written then.
    """
    progress = progress or Progress()
    with store.reader(config.parts, cache_bytes=cache_bytes) as reader:
        # Samples and folds
        description = _describe(store, config, reader)
        _build(description, fold=0)  # refuses what cannot be built before anything is written
        _check_run_folder(out, overwrite=overwrite)
        plan = plan_training(
            store,
            config.parts,
            reader,
            config.folds,
            method=config.fold_method,
            seed=config.seed,
            legacy_leak=config.legacy_leak,
        )
        own = np.flatnonzero(plan.folds >= 0)  # the rows that validate somewhere: all but copies and failed samples
        _make_run_folder(out)
        description.write(out)

        # One model a fold, and what it says of the samples that it has not seen
        probs = np.zeros((len(reader), len(description.classes)), np.float32)
        for number in range(config.folds):
            training, validation = plan.split(number)
            fold = _Fold(number=number, folder=fold_folder(out, number), training=training, validation=validation)
            _train_fold(description, reader, fold, progress)
            model = load_model(fold.folder / BEST_FILE)
            probs[validation] = predict_probs([model], reader, validation, config.batch_size)

        # Scores and thresholds
        labels: npt.NDArray[np.uint8] = reader.labels[own]  # type: ignore[index]
        ids = [reader.ids[index] for index in own]
    write_out_of_fold(out, OutOfFold(ids=ids, labels=labels, probs=probs[own], folds=plan.folds[own]))
    return score_run(out)


def _describe(store: Store, config: TrainConfig, reader: Reader) -> RunDescription:
    """Gather what the run folder says of its data."""
    manifests = {name: store.part(name).manifest for name in config.parts}
    first = manifests[config.parts[0]]
    return RunDescription(
        config=config,
        channels=first.channels,
        classes=first.classes,
        image_shape=reader.image_shape,
        n_left_out=int((~is_readable(reader.status)).sum()),
        fingerprints={name: manifest.fingerprint for name, manifest in manifests.items()},
        versions=read_versions(),
    )


def _check_run_folder(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where no run folder can be made."""
    if not out.exists():
        return
    if not overwrite:
        raise InputError(f"The run folder must be new. Received: {out}, which exists. Pass --overwrite or another.")
    if not out.is_dir() or any(out.iterdir()):
        read_run(out)  # refuses to delete what is no run


def _make_run_folder(out: Path) -> None:
    """Make an empty run folder, in place of what `_check_run_folder` has let pass."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)


def _build(description: RunDescription, *, fold: int) -> keras.Model:
    """Build the model of a fold; its weights are a function of (seed, fold)."""
    config = description.config
    keras.utils.set_random_seed(int(np.random.SeedSequence([config.seed, fold]).generate_state(1)[0]))
    model = nets.build(
        config.model,
        description.image_shape,
        len(description.classes),
        image_size=config.image_size,
        bn_momentum=config.bn_momentum,
    )
    model.jit_compile = False  # where it is not compiled itself, it still says how it predicts
    return model


def _train_fold(description: RunDescription, reader: Reader, fold: _Fold, progress: Progress) -> None:
    """Train the model of one fold; leave its checkpoints and its history in its folder."""
    config = description.config
    fold.folder.mkdir()
    progress.on_fold(fold.number, len(fold.training) * config.epochs)
    model = _build(description, fold=fold.number)
    trained = add_turns(model) if config.symmetries else model
    # No XLA: on CPUs it trains this network at less than half the speed.
    trained.compile(keras.optimizers.Adam(config.learning_rate), "binary_crossentropy", jit_compile=False)
    keeper = _Keeper(model, reader, fold, config.batch_size, progress)
    steps = -(-len(fold.training) // config.batch_size)
    with readable_faults(reader) as watched:
        batches = dataset(watched, fold.training, config.batch_size, seed=config.seed, symmetries=config.symmetries)
        trained.fit(batches, epochs=config.epochs, steps_per_epoch=steps, callbacks=[keeper], shuffle=False, verbose=0)


class _Keeper(keras.callbacks.Callback):
    """After each epoch: validate over the whole set, write the history, keep the best and the last model."""

    def __init__(self, network: keras.Model, reader: Reader, fold: _Fold, batch_size: int, progress: Progress) -> None:
        super().__init__()
        self._network = network  # without what may be put before it for training
        self._reader = reader
        self._fold = fold
        self._batch_size = batch_size
        self._progress = progress
        self._best_loss = np.inf
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = batch * self._batch_size
        self._progress.on_batch(min(self._batch_size, len(self._fold.training) - done))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        trained = time.perf_counter()
        loss = float((logs or {})["loss"])
        if not np.isfinite(loss):
            raise InputError(
                f"The training loss must stay finite. Received: loss={loss} in fold {self._fold.number}, epoch "
                f"{epoch + 1}. Lower --learning-rate."
            )
        probs = predict_probs([self._network], self._reader, self._fold.validation, self._batch_size)
        labels = self._reader.labels[self._fold.validation]  # type: ignore[index]
        record = EpochRecord(
            epoch=epoch + 1,
            loss=loss,
            val_loss=binary_cross_entropy(labels, probs),
            val_macro_f1=macro_f1(labels, probs),
            images_per_s=len(self._fold.training) / (trained - self._started),
            seconds=time.perf_counter() - self._started,
        )
        self._append(record)
        # Beside its place and then there, so that a run that is killed keeps the checkpoints it had.
        unfinished = self._fold.folder / UNFINISHED_FILE
        if record.val_loss < self._best_loss:
            self._best_loss = record.val_loss
            self._network.save(unfinished)
            unfinished.replace(self._fold.folder / BEST_FILE)
        self._network.save(unfinished)
        unfinished.replace(self._fold.folder / LAST_FILE)
        self._progress.on_epoch(self._fold.number, record)

    def _append(self, record: EpochRecord) -> None:
        """Add a line to the history."""
        path = self._fold.folder / HISTORY_FILE
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochRecord)])
            if new:
                writer.writeheader()
            writer.writerow({name: f"{value:.6g}" for name, value in asdict(record).items()})
