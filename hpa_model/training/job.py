"""The job of training one fold: its data, folder and settings, and where it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import count_batches
from hpa_data.reader.strata import Strata
from hpa_data.system.progress import SILENT, Progress
from hpa_model.config import TrainConfig
from hpa_model.config.logs import Log
from hpa_model.runs.history import Record
from hpa_model.training.hosts import count_shares
from hpa_model.training.logs import EpochLogger, no_log
from hpa_model.training.objective import CLASSIFICATION, Objective

# The record is that of the objective.
EpochReport = Callable[[int, Any, bool], None]


def ignore_epoch(fold: int, record: Record, is_best: bool) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of a run."""

    number: int
    """From 0."""

    folder: Path
    """An existing folder for its files."""

    training: npt.NDArray[np.int64]
    """Indices of the training samples into the reader."""

    validation: npt.NDArray[np.int64]
    """Indices of the validation samples into the reader."""

    label: str = ""
    """What messages call it, where it is not one of several folds."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.label or f"fold {self.number}"


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """What a training writes on the way; its result does not depend on it."""

    checkpoint_s: float = 600.0
    """Seconds between checkpoints. One is written after each epoch, too."""

    logs: tuple[Log, ...] = ()
    """What each epoch is logged with, see `config.logs.LOGS`."""


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """What a network is trained on, and how."""

    config: TrainConfig
    reader: Reader
    fold: Fold
    classes: tuple[str, ...]
    objective: Objective = CLASSIFICATION

    strata: Strata | None = None
    """Of the training samples, where an epoch does not have each of them once."""

    progress: Progress = SILENT
    """Of training images."""

    on_epoch: EpochReport = ignore_epoch
    """Called after each epoch with the number of the fold, from 0, the record of the epoch, and whether its model is
    kept as the best so far."""

    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    log: EpochLogger = no_log

    writes: bool = True
    """Whether this process writes the files of the fold: in a training over hosts, the first one does."""

    checks_memory: bool = True
    """Whether to check, before the head alone is trained, that a step of all layers fits into memory. Once is enough
    for folds of one run."""

    @property
    def n_images(self) -> int:
        """Training images per epoch."""
        return count_images(self.config, self.fold)

    @property
    def n_steps(self) -> int:
        """Batches per epoch."""
        return count_steps(self.config, self.fold)

    def count_images_before(self, step: int) -> int:
        """Return the images of an epoch before a step, of all steps if it is `n_steps`."""
        return self.n_images if step >= self.n_steps else step * self.config.batch_size


def count_images(config: TrainConfig, fold: Fold) -> int:
    """Count the training images per epoch of a fold: all, or a multiple of the number of devices, of all hosts.

    Each device averages over its share of a batch: an empty share has no mean, and a smaller one would weigh too much.
    """
    n_shares = count_shares(config.devices)
    return len(fold.training) // n_shares * n_shares


def count_steps(config: TrainConfig, fold: Fold) -> int:
    """Count the batches per epoch of a fold."""
    min_last = config.min_last_batch * config.devices
    return count_batches(count_images(config, fold), config.batch_size, min_last=min_last)


def check_accumulation(config: TrainConfig, plan: FoldPlan) -> None:
    """Check that the weights change at all in the training of each fold: InputError if not."""
    for number in range(plan.n_models if config.accumulate_batches > 1 else 0):
        training, validation = plan.split(number)
        fold = Fold(number=number, folder=Path(), training=training, validation=validation)
        n_batches = config.epochs * count_steps(config, fold)
        if n_batches < config.accumulate_batches:
            raise InputError(
                f"accumulate_batches must be at most {n_batches}, the batches of all epochs of fold {number}: the "
                f"weights would never change. Received: accumulate_batches={config.accumulate_batches}. Lower it, or "
                "train for more epochs."
            )
