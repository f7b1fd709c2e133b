"""Logs of a training for TensorBoard, in its file format; needs no TensorFlow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from hpa_data.errors import InputError
from hpa_model.runs.folder import TENSORBOARD_FOLDER


class ScalarLogger(Protocol):
    """Log a scalar: its name, the epoch from 1, and the value."""

    def __call__(self, name: str, epoch: int, value: float, /) -> None:
        """Log it."""


def no_log(_name: str, _epoch: int, _value: float, /) -> None:
    """Do nothing."""


@contextmanager
def open_log(run: Path) -> Iterator[ScalarLogger]:
    """Open the log of a run; its folder is created at the first scalar. InputError if tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError(
            "Cannot log for TensorBoard: tensorboardX is not installed. Run: pip install '.[tensorboard]'."
        ) from error

    writers: list[Any] = []

    def log(name: str, epoch: int, value: float) -> None:
        if not writers:
            writers.append(SummaryWriter(str(run / TENSORBOARD_FOLDER), write_to_disk=True))
        writers[0].add_scalar(name, value, epoch)
        writers[0].flush()

    try:
        yield log
    finally:
        for writer in writers:
            writer.close()
