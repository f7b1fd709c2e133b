"""Logs of a training for TensorBoard, in its file format; needs no TensorFlow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from hpa_data.errors import InputError
from hpa_model.config import TrainConfig, format_image_size
from hpa_model.runs.folder import TENSORBOARD_FOLDER
from hpa_model.runs.history import Record

# The metrics that TensorBoard lists beside the settings of a run.
LISTED = ("val_loss", "val_macro_f1_best")


class EpochLogger(Protocol):
    """Log an epoch of a fold: the number of the fold, its record, and the F1 score of each class by name."""

    def __call__(self, fold: int, record: Record, class_f1: Mapping[str, float], /) -> None:
        """Log it."""


def no_log(_fold: int, _record: Record, _class_f1: Mapping[str, float], /) -> None:
    """Do nothing."""


@contextmanager
def open_log(run: Path, config: TrainConfig) -> Iterator[EpochLogger]:
    """Open the logs of a run, one folder a fold, so that TensorBoard draws the folds over each other.

    A folder is created at the first epoch that is logged, with the settings of the run.

    Raises
    ------
    InputError
        If tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter, summary
    except ImportError as error:
        raise InputError(
            "Cannot log for TensorBoard: tensorboardX is not installed. Run: pip install '.[tensorboard]'."
        ) from error

    writers: dict[int, Any] = {}

    def log(fold: int, record: Record, class_f1: Mapping[str, float]) -> None:
        if fold not in writers:
            writers[fold] = SummaryWriter(str(run / TENSORBOARD_FOLDER / f"fold{fold}"), write_to_disk=True)
            for each in summary.hparams(_flatten(config), dict.fromkeys(LISTED, 0.0)):
                writers[fold].file_writer.add_summary(each)
        for name, value in asdict(record).items():
            if name != "epoch":
                writers[fold].add_scalar(name, value, record.epoch)
        for name, value in class_f1.items():
            writers[fold].add_scalar(f"f1/{name}", value, record.epoch)
        writers[fold].flush()

    try:
        yield log
    finally:
        for writer in writers.values():
            writer.close()


def _flatten(config: TrainConfig) -> dict[str, bool | float | str]:
    """Return settings as the scalars and words that TensorBoard can list."""
    settings = asdict(config) | {"parts": ",".join(config.parts), "image_size": format_image_size(config.image_size)}
    options = {f"options.{name}": value for name, value in settings.pop("options").items()}
    return {name: value for name, value in (settings | options).items() if isinstance(value, bool | int | float | str)}
