"""Checkpoints: all that a training needs to resume, in one file without pickles."""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_atomic
from hpa_data.system.records import decode_record, encode_record
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import read_arrays, refuse_damage
from hpa_model.runs.history import EpochRecord, ReconstructionRecord, Record

# What some fields are called in the file.
DISK_NAMES = {"elapsed_s": "trained_s", "epochs_since_best": "since_lower"}
REMEDY = "Pass --overwrite to train again from the start."


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The progress of a fold's training. A field that is added later has a default, which older checkpoints take."""

    epoch: int
    """Of the next step, from 0."""

    step: int
    """The next step of the epoch, from 0."""

    loss_sum: float
    """Sum of the losses of the epoch's images so far."""

    n_images: int
    """The epoch's images so far."""

    elapsed_s: float
    """The time that they took."""

    best_epoch: int
    """The epoch whose model is kept, see `TrainConfig.keep`; -1 before the first."""

    best_loss: float

    epochs_since_best: int
    """Epochs since the validation loss was lowest, or since the learning rate was lowered for that."""

    history: tuple[EpochRecord, ...]
    """One per finished epoch; none for an autoencoder."""

    class_f1: tuple[tuple[float, ...], ...]
    """The F1 score of each class after each finished epoch; of no class for an autoencoder."""

    reconstructions: tuple[ReconstructionRecord, ...] = field(default=(), metadata={"absent": ()})
    """One per finished epoch of an autoencoder."""

    def __post_init__(self) -> None:
        """Check that the values fit together; ValueError if they do not."""
        counts = self.epoch, self.step, self.n_images, self.epochs_since_best, self.best_epoch + 1
        if min(counts) < 0 or self.best_epoch >= self.epoch:
            raise ValueError("a count is negative, or of an epoch that has not been trained")
        if not np.isfinite([self.loss_sum, self.elapsed_s]).all() or np.isnan(self.best_loss):
            raise ValueError("a number is not finite")
        if self.history and self.reconstructions:
            raise ValueError("it has the history of a network and that of an autoencoder")
        if not len(self.records) == len(self.class_f1) == self.epoch:
            raise ValueError(f"the history has {len(self.records)} epochs, the state {self.epoch}")

    @property
    def records(self) -> tuple[Record, ...]:
        """One per finished epoch, of whatever is trained."""
        return self.history or self.reconstructions

    def is_over(self, config: TrainConfig) -> bool:
        """Tell whether the training has had all its epochs, or has not become better for `stop_epochs` of them.

        Epochs of the classification head alone do not count.
        """
        without_better = self.epoch - 1 - max(self.best_epoch, config.head_epochs - 1)
        return self.epoch >= config.epochs or 0 < config.stop_epochs <= without_better

    def after_epoch(self, record: Record, class_f1: Iterable[float], is_kept: bool | None = None) -> "TrainingState":
        """Return the state at the start of the next epoch.

        Parameters
        ----------
        record : EpochRecord or ReconstructionRecord
            Of the epoch that has just ended.
        class_f1 : iterable of float, length K
            F1 score of each class after it.
        is_kept : bool, optional
            Whether its model is kept; by default if the validation loss is the lowest so far.
        """
        is_lower = record.val_loss < self.best_loss
        return replace(
            self,
            epoch=self.epoch + 1,
            step=0,
            loss_sum=0.0,
            n_images=0,
            elapsed_s=0.0,
            best_epoch=self.epoch if (is_lower if is_kept is None else is_kept) else self.best_epoch,
            best_loss=record.val_loss if is_lower else self.best_loss,
            epochs_since_best=0 if is_lower else self.epochs_since_best + 1,
            history=(*self.history, record) if isinstance(record, EpochRecord) else self.history,
            reconstructions=(
                (*self.reconstructions, record) if isinstance(record, ReconstructionRecord) else self.reconstructions
            ),
            class_f1=(*self.class_f1, tuple(class_f1)),
        )


# Before the first step.
START = TrainingState(
    epoch=0,
    step=0,
    loss_sum=0.0,
    n_images=0,
    elapsed_s=0.0,
    best_epoch=-1,
    best_loss=float("inf"),
    epochs_since_best=0,
    history=(),
    class_f1=(),
)


def save_checkpoint(path: Path, state: TrainingState, network: keras.Model, optimizer: keras.Optimizer) -> None:
    """Write a state with all variables of a network and its optimizer, random states included. Atomic.

    Raises
    ------
    InputError
        If a variable is not finite. Nothing is written then, so that the training can resume from before.
    """
    values = {}
    for number, variable in enumerate(_list_variables(network, optimizer)):
        value = values[f"v{number}"] = ops.convert_to_numpy(variable)
        if not np.isfinite(value).all():
            raise InputError(
                f"Cannot train {path.parent.name} further: {variable.path} has NaN or infinity before epoch "
                f"{state.epoch + 1}, step {state.step + 1}. Lower the learning rate or clip gradients "
                "(--learning-rate, clip_norm), with --overwrite."
            )
    raw = {DISK_NAMES.get(name, name): value for name, value in encode_record(state).items()}
    with open_atomic(path) as file:
        np.savez(file, state=np.array(json.dumps(raw)), **values)


def read_state(path: Path) -> TrainingState:
    """Read the state of a checkpoint; InputError if it is damaged."""
    return read_checkpoint(path, "state")[0]


def load_checkpoint(path: Path, network: keras.Model, optimizer: keras.Optimizer) -> TrainingState:
    """Set a network and its optimizer to what a checkpoint holds, and return its state.

    Raises
    ------
    InputError
        If the file is damaged, or of another network or optimizer. Both are unchanged then.
    """
    variables = _list_variables(network, optimizer)
    state, arrays = read_checkpoint(path)
    with _refuse_damage(path):
        values = [arrays.pop(f"v{i}") for i in range(len(variables))]
        if arrays:
            raise ValueError(f"it has {len(arrays)} arrays too many")
        for variable, value in zip(variables, values, strict=True):
            if tuple(variable.shape) != value.shape or str(value.dtype) != variable.dtype:
                raise ValueError(f"it has {variable.path} of shape {value.shape} and type {value.dtype}")
            if not np.isfinite(value).all():
                raise ValueError(f"it has {variable.path} with NaN or infinity")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


def read_checkpoint(
    path: Path, *names: str, compares_seal: bool = True
) -> tuple[TrainingState, dict[str, npt.NDArray[Any]]]:
    """Read the state of a checkpoint, and its other arrays, or those of some names; InputError if it is damaged."""
    fields = {name: field for field, name in DISK_NAMES.items()}
    with _refuse_damage(path):
        arrays = read_arrays(path, *names, compares_seal=compares_seal)
        raw = {fields.get(name, name): value for name, value in json.loads(str(arrays.pop("state"))).items()}
    return decode_record(TrainingState, raw, name=f"checkpoint {path}", remedy=REMEDY), arrays


def _refuse_damage(path: Path) -> AbstractContextManager[None]:
    return refuse_damage(path, REMEDY, name=f"checkpoint {path}")


def _list_variables(network: keras.Model, optimizer: keras.Optimizer) -> list[Any]:
    """List all variables that training changes, random states of dropout included."""
    return [*network.variables, *optimizer.variables]
