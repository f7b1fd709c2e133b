"""The run folder: what is in it under which name, and what it says of itself."""

import csv
import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hpa_data.errors import InputError
from hpa_data.whole import write_whole
from hpa_model.config import TrainConfig, make_config

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

    def write(self, run: Path) -> None:
        """Write the description into a run folder."""
        write_whole(run / CONFIG_FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())


def fold_folder(run: Path, fold: int) -> Path:
    """Name the folder of a fold in a run folder; folds count from 0, folders too."""
    return run / f"fold{fold}"


def read_run(run: Path) -> RunDescription:
    """Read the description of a run folder; InputError if it has none that can be used."""
    path = run / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"A run must be a folder written by `hpa train`. Received: {run}. Check the path.")
    try:
        raw = json.loads(path.read_text())
        return RunDescription(
            config=make_config(raw["config"]),
            store=str(raw["store"]),
            channels=tuple(raw["channels"]),
            classes=tuple(raw["classes"]),
            image_shape=tuple(raw["image_shape"]),
            n_left_out=int(raw["n_left_out"]),
            fingerprints=dict(raw["fingerprints"]),
            versions=dict(raw["versions"]),
            finetuned_from=str(raw["finetuned_from"]),
            finetuned_folds=tuple(map(int, raw["finetuned_folds"])),
        )
    except InputError as error:
        raise InputError(f"{path} must hold settings that can be used. {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} must be as `hpa train` wrote it. Received: a fault at {error}. Train again."
        ) from error


def read_versions() -> dict[str, str]:
    """Look up the versions of the packages that decide what a run computes."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def read_history(run: Path, folds: int) -> list[list[dict[str, float]]]:
    """Read each fold's history: a record an epoch, see `fit.EpochRecord`; empty for a fold without one."""
    return [_read_table(fold_folder(run, fold) / HISTORY_FILE) for fold in range(folds)]


def _read_table(path: Path) -> list[dict[str, float]]:
    """Read a CSV table of numbers."""
    try:
        with path.open(newline="") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"A history must be as it was written. Received: {path}: {error}. Remove it.") from error
