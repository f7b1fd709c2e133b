"""The history of each fold of a run: what was measured after each epoch."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_data.system.records import decode_record
from hpa_data.tables import encode_table
from hpa_model.config import Keep
from hpa_model.runs.folder import CLASS_F1_FILE, HISTORY_FILE, fold_folder, refuse_damage
from hpa_model.runs.seal import REMEDIES, read_file


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One epoch in the history of a fold, and a line of `history.csv`, under the names of the fields.

    A metric that is added later has the default NaN, which it then is in older runs. Those with a label are printed
    after each epoch and drawn in the report.
    """

    epoch: int
    """From 1."""

    loss: float
    """Mean over the training images, with dropout, as the weights changed. Includes penalties on weights."""

    val_loss: float
    """Over the whole validation set after the epoch. Without penalties."""

    val_macro_f1: float = field(metadata={"label": "macro-F1 at 0.5"})
    """Over the whole validation set, with the threshold 0.5 for all classes."""

    val_macro_f1_best: float = field(metadata={"label": "macro-F1 at best thresholds"})
    """The same, with the thresholds that are best for these samples."""

    val_accuracy: float
    """Fraction of labels, 0 and 1 alike, that the threshold 0.5 predicts correctly."""

    learning_rate: float
    """During the epoch."""

    images_per_s: float
    """Of training, without validation."""

    seconds: float
    """The whole epoch, with validation."""

    val_macro_f1_no_skill: float = math.nan
    """What `val_macro_f1_best` is without skill, on average; see `thresholds.no_skill`. NaN in runs of versions before
    0.4.0; so is the next."""

    val_macro_f1_no_skill_high: float = math.nan
    """The upper end of the band that holds 95 % of such scores."""

    @property
    def shows_skill(self) -> bool:
        """Whether `val_macro_f1_best` lies above the band of scores without skill, as far as that is known."""
        return not self.val_macro_f1_best <= self.val_macro_f1_no_skill_high

    @property
    def is_validated(self) -> bool:
        """Whether there were samples for validation; else all that is measured on them is NaN."""
        return not all(math.isnan(getattr(self, name)) for name in self.list_validated())

    @staticmethod
    def list_validated() -> list[str]:
        """Return the names of the fields that are measured on the validation set."""
        return [each.name for each in fields(EpochRecord) if each.name.startswith("val_")]

    @staticmethod
    def labeled_metrics() -> dict[str, str]:
        """Return the labels of the metrics that are shown, by the names of their fields."""
        return {each.name: each.metadata["label"] for each in fields(EpochRecord) if "label" in each.metadata}

    def __post_init__(self) -> None:
        """Check that all are finite, or NaN where that means "not measured"; ValueError if not."""
        may_lack = {each.name for each in fields(self) if each.default is not MISSING}
        if not self.is_validated:
            may_lack.update(self.list_validated())
        for each in fields(self):
            value = getattr(self, each.name)
            if not (math.isfinite(value) or (math.isnan(value) and each.name in may_lack)):
                raise ValueError(f"{each.name} must be finite. Received: {value}")


@dataclass(frozen=True, kw_only=True)
class ReconstructionRecord:
    """One epoch in the history of an autoencoder, and a line of `history.csv`, under the names of the fields."""

    epoch: int
    """From 1."""

    loss: float
    """Mean over the training images, with mask, noise and dropout, as the weights changed. Includes penalties."""

    val_loss: float
    """Mean squared error over the whole validation images after the epoch, without mask and noise, in squares of what
    the network scales gray levels to, mostly 0 to 1."""

    val_explained: float
    """The share of the variance of these images that the reconstructions explain: 1 for perfect ones, 0 for the mean of
    each channel of each image."""

    learning_rate: float
    """During the epoch."""

    images_per_s: float
    """Of training, without validation."""

    seconds: float
    """The whole epoch, with validation."""

    def __post_init__(self) -> None:
        """Check that all are finite; ValueError if not."""
        for name, value in asdict(self).items():
            if not math.isfinite(value):
                raise ValueError(f"{name} must be finite. Received: {value}")


Record = EpochRecord | ReconstructionRecord
SomeRecord = TypeVar("SomeRecord", EpochRecord, ReconstructionRecord)


def write_history(folder: Path, history: Sequence[Record]) -> None:
    """Write the history of a fold, or of an autoencoder, into its folder as a CSV table."""
    _write_table(folder / HISTORY_FILE, [asdict(record) for record in history])


def read_history(run: Path, folds: int) -> list[list[EpochRecord]]:
    """Read the history of each fold of a run; empty for a fold without one.

    Raises
    ------
    InputError
        If a table is damaged, or has a column that this version does not know.
    """
    return [read_epochs(fold_folder(run, fold)) for fold in range(folds)]


def read_epochs(folder: Path, *, compares_seal: bool = True) -> list[EpochRecord]:
    """Read the history of one fold, by its folder; raises as `read_history` does."""
    return _read_records(folder, EpochRecord, compares_seal=compares_seal)


def read_reconstruction_epochs(folder: Path, *, compares_seal: bool = True) -> list[ReconstructionRecord]:
    """Read the history of an autoencoder, by its folder; raises as `read_history` does."""
    return _read_records(folder, ReconstructionRecord, compares_seal=compares_seal)


def _read_records(folder: Path, kind: type[SomeRecord], *, compares_seal: bool) -> list[SomeRecord]:
    path = folder / HISTORY_FILE
    remedy = REMEDIES[HISTORY_FILE]
    with refuse_damage(path, remedy):
        try:
            content = read_file(path, max_bytes=MAX_TEXT_BYTES, compares_seal=compares_seal)
        except FileNotFoundError:
            return []
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        if not rows or any(None in row for row in rows):  # it is first written at the end of an epoch
            raise ValueError("it has no epoch" if not rows else "a line has too many values")
    return [decode_record(kind, row, name=str(path), text=True, remedy=remedy) for row in rows]


def find_kept(history: Sequence[SomeRecord], keep: Keep) -> SomeRecord:
    """Return the epoch of a history, not empty, whose model is kept."""
    if keep == "last":
        return history[-1]
    if keep == "highest_macro_f1" and isinstance(history[0], EpochRecord):
        return max(history, key=lambda record: record.val_macro_f1_best)  # type: ignore[attr-defined]
    return min(history, key=lambda record: record.val_loss)


def write_class_f1(folder: Path, classes: Sequence[str], class_f1: Sequence[Sequence[float]]) -> None:
    """Write the F1 score of each class after each epoch into the folder of a fold as a CSV table."""
    rows = [{"epoch": epoch, **dict(zip(classes, row, strict=True))} for epoch, row in enumerate(class_f1, start=1)]
    _write_table(folder / CLASS_F1_FILE, rows)


def _write_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a CSV table of numbers, at least one row."""
    content = encode_table(list(rows[0]), [[f"{value:.6g}" for value in row.values()] for row in rows], for_people=True)
    write_atomic(path, content)
