"""What happens after each step and epoch of a training: checks, scores, checkpoints."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpa_data.errors import InputError
from hpa_model.losses import loss_of_set
from hpa_model.metrics import binary_accuracy, f1_per_class, macro_f1, predict_classes
from hpa_model.predict import predict_probs
from hpa_model.runs.checkpoint import TrainingState, save_checkpoint
from hpa_model.runs.folder import BEST_FILE, CHECKPOINT_FILE, EpochRecord, write_class_f1, write_history
from hpa_model.runs.models import save_model
from hpa_model.thresholds import search_thresholds
from hpa_model.training.job import FoldJob


class NonBlockingCallbackList(keras.callbacks.CallbackList):
    """Hand on what a step returns as it is: Keras's own waits for the number, and the device for the next step."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass the step's results on unconverted."""
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class TrainingCallback(keras.callbacks.Callback):
    """Watch each step; after each epoch validate, keep the best model, write checkpoint and history."""

    def __init__(
        self, network: keras.Model, learner: keras.Model, trained: keras.Model, job: FoldJob, state: TrainingState
    ) -> None:
        super().__init__()
        self._network = network
        self._learner = learner
        self._trained = trained
        self._job = job
        self._state = state
        # The stretch of an epoch that runs: its first step, when it began, and the loss of the step before.
        self._first_step = 0
        self._began = 0.0
        self._pending: tuple[int, Any] | None = None
        self._saved_at = time.monotonic()
        self.asked_to_stop = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._first_step = self._state.step
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss of the step before, and write a checkpoint when it is time."""
        step = self._first_step + batch
        # One step late, so that the device need not wait for us to look.
        self._check_pending()
        self._pending = (step, (logs or {})["loss"])
        done = step * self._job.config.batch_size
        self._job.progress.advance(min(self._job.config.batch_size, self._job.n_images - done))
        if step + 1 == self._job.n_steps:
            return  # the end of the epoch follows, with a checkpoint of its own
        if self.asked_to_stop or time.monotonic() - self._saved_at >= self._job.checkpointing.checkpoint_s:
            self._save(self._advance(step + 1))
        if self.asked_to_stop:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Validate, record, and save."""
        state = self._advance(self._job.n_steps)
        if self._learner is not self._network:
            self._network.set_weights(self._learner.get_weights())
        probs = predict_probs([self._network], self._job.reader, self._job.fold.validation, self._job.config.batch_size)
        if not np.isfinite(probs).all():
            raise InputError(
                f"Predictions must stay finite. Received: NaN in fold {self._job.fold.number}, epoch {epoch + 1}. "
                "Lower the learning rate, or clip gradients (clip_norm)."
            )
        labels = self._job.reader.labels[self._job.fold.validation]  # type: ignore[index]
        best = search_thresholds(labels, probs)
        class_f1 = f1_per_class(labels, predict_classes(probs, best))
        rate = float(keras.ops.convert_to_numpy(self._trained.optimizer.learning_rate))
        record = EpochRecord(
            epoch=epoch + 1,
            loss=state.loss_sum / state.n_images,
            val_loss=loss_of_set(self._job.config.loss, labels, probs),
            val_macro_f1=macro_f1(labels, probs),
            val_macro_f1_best=float(class_f1.mean()),
            val_accuracy=binary_accuracy(labels, probs),
            learning_rate=rate,
            images_per_s=self._job.n_images / state.elapsed_s,
            seconds=self._state.elapsed_s + time.perf_counter() - self._began,
        )
        state = state.after_epoch(record, class_f1.tolist())
        lower = state.best_epoch == epoch
        if self._job.config.plateau_epochs and state.epochs_since_best >= self._job.config.plateau_epochs:
            self._trained.optimizer.learning_rate = rate * self._job.config.plateau_factor
            state = replace(state, epochs_since_best=0)

        # The best model, under a name of its own until the checkpoint knows of it.
        if lower:
            save_model(self._network, self._job.fold.folder / _name_best(epoch))
        self._save(state)
        _settle_best(self._job.fold.folder, state)
        _write_tables(self._job, state)
        for name, value in asdict(record).items():
            if name != "epoch":
                self._job.log(f"fold{self._job.fold.number}/{name}", epoch + 1, value)
        self._job.on_epoch(self._job.fold.number, record)
        if self.asked_to_stop:
            raise KeyboardInterrupt

    def _advance(self, step: int) -> TrainingState:
        """Return the state before a step of this epoch; InputError if the loss is no number any more."""
        loss = self._check_pending()
        n_images = min(step * self._job.config.batch_size, self._job.n_images)
        # Keras's loss is the mean over the images of this stretch.
        return replace(
            self._state,
            step=step,
            loss_sum=self._state.loss_sum + loss * (n_images - self._state.n_images),
            n_images=n_images,
            elapsed_s=self._state.elapsed_s + time.perf_counter() - self._began,
        )

    def _check_pending(self) -> float:
        """Look at the loss of the last step that was noted."""
        if self._pending is None:
            return 0.0
        step, value = self._pending
        loss = float(keras.ops.convert_to_numpy(value))
        if not np.isfinite(loss):
            raise InputError(
                f"The training loss must stay finite. Received: {loss} in fold {self._job.fold.number}, epoch "
                f"{self._state.epoch + 1}, step {step + 1}. Lower the learning rate, or clip gradients (clip_norm)."
            )
        return loss

    def _save(self, state: TrainingState) -> None:
        """Write a checkpoint; a state at the beginning of an epoch is also the one to count on from."""
        if hasattr(self._trained, "jax_state_sync"):  # JAX keeps the weights elsewhere while it trains
            self._trained.jax_state_sync()
        save_checkpoint(self._job.fold.folder / CHECKPOINT_FILE, state, self._learner, self._trained.optimizer)
        self._saved_at = time.monotonic()
        if state.step == 0:
            self._state = state
            self._pending = None


@contextlib.contextmanager
def _ask_to_stop(keeper: TrainingCallback) -> Iterator[None]:
    """Let the first Ctrl-C wait for the end of a step and a checkpoint; the second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(*_: object) -> None:
        if keeper.asked_to_stop:
            raise KeyboardInterrupt
        keeper.asked_to_stop = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
        if keeper.asked_to_stop:  # after the last epoch's end had looked
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)


def _write_tables(job: FoldJob, state: TrainingState) -> None:
    """Write the tables of the epochs that are done; a process that was stopped may have left them behind the state."""
    if state.history:
        write_history(job.fold.folder, state.history)
        write_class_f1(job.fold.folder, job.classes, state.class_f1)


def _name_best(epoch: int) -> str:
    return f"epoch{epoch}.keras"


def _settle_best(folder: Path, state: TrainingState) -> None:
    """Give the best model its name, and remove those that no checkpoint knows of."""
    for path in folder.glob("epoch*.keras"):
        if path.name == _name_best(state.best_epoch):
            path.replace(folder / BEST_FILE)
        else:
            path.unlink()
