"""Settings of short trainings, how to stop one, and how to compare the models of two."""

import dataclasses
from pathlib import Path

import numpy as np

from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.runs.models import load_model

CONFIG = TrainConfig(
    folds=2, epochs=2, batch_size=2, image_size=76, bn_momentum=0.5, seed=7, symmetries=True, plateau_epochs=1
)

# The same for the network of tests/model/training/conftest.py.
TINY = dataclasses.replace(CONFIG, model="tiny", image_size=32)

# The files of a finished fold.
FOLD_FILES = {"best.keras", "last.keras", "history.csv", "class_f1.csv", "probs.npz", "checkpoint.npz"}


class Killed(BaseException):
    """Stops a training at once, as a kill does: nothing below catches it."""


def stop_at(batch: int) -> Progress:
    """Make a progress that raises `Killed` at this batch, over all trainings that it is passed to."""
    done = []

    def count(_: int) -> None:
        done.append(1)
        if len(done) == batch:
            raise Killed

    return Progress(advance=count)


def read_weights(run: Path, fold: int, name: str = "last.keras") -> list[np.ndarray]:
    return [np.asarray(value) for value in load_model(run / f"fold{fold}" / name).get_weights()]


def assert_same_models(one: Path, other: Path) -> None:
    for fold in range(2):
        for name in ("last.keras", "best.keras"):
            for a, b in zip(read_weights(one, fold, name), read_weights(other, fold, name), strict=True):
                assert (a == b).all()
