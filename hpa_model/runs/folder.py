"""The run folder: the names of its files, its description, and how they are read."""

import contextlib
import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018, Channel, Dataset
from hpa_data.errors import InputError, first_line
from hpa_data.folds.assign import TRAINING_ONLY
from hpa_data.folds.leak_check import LeakCheck
from hpa_data.format.layout import MAX_PIXELS
from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TABLE_BYTES, MAX_TEXT_BYTES, refuse_unreadable
from hpa_data.system.records import decode_record, encode_record
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import TrainConfig
from hpa_model.runs.membership import EnsembleSettings
from hpa_model.runs.origin import Origin
from hpa_model.runs.seal import REMEDIES, open_file, read_file, unseal_files

CONFIG_FILE = "config.json"
RECIPE_FILE = "recipe.toml"
FOLDS_FILE = "folds.csv"
# There, in place of a fold: of samples that validate no model.
TRAINING_WORD = "train"
OUT_OF_FOLD_FILE = "out_of_fold.npz"
THRESHOLDS_FILE = "thresholds.json"
SCORES_FILE = "scores.json"
REPORT_FILE = "report.html"
# Only in the folder of a pre-training, which is no run: its description.
PRETRAINING_FILE = "pretraining.json"
# Of a search, and the folder of its runs.
STUDY_FILE, TRIALS_FOLDER = "study.json", "trials"
FIGURES_FOLDER = "figures"
# In the folder of each fold.
HISTORY_FILE = "history.csv"
CLASS_F1_FILE = "class_f1.csv"
BEST_FILE = "best.keras"
LAST_FILE = "last.keras"
CHECKPOINT_FILE = "checkpoint.npz"
PROBS_FILE = "probs.npz"
TENSORBOARD_FOLDER = "tensorboard"

# The files of a run that are sealed, those of a baseline's and an ensemble's, and those of each fold.
SEALED_FILES = (CONFIG_FILE, FOLDS_FILE, RECIPE_FILE, OUT_OF_FOLD_FILE, THRESHOLDS_FILE, SCORES_FILE)
SEALED_BASELINE_FILES = ("features.npz", "importances.csv", "classifiers.json")
SEALED_ENSEMBLE_FILES = ("joiners.npz", "members.json")
SEALED_FOLD_FILES = (
    *(HISTORY_FILE, CLASS_F1_FILE, LAST_FILE, BEST_FILE, CHECKPOINT_FILE, PROBS_FILE),
    "baseline.npz",
)

