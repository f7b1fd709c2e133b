"""What one fold's training is given: data, folder, settings, progress."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.reader.reader import Reader
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.runs.folder import EpochRecord
from hpa_model.training.tensorboard import ScalarLogger, no_log

EpochReport = Callable[[int, EpochRecord], None]


def ignore_epoch(fold: int, record: EpochRecord) -> None:
    """Report an epoch to nobody."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold's part of a training.

    Attributes
    ----------
    number : int
    folder : Path
        Where its files go; it exists.
    training, validation : array of int64
        Indices of its samples into the reader.
    """

    number: int
    folder: Path
    training: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Checkpointing:
    """What is done beside the training, and does not change it.

    Attributes
    ----------
    checkpoint_s : float
        A checkpoint is written when the last one is so many seconds old, and after each epoch.
    tensorboard : bool
        Log each number of an epoch for TensorBoard, in the run folder.
    """

    checkpoint_s: float = 600.0
    tensorboard: bool = False


@dataclass(frozen=True, kw_only=True)
class FoldJob:
    """What a network is to be trained on, and how.

    Attributes
    ----------
    config : TrainConfig
    reader : Reader
    fold : Fold
    classes : tuple of str, length K
    progress : Progress
    on_epoch : function of (int, EpochRecord)
        Called after each epoch with the fold's number, from 0, and the record of the epoch.
    checkpointing : Checkpointing
    log : ScalarLogger
    """

    config: TrainConfig
    reader: Reader
    fold: Fold
    classes: tuple[str, ...]
    progress: Progress = field(default_factory=Progress)
    on_epoch: EpochReport = ignore_epoch
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    log: ScalarLogger = no_log

    @property
    def n_images(self) -> int:
        """Images an epoch."""
        return count_images(self.config, self.fold)

    @property
    def n_steps(self) -> int:
        """Batches an epoch."""
        return -(-self.n_images // self.config.batch_size)


def count_images(config: TrainConfig, fold: Fold) -> int:
    """Count the images that an epoch of a fold is trained on: all, or with several devices as many as they can share.

    An empty share of a batch has no mean, and an unequal one would weigh as much as the others.
    """
    return len(fold.training) // config.devices * config.devices
