"""Pre-training: an autoencoder learns to reconstruct images, without labels, and its encoder is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.batches import iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_model.backend import describe_device
from hpa_model.config import TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.nets.autoencoder import copy_encoder, cut_encoder, find_encoder
from hpa_model.runs.checkpoint import START, read_state
from hpa_model.runs.folder import BEST_FILE, CHECKPOINT_FILE
from hpa_model.runs.history import ReconstructionRecord, find_kept, read_reconstruction_epochs
from hpa_model.runs.models import is_complete, load_model, save_model
from hpa_model.runs.pretraining import ENCODER_FILE, SEALED_FILES, TRAINED_FILES
from hpa_model.runs.seal import seal_files, unseal_files
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Checkpointing, EpochReport, Fold, FoldJob, ignore_epoch
from hpa_model.training.objective import REMEDY, Objective, Validation
from hpa_model.training.overview import describe_network
from hpa_model.training.pretrain_folder import OpenPretraining, build_network, build_untrained, open_pretraining
from hpa_model.training.pretrain_pictures import draw_loss_figure, draw_reconstructions
from hpa_model.training.run import prepare_backend

NAME = "the autoencoder"


@dataclass(frozen=True, kw_only=True)
class FinishedPretraining:
    """A pre-training that is finished."""

    folder: Path

    encoder: Path
    """The file of the encoder."""

    n_training: int
    n_validation: int
    """Samples that were trained on, and that were held out."""

    n_epochs: int

    best_epoch: int
    """The epoch whose encoder is kept, from 1."""

    val_loss: float
    val_explained: float
    """Of that epoch, see `ReconstructionRecord`."""

    pictures: tuple[Path, ...]
    """Originals beside reconstructions, and the losses over the epochs."""

    missing: str = ""
    """The package without which the losses could not be drawn."""


def pretrain(
    store: Store,
    config: TrainConfig,
    out: Path,
    *,
    settings: PretrainSettings | None = None,
    overwrite: bool = False,
    cache_bytes: int = 0,
    progress: Progress = SILENT,
    on_epoch: EpochReport = ignore_epoch,
    checkpointing: Checkpointing | None = None,
) -> FinishedPretraining:
    """Train an autoencoder over the convolutions of a network, and keep its encoder.

    The same call resumes a pre-training that was stopped, as for `train.train`. No label is read, so parts without
    labels can be used.

    Parameters
    ----------
    store : Store
    config : TrainConfig
        The network must have an encoder, see `nets.Net.encoder`. `UNUSED_SETTINGS` have no effect.
    out : Path
        The folder to create, or to resume.
    settings : PretrainSettings, optional
    overwrite : bool
        Replace an existing pre-training.
    cache_bytes, progress, on_epoch, checkpointing
        As in `train.train`; the record of an epoch is a `ReconstructionRecord`.

    Returns
    -------
    FinishedPretraining

    Raises
    ------
    InputError
        If the store or the settings cannot be used, or `out` is of something else; nothing is written then. If the loss
        becomes NaN or infinite.
    """
    settings = settings or PretrainSettings()
    prepare_backend(config)
    with open_pretraining(
        store, config, settings, out, overwrite=overwrite, cache_bytes=cache_bytes, progress=progress
    ) as opened:
        config = opened.description.config
        job = FoldJob(
            config=config,
            reader=opened.reader,
            fold=Fold(number=0, folder=out, training=opened.training, validation=opened.validation, label=NAME),
            classes=(),
            objective=RECONSTRUCTION,
            progress=progress,
            on_epoch=on_epoch,
            checkpointing=checkpointing or Checkpointing(),
        )
        if _is_finished(out, config):
            progress.note(f"Nothing to train: {out} is finished.")
        else:
            unseal_files(out, TRAINED_FILES)
            (out / ENCODER_FILE).unlink(missing_ok=True)
            autoencoder = build_untrained(opened.description)
            _announce(opened, job, autoencoder, progress)
            fit_fold(autoencoder, job)
            _write_encoder(opened)
            seal_files(out, SEALED_FILES)
        history = _read_history(out)
        pictures = [draw_reconstructions(out, opened.description, opened.reader, opened.validation)]
        missing = ""
        try:
            pictures.append(draw_loss_figure(out, config.keep))
        except ImportError as error:
            missing = str(error.name)
    kept = find_kept(history, config.keep)
    return FinishedPretraining(
        folder=out,
        encoder=out / ENCODER_FILE,
        n_training=len(opened.training),
        n_validation=len(opened.validation),
        n_epochs=len(history),
        best_epoch=kept.epoch,
        val_loss=kept.val_loss,
        val_explained=kept.val_explained,
        pictures=tuple(pictures),
        missing=missing,
    )


def _is_finished(out: Path, config: TrainConfig) -> bool:
    path = out / CHECKPOINT_FILE
    is_over = read_state(path).is_over(config) if path.exists() else len(_read_history(out)) >= config.epochs
    return is_complete(out / ENCODER_FILE) and is_over


def _read_history(out: Path) -> Sequence[ReconstructionRecord]:
    """Read the finished epochs; the checkpoint of a finished pre-training may have been removed."""
    path = out / CHECKPOINT_FILE
    return read_state(path).reconstructions if path.exists() else read_reconstruction_epochs(out)


def _announce(opened: OpenPretraining, job: FoldJob, autoencoder: keras.Model, progress: Progress) -> None:
    """Say what is about to be trained, and where it goes on."""
    config, path = job.config, opened.folder / CHECKPOINT_FILE
    state = read_state(path) if path.exists() else START
    if not opened.is_new:
        progress.note(f"Resuming {opened.folder} at epoch {state.epoch + 1}, step {state.step + 1}")
    progress.note(f"Device: {describe_device(config.devices)}, {config.precision}")
    progress.note(
        f"Data: {len(opened.training):,} images of {', '.join(config.parts)} to train on, "
        f"{len(opened.validation):,} to validate on; {job.n_steps:,} steps per epoch; no labels are read"
    )
    progress.note(
        f"Network: the convolutions of {config.model} and their mirror image, {describe_network(autoencoder)}; mean "
        f"squared error, {config.optimizer}, learning rate {config.learning_rate:g}"
    )
    progress.start((config.epochs - state.epoch) * job.n_images - state.n_images)


def _write_encoder(opened: OpenPretraining) -> None:
    """Write the encoder of the best autoencoder, which finishes the pre-training."""
    end = find_encoder(opened.description.config.model)
    network = build_network(opened.description)
    difference = copy_encoder(load_model(opened.folder / BEST_FILE), network, end)
    if difference:
        raise InputError(
            f"Cannot use {opened.folder / BEST_FILE}: {difference}. Run the same command again with --overwrite."
        )
    save_model(cut_encoder(network, end), opened.folder / ENCODER_FILE)


def measure_errors(
    network: keras.Model, reader: Reader, indices: npt.NDArray[np.int64], batch_size: int
) -> npt.NDArray[np.float64]:
    """Compute what an autoencoder puts out for some samples, float64 (M, 2); see `ReconstructionError`."""
    sampler = BatchSampler(indices, batch_size, shuffle=False)
    return np.concatenate(
        [
            np.asarray(network.predict_on_batch(batch.images), np.float64)
            for batch in iter_batches(reader, sampler, epochs=1)
        ]
    )


def _validate(
    network: keras.Model, config: TrainConfig, reader: Reader, indices: npt.NDArray[np.int64], name: str
) -> Validation:
    """Reconstruct the validation images, whole and without noise."""
    errors = measure_errors(network, reader, indices, config.batch_size)
    if not np.isfinite(errors).all():
        row = int(np.flatnonzero(~np.isfinite(errors).all(axis=1))[0])
        raise InputError(f"Cannot reconstruct sample {reader.ids[int(indices[row])]!r}: {name} gives NaN. {REMEDY}")
    error, spread = errors.mean(axis=0).tolist()
    # Uniform images have no variance to explain.
    return Validation(metrics={"val_loss": error, "val_explained": 1 - error / spread if spread else 0.0})


def _select_error(_labels: Any, found: Any) -> Any:
    """Return the error of each image, (B,), which is the loss: the labels are the 0 that it should be."""
    return found[:, 0]


# What the images look like.
RECONSTRUCTION = Objective(
    make_loss=lambda _config, _labels, _rates: _select_error, validate=_validate, record=ReconstructionRecord
)