# What reading a damaged file of a run may raise, from JSON and CSV to compressed arrays.
CORRUPTION_ERRORS = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError),
    *(EOFError, RuntimeError, csv.Error, BadZipFile, zlib.error),
)


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What `config.json` records of a run, under the names of the fields."""

    config: TrainConfig
    store: str
    """The path or URL of the store that it was trained from."""

    channels: tuple[str, ...]
    """Those that it was trained on, in their order."""

    classes: tuple[str, ...]

    image_shape: tuple[int, int, int]
    """(Y, X, C) of the images in the store, with these channels."""

    n_left_out: int
    """Samples of the parts that could not be converted, and so were not used."""

    fingerprints: dict[str, str]
    """The fingerprint of each part, by its name."""

    versions: dict[str, str]
    """Versions of the packages that wrote it, and Keras's backend."""

    finetuned_from: str = ""
    """The run whose models were fine-tuned; empty for a training from scratch."""

    finetuned_folds: tuple[int, ...] = ()
    """The folds whose models were fine-tuned; the other models are copies of that run's."""

    base_models: tuple[str, ...] = ()
    """SHA-256 of the best models of that run, in hexadecimal, one per fold."""

    dataset: Dataset | None = field(default=None, metadata={"absent": None})
    """Channels, classes and image size; None in runs of versions before 0.3.0."""

    store_dataset: Dataset | None = field(default=None, metadata={"absent": None})
    """The data set of the parts, with all of their channels; None unless the settings name channels."""

    imports: dict[str, dict[str, Any]] = field(default_factory=dict, metadata={"absent": {}})
    """How the files of each part were read, by its name, as in its manifest. Parts of augmented copies have none."""

    leak_check: LeakCheck | None = field(default=None, metadata={"absent": None})
    """Which duplicates were looked for, and kept in one fold; None in runs of versions before 0.4.0."""

    weights: str = field(default="", metadata={"absent": ""})
    """The run, the pre-training or the file that the training started from, or ``imagenet``; empty for one from random
    weights."""

    weights_models: tuple[str, ...] = field(default=(), metadata={"absent": ()})
    """SHA-256 of the best models of that run, in hexadecimal, one per fold; or of that encoder or file, one alone."""

    n_seen: int = field(default=0, metadata={"absent": 0})
    """Samples that are validated by a fold which started from a model that was trained on them: scores are inflated."""

    n_seen_unlabeled: int = field(default=0, metadata={"absent": 0})
    """Samples that are validated and that the encoder to start from was trained on, without their labels."""

    origin: Origin | None = field(default=None, metadata={"absent": None})
    """When, where and how it was begun; None in runs of versions before 0.4.0. Says nothing about the results."""

    environment: dict[str, str] | None = field(default=None, metadata={"absent": None})
    """Variables that may change the numbers, as they were when it was begun; None in runs before 0.5.0."""

    baseline: BaselineSettings | None = field(default=None, metadata={"absent": None})
    """How the baseline was made, of a run of `hpa baseline`; None for networks."""

    ensemble: EnsembleSettings | None = field(default=None, metadata={"absent": None})
    """How the ensemble was made, of a run of `hpa ensemble`; it has the channels of all members. None for others."""

    def __post_init__(self) -> None:
        """Check that the values fit together; ValueError if they do not."""
        for name in ("channels", "classes", "finetuned_folds"):
            values = getattr(self, name)
            if len(set(values)) < len(values) or not (values or name == "finetuned_folds"):
                raise ValueError(f"{name} must be different, and at least one. Received: {list(values)}")
        if not all(1 <= side <= MAX_PIXELS for side in self.image_shape):
            raise ValueError(f"image_shape must have sizes from 1 to {MAX_PIXELS}. Received: {self.image_shape}")
        if not all(0 <= fold < self.config.folds for fold in self.finetuned_folds):
            raise ValueError(f"finetuned_folds must be below {self.config.folds}. Received: {self.finetuned_folds}")
        recorded = self.dataset and (self.dataset.channel_names, self.dataset.classes, self.dataset.image_shape)
        if recorded not in {None, (self.channels, self.classes, self.image_shape)}:
            raise ValueError("dataset must have the channels, classes and image shape of the run")
        stored = self.channels if self.store_dataset is None else self.store_dataset.channel_names
        if (self.config.channels or self.channels) != self.channels or not set(self.channels) <= set(stored):
            raise ValueError("channels must be those of the settings, and in the store")
        if set(self.fingerprints) != set(self.config.parts):
            raise ValueError(f"fingerprints must be of the parts. Received: {', '.join(self.fingerprints)}")

    @property
    def starts_from_run(self) -> bool:
        """Whether the training started from the models of a run, which has at least two folds."""
        return len(self.weights_models) > 1

    @property
    def is_trained_by_folds(self) -> bool:
        """Whether `hpa train` made it, which can train folds one at a time."""
        return self.baseline is None and self.ensemble is None and not self.finetuned_from

    @property
    def trained_folds(self) -> tuple[int, ...]:
        """The folds whose models were trained in this run, not copied from another."""
        return self.finetuned_folds if self.finetuned_from else tuple(range(self.config.n_models))

    @property
    def known_leak_check(self) -> LeakCheck:
        """Which duplicates were looked for; runs that do not record it did so only to group samples."""
        is_grouped = self.config.fold_method == "grouped-stratified" and not self.config.legacy_leak
        return self.leak_check or LeakCheck(searched="near" if is_grouped else "nothing")

    @property
    def full_dataset(self) -> Dataset:
        """The data set; for runs that do not record it, `HPA_2018`, or one with their channels and classes."""
        if self.dataset is not None:
            return self.dataset
        height, width, _ = self.image_shape
        dataset = HPA_2018
        if (self.channels, self.classes) != (dataset.channel_names, dataset.classes):
            channels = tuple(Channel(name=name) for name in self.channels)
            dataset = Dataset(name="unnamed", channels=channels, classes=self.classes)
        return dataset.resized(height, width)

    @property
    def full_store_dataset(self) -> Dataset:
        """The data set of the parts, with all of their channels."""
        return self.store_dataset or self.full_dataset

    def write(self, run: Path) -> None:
        """Write the description into a run folder."""
        unseal_files(run, [CONFIG_FILE])
        write_atomic(run / CONFIG_FILE, (json.dumps(encode_record(self), indent=2) + "\n").encode())


def fold_folder(run: Path, fold: int) -> Path:
    """Return the folder of a fold; folds are numbered from 0."""
    return run / f"fold{fold}"


def find_last_file(config: TrainConfig) -> str:
    """Return the name of the file that shows that a fold is finished: there is nothing to predict without folds."""
    return PROBS_FILE if config.folds else LAST_FILE


def list_fold_files(fold: int) -> list[str]:
    """List the files of a fold that are sealed, by their names in the run; some runs lack some of them."""
    return [f"fold{fold}/{name}" for name in SEALED_FOLD_FILES]


def list_sealed(folds: Iterable[int]) -> list[str]:
    """List the files of a run that are sealed, with those of some folds, by name; some runs lack some of them."""
    return [
        *SEALED_FILES,
        *SEALED_BASELINE_FILES,
        *SEALED_ENSEMBLE_FILES,
        *(name for fold in folds for name in list_fold_files(fold)),
    ]


