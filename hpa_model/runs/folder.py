"""The run folder: what is in it under which name, and what it says of itself."""

import csv
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import write_atomic
from hpa_data.tables import write_table
from hpa_model.config import MAX_PIXELS, TrainConfig, make_config

CONFIG_FILE = "config.json"
RECIPE_FILE = "recipe.toml"
FOLDS_FILE = "folds.csv"
OUT_OF_FOLD_FILE = "out_of_fold.npz"
THRESHOLDS_FILE = "thresholds.json"
SCORES_FILE = "scores.json"
REPORT_FILE = "report.html"
# In the folder of each fold.
HISTORY_FILE = "history.csv"
CLASS_F1_FILE = "class_f1.csv"
BEST_FILE = "best.keras"
LAST_FILE = "last.keras"
CHECKPOINT_FILE = "checkpoint.npz"
PROBS_FILE = "probs.npz"
TENSORBOARD_FOLDER = "tensorboard"

# Whose versions decide what a run computes.
RECORDED_PACKAGES = ("hpa", "keras", "tensorflow", "jax", "numpy", "zarr", "numcodecs")

# What reading a damaged file of a run raises, from JSON and CSV to compressed arrays.
CORRUPTION_ERRORS = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError),
    *(EOFError, RuntimeError, csv.Error, BadZipFile, zlib.error),
)


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What a run folder says of itself in `config.json`.

    Attributes
    ----------
    config : TrainConfig
    store : str
        The path or URL that it was trained from.
    channels, classes : tuple of str
        Of the data it was trained on.
    image_shape : tuple of int
        (Y, X, C) of the images it was fed.
    n_left_out : int
        Samples of the parts that could not be converted and so took no part.
    fingerprints : dict of str to str
        Of each part it was trained on.
    versions : dict of str to str
        Of the packages that made it, and Keras's backend.
    finetuned_from : str
        The run whose models were fine-tuned; empty for a training from the beginning.
    finetuned_folds : tuple of int
        The folds whose models were; the others are that run's.
    base_models : tuple of str, length `config.folds`
        SHA-256 of that run's best models, in hexadecimal.
    """

    config: TrainConfig
    store: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    n_left_out: int
    fingerprints: dict[str, str]
    versions: dict[str, str]
    finetuned_from: str = ""
    finetuned_folds: tuple[int, ...] = ()
    base_models: tuple[str, ...] = ()

    @property
    def trained_folds(self) -> tuple[int, ...]:
        """The folds whose models were trained for this run, and not taken from another."""
        return self.finetuned_folds if self.finetuned_from else tuple(range(self.config.folds))

    def write(self, run: Path) -> None:
        """Write the description into a run folder."""
        write_atomic(run / CONFIG_FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())


def fold_folder(run: Path, fold: int) -> Path:
    """Name the folder of a fold in a run folder; folds count from 0, folders too."""
    return run / f"fold{fold}"


def read_run(run: Path) -> RunDescription:
    """Read the description of a run folder; InputError if it has none that can be used."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"A run must be a folder written by `hpa train`. Received: {run}. Check the path.")
    try:
        return _decode_run(json.loads(path.read_text()))
    except InputError as error:
        raise InputError(f"{path} must hold settings that can be used. {error}") from error
    except CORRUPTION_ERRORS as error:
        raise InputError(
            f"{path} must be as `hpa train` wrote it. Received: a fault at {error}. Train again."
        ) from error


def _decode_run(raw: dict[str, Any]) -> RunDescription:
    """Decode a description; ValueError or another of `CORRUPTION_ERRORS` if a value is none that a run has."""
    description = RunDescription(
        config=make_config(raw["config"]),
        store=str(raw["store"]),
        channels=tuple(map(str, raw["channels"])),
        classes=tuple(map(str, raw["classes"])),
        image_shape=tuple(map(int, raw["image_shape"])),  # type: ignore[arg-type]
        n_left_out=int(raw["n_left_out"]),
        fingerprints={str(name): str(mark) for name, mark in raw["fingerprints"].items()},
        versions={str(name): str(number) for name, number in raw["versions"].items()},
        finetuned_from=str(raw["finetuned_from"]),
        finetuned_folds=tuple(map(int, raw["finetuned_folds"])),
        base_models=tuple(map(str, raw.get("base_models", ()))),
    )
    folds = description.config.folds
    told = json.loads(json.dumps(asdict(description)))
    odd = [name for name, value in raw.items() if name != "config" and told.get(name) != value]  # of another type
    for name in ("channels", "classes", "finetuned_folds"):
        values = getattr(description, name)
        if len(set(values)) < len(values) or not (values or name == "finetuned_folds"):
            odd.append(name)
    if len(description.image_shape) != 3 or not all(1 <= side <= MAX_PIXELS for side in description.image_shape):
        odd.append("image_shape")
    if not all(0 <= fold < folds for fold in description.finetuned_folds):
        odd.append("finetuned_folds")
    if set(description.fingerprints) != set(description.config.parts):
        odd.append("fingerprints")
    if odd:
        raise ValueError(odd[0])
    return description


