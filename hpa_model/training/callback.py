"""What happens after each step and each epoch of a fold's training: checks, validation, checkpoints."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpa_data.errors import InputError
from hpa_data.system.interrupts import Interrupts
from hpa_model.augment.plan import Augmentation
from hpa_model.config import TrainConfig
from hpa_model.runs.checkpoint import TrainingState, save_checkpoint
from hpa_model.runs.folder import BEST_FILE, CHECKPOINT_FILE
from hpa_model.runs.history import EpochRecord, Record, write_class_f1, write_history
from hpa_model.runs.models import save_model
from hpa_model.training.hosts import joined_hosts, meet_hosts, own_device_scope
from hpa_model.training.job import FoldJob
from hpa_model.training.objective import REMEDY
from hpa_model.training.optimizer import copy_averages, lower_rate


@dataclass(frozen=True, kw_only=True)
class Models:
    """The three models of a training."""

    network: keras.Model
    """What is validated and saved."""

    replica: keras.Model
    """What is trained: the network itself; or a copy, with several devices one that is on all of them, or where the
    network has averages of its weights."""

    compiled: keras.Model
    """What Keras fits: the replica, with an optimizer and perhaps another input. It shares all weights with it."""

    augmentation: Augmentation | None = None
    """What draws that other input."""

    def update_network(self) -> None:
        """Copy the weights of the replica, or their averages, to the network, where that is another model."""
        if self.replica is self.network:
            return
        self.network.set_weights(self.replica.get_weights())
        twins = {id(theirs): mine for mine, theirs in zip(self.network.variables, self.replica.variables, strict=True)}
        copy_averages(self.compiled.optimizer, [twins[id(each)] for each in self.replica.trainable_variables])


class NonBlockingCallbackList(keras.callbacks.CallbackList):
    """Pass on what a step returns unconverted: Keras would wait for its value, and the device for the next step."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass on the results of a step."""
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class TrainingCallback(keras.callbacks.Callback):
    """Check each step; after each epoch validate, keep the best model, write checkpoint and history."""

    def __init__(self, models: Models, job: FoldJob, state: TrainingState, interrupts: Interrupts) -> None:
        super().__init__()
        self._models = models
        self._job = job
        self._state = state  # at the start of the current epoch, or where it was resumed
        self._interrupts = interrupts
        self._started = 0.0
        self._unchecked: tuple[int, Any] | None = None  # a step, and its loss on the device
        self._saved_at = time.monotonic()
        self._has_passed_on = False

    @property
    def state(self) -> TrainingState:
        """The state at the start of the current epoch; after the last one, at its end."""
        return self._state

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock, set a scheduled learning rate, and say which epoch it is."""
        config = self._job.config
        self._job.progress.stage(f"{self._job.fold.name}, epoch {epoch + 1}/{config.epochs}")
        if config.schedule == "cosine":  # else it is the optimizer's, which a plateau lowers
            self._models.compiled.optimizer.learning_rate = config.rate_in(epoch)
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss of the previous step, and write a checkpoint when one is due."""
        job = self._job
        step = self._state.step + batch
        # One step late, so that the device does not wait until we have read the loss.
        self._check_loss()
        self._unchecked = (step, (logs or {})["loss"])
        job.progress.advance(job.count_images_before(step + 1) - job.count_images_before(step))
        if step + 1 == job.n_steps:
            return  # `on_epoch_end` follows, and writes a checkpoint
        is_due = self._interrupts.requested or time.monotonic() - self._saved_at >= job.checkpointing.checkpoint_s
        if is_due and job.writes:
            self._save(self._state_at(step + 1))
        self._stop_if_requested()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate, record, and save."""
        with own_device_scope():
            self._end_epoch(epoch)
        meet_hosts()  # the first one has written files
        self._stop_if_requested()

    def _stop_if_requested(self) -> None:
        """Stop if an interrupt was received. Over hosts, the first one stops, and then all do, after its checkpoint."""
        hosts = joined_hosts()
        if hosts is None or hosts.is_first:
            self._interrupts.stop_if_requested()
        elif self._interrupts.requested and not self._has_passed_on:
            hosts.pass_on_stop(self._interrupts.received[0])
            self._has_passed_on = True

    def _end_epoch(self, epoch: int) -> None:
        config = self._job.config
        state = self._state_at(self._job.n_steps)
        self._models.update_network()
        self._job.progress.stage(f"{self._job.fold.name}, epoch {epoch + 1}/{config.epochs}, validation")
        record, class_f1 = self._validate(state)
        state = state.after_epoch(record, class_f1, _is_kept(config, state, record))
        if config.patience and state.epochs_since_best >= config.patience:
            lower_rate(self._models.compiled.optimizer, config.plateau_factor)
            state = replace(state, epochs_since_best=0)
        self._models.compiled.stop_training = state.is_over(config)
        self._persist(state)
        self._job.log(self._job.fold.number, state)
        self._job.on_epoch(self._job.fold.number, record, state.best_epoch == state.epoch - 1)

    def _validate(self, state: TrainingState) -> tuple[Record, tuple[float, ...]]:
        """Validate the network; return the record of the epoch and the F1 of each class, if there are classes."""
        job = self._job
        name = f"the network of {job.fold.name} after epoch {state.epoch + 1}"
        found = job.objective.validate(self._models.network, job.config, job.reader, job.fold.validation, name)
        record = job.objective.record(
            epoch=state.epoch + 1,
            loss=state.loss_sum / state.n_images,
            learning_rate=float(keras.ops.convert_to_numpy(self._models.compiled.optimizer.learning_rate)),
            images_per_s=job.n_images / state.elapsed_s,
            seconds=self._state.elapsed_s + time.perf_counter() - self._started,
            **found.metrics,
        )
        return record, found.class_f1

    def _persist(self, state: TrainingState) -> None:
        """Write the files of a finished epoch, in an order in which a kill at any moment loses nothing."""
        folder = self._job.fold.folder
        # The best model keeps the name of its epoch until the checkpoint refers to that epoch.
        if state.best_epoch == state.epoch - 1 and self._job.writes:
            save_model(self._models.network, folder / _epoch_file(state.best_epoch))
        self._save(state)
        if self._job.writes:
            rename_best(folder, state)
            write_tables(self._job, state)

    def _state_at(self, step: int) -> TrainingState:
        """Return the state before a step of this epoch; InputError if the loss is not finite."""
        loss = self._check_loss()
        n_images = self._job.count_images_before(step)
        return replace(
            self._state,
            step=step,
            # Keras's loss is the mean over the images since its fit started.
            loss_sum=self._state.loss_sum + loss * (n_images - self._state.n_images),
            n_images=n_images,
            elapsed_s=self._state.elapsed_s + time.perf_counter() - self._started,
        )

    def _check_loss(self) -> float:
        """Read the last loss from the device; InputError if it is not finite."""
        if self._unchecked is None:
            return 0.0
        step, value = self._unchecked
        loss = float(keras.ops.convert_to_numpy(value))
        if not np.isfinite(loss):
            raise InputError(
                f"Cannot train {self._job.fold.name} further: the training loss is {loss} in epoch "
                f"{self._state.epoch + 1}, step {step + 1}. {REMEDY}"
            )
        return loss

    def _save(self, state: TrainingState) -> None:
        """Write a checkpoint, if this process writes."""
        compiled = self._models.compiled
        if hasattr(compiled, "jax_state_sync"):  # JAX keeps the weights outside the model while it trains
            compiled.jax_state_sync()
        path = self._job.fold.folder / CHECKPOINT_FILE
        if self._job.writes:
            save_checkpoint(path, state, self._models.replica, compiled.optimizer)
        self._saved_at = time.monotonic()
        if state.step == 0:  # the next epoch counts from here
            self._state = state
            self._unchecked = None


def _is_kept(config: TrainConfig, state: TrainingState, record: Record) -> bool | None:
    """Tell whether the model after an epoch is kept; None if its loss alone decides."""
    if config.keep == "last":
        return state.epoch + 1 == config.epochs
    if config.keep == "lowest_loss" or not isinstance(record, EpochRecord):
        return None
    return record.val_macro_f1_best > max((each.val_macro_f1_best for each in state.history), default=-1.0)


def write_tables(job: FoldJob, state: TrainingState) -> None:
    """Write the tables of the finished epochs, which a killed process may have left one epoch behind the checkpoint."""
    if state.records:
        write_history(job.fold.folder, state.records)
    if state.history and len(job.fold.validation):
        write_class_f1(job.fold.folder, job.classes, state.class_f1)


def rename_best(folder: Path, state: TrainingState) -> None:
    """Give the best model its final name, and remove models that no checkpoint refers to."""
    for path in folder.glob("epoch*.keras"):
        if path.name == _epoch_file(state.best_epoch):
            path.replace(folder / BEST_FILE)
        else:
            path.unlink()


def _epoch_file(epoch: int) -> str:
    return f"epoch{epoch}.keras"