def read_run(run: Path, *, compares_seal: bool = True) -> RunDescription:
    """Read the description of a run; InputError if the folder is not a run, or its description is damaged."""
    path = run / CONFIG_FILE
    with refuse_damage(path, "Train again."):
        try:
            raw = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES, compares_seal=compares_seal))
        except (FileNotFoundError, NotADirectoryError) as error:
            if (run / STUDY_FILE).is_file():
                raise InputError(
                    f"Cannot read run {run}: it is the folder of a search. Pass one of its runs, such as "
                    f"{run / TRIALS_FOLDER / '000'}; `hpa sweep {run}` names the best."
                ) from error
            is_encoder = (run / PRETRAINING_FILE).is_file()
            what = "it is a pre-training, without classes" if is_encoder else f"it has no {CONFIG_FILE}"
            start = (
                f", such as one that started from it: hpa train STORE --weights {run} --out RUN" if is_encoder else ""
            )
            raise InputError(f"Cannot read run {run}: {what}. Pass a folder that `hpa train` wrote{start}.") from error
    version = ""
    with contextlib.suppress(LookupError, TypeError):
        version = str(raw["versions"]["hpa"])
    return decode_record(RunDescription, raw, name=str(path), version=version, remedy="Train again.")


def read_arrays(path: Path, *names: str, compares_seal: bool = True) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz`` file, or those of some names.

    Raises
    ------
    SealError
        If it is not as it was sealed.
    OSError, ValueError
        If it is missing, damaged or holds objects.
    """
    with open_file(path, compares_seal=compares_seal) as opened:
        try:
            with np.load(opened, allow_pickle=False) as file:
                return {name: file[name] for name in names or file.files}
        except CORRUPTION_ERRORS as error:
            # NumPy's advice for what it takes for a pickle, to allow pickles, is dangerous.
            reason = "it is not an archive of arrays" if "pickle" in str(error) else first_line(error)
            raise ValueError(reason) from error


def read_table(path: Path, *headers: tuple[str, ...], compares_seal: bool = True) -> list[dict[str, str]]:
    """Read a CSV table that has one of these headers and at least one row; raises as `read_arrays` does."""
    text = read_file(path, max_bytes=MAX_TABLE_BYTES, compares_seal=compares_seal).decode()
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows = list(table)
    if table.fieldnames is None or tuple(table.fieldnames) not in headers:
        raise ValueError(f"its header is not {' or '.join(','.join(header) for header in headers)}")
    if not rows or any(None in row or None in row.values() for row in rows):
        raise ValueError("it has no row" if not rows else "a line has too many or too few values")
    return rows


def read_folds(run: Path, *, compares_seal: bool = True) -> list[tuple[str, str, int]]:
    """Read part, empty if there is none, id and validation fold of each sample; InputError if the table is damaged.

    The fold of samples that validate no model is `TRAINING_ONLY`.
    """
    path = run / FOLDS_FILE
    with refuse_damage(path, REMEDIES[FOLDS_FILE]):
        rows = read_table(path, ("id", "fold", "part"), ("id", "fold"), compares_seal=compares_seal)
        return [(row.get("part", ""), row["id"], _read_fold(row["fold"])) for row in rows]


def _read_fold(text: str) -> int:
    return TRAINING_ONLY if text == TRAINING_WORD else int(text)


@contextlib.contextmanager
def refuse_damage(path: Path, remedy: str, *, name: str = "") -> Iterator[None]:
    """Raise InputError for what reading a damaged file raises, but let one that says what to do pass.

    Parameters
    ----------
    path : Path
        Of the file that is read.
    remedy : str
        What to do about a damaged file, one sentence.
    name : str
        What to call it in the message, if not by its path.
    """
    try:
        yield
    except InputError:
        raise
    except CORRUPTION_ERRORS as error:
        refuse_unreadable(error, path)
        raise InputError(f"Cannot read {name or path}: {first_line(error)}. {remedy}") from error


def remove_results(run: Path) -> None:
    """Remove out-of-fold rows, thresholds and scores from a run folder, until its models are trained."""
    names = (THRESHOLDS_FILE, SCORES_FILE, OUT_OF_FOLD_FILE)
    unseal_files(run, names)
    for name in names:
        (run / name).unlink(missing_ok=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the partial files of a killed process from a folder; no process may be writing to it."""
    for path in (*folder.glob(".*.part"), *folder.glob("unfinished-*")):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def collect_findings(findings: list[str], path: Path) -> Iterator[None]:
    """Turn what reading a file raises into a sentence, and go on after the block."""
    try:
        try:
            yield
        except OSError as error:
            refuse_unreadable(error, path)
            raise
    except InputError as error:
        findings.append(str(error))
    except CORRUPTION_ERRORS as error:
        findings.append(f"Cannot read {path}: {first_line(error)}.")