def read_versions() -> dict[str, str]:
    """Look up the versions of the packages that decide what a run computes."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One line of a fold's history.

    Attributes
    ----------
    epoch : int
        From 1.
    loss : float
        Averaged over the training images, with dropout, as the weights changed; with the penalties on weights that
        `gapnet-pl` has.
    val_loss : float
        Over the whole validation set after the epoch; without penalties.
    val_macro_f1, val_macro_f1_best : float
        Over the whole validation set: with the threshold 0.5 for all classes, and with the best ones for these rows.
    val_accuracy : float
        Share of labels, 0 and 1 alike, that the threshold 0.5 predicts right.
    learning_rate : float
        During the epoch.
    images_per_s : float
        Trained, validation not counted.
    seconds : float
        The whole epoch, validation included.
    """

    epoch: int
    loss: float
    val_loss: float
    val_macro_f1: float
    val_macro_f1_best: float
    val_accuracy: float
    learning_rate: float
    images_per_s: float
    seconds: float

    @staticmethod
    def decode(raw: Mapping[str, Any]) -> "EpochRecord":
        """Read a record from numbers or their text; one of `CORRUPTION_ERRORS` if one is missing or infinite."""
        values = {name: float(raw[name]) for name in EpochRecord.__dataclass_fields__}
        if not np.isfinite(list(values.values())).all():
            raise ValueError("a value that is not finite")
        return EpochRecord(epoch=int(values.pop("epoch")), **values)


def write_history(folder: Path, history: Sequence[EpochRecord]) -> None:
    """Write a fold's history into its folder as a CSV table."""
    _write_table(folder / HISTORY_FILE, [asdict(record) for record in history])


def read_history(run: Path, folds: int) -> list[list[EpochRecord]]:
    """Read the history of each fold of a run; empty for a fold without one.

    Raises
    ------
    InputError
        If a table is damaged.
    """
    histories = []
    for fold in range(folds):
        path = fold_folder(run, fold) / HISTORY_FILE
        try:
            with path.open(newline="") as file:
                history = [EpochRecord.decode(row) for row in csv.DictReader(file)]
            if not history:  # none is written before an epoch's end
                raise ValueError("its first line")
            histories.append(history)
        except FileNotFoundError:
            histories.append([])
        except CORRUPTION_ERRORS as error:
            raise InputError(
                f"A history must be as it was written. Received: {path}: a fault at {error}. Remove it."
            ) from error
    return histories


def write_class_f1(folder: Path, classes: Sequence[str], class_f1: Sequence[Sequence[float]]) -> None:
    """Write each class's F1 after each epoch into a fold's folder as a CSV table."""
    rows = [{"epoch": epoch, **dict(zip(classes, row, strict=True))} for epoch, row in enumerate(class_f1, start=1)]
    _write_table(folder / CLASS_F1_FILE, rows)


def _write_table(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write a CSV table of numbers, of one row at least."""
    write_table(path, list(rows[0]), [[f"{value:.6g}" for value in row.values()] for row in rows])


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz`` file, none of which may hold objects; ValueError if it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except CORRUPTION_ERRORS as error:
        # NumPy's advice for what it takes for a pickle is a dangerous one.
        raise ValueError("no archive of arrays" if "pickle" in str(error) else str(error)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed left half written in a folder; none may write to it."""
    for path in (*folder.glob(".*.part"), *folder.glob("unfinished-*")):
        path.unlink(missing_ok=True)
