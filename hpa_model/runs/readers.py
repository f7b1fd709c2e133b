"""What reads each file of a run that is sealed, to check one that has no seal."""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpa_data.errors import InputError
from hpa_data.folds.assign import TRAINING_ONLY
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_data.tables import disarm
from hpa_model.baseline.features import name_features
from hpa_model.baseline.settings import CLASSIFIERS
from hpa_model.config import read_recipe
from hpa_model.metrics import find_wrong_row
from hpa_model.runs.baseline import BASELINE_FILE, CLASSIFIERS_FILE, FEATURES_FILE, IMPORTANCES_FILE, read_baseline
from hpa_model.runs.decision import read_decision
from hpa_model.runs.folder import (
    BEST_FILE,
    CHECKPOINT_FILE,
    CLASS_F1_FILE,
    CONFIG_FILE,
    FOLDS_FILE,
    HISTORY_FILE,
    LAST_FILE,
    OUT_OF_FOLD_FILE,
    PROBS_FILE,
    RECIPE_FILE,
    SCORES_FILE,
    THRESHOLDS_FILE,
    RunDescription,
    fold_folder,
    read_arrays,
    read_folds,
    read_run,
    read_table,
    refuse_damage,
)
from hpa_model.runs.history import read_epochs
from hpa_model.runs.joining import JOINERS_FILE, read_joiners
from hpa_model.runs.membership import MEMBERS_FILE
from hpa_model.runs.out_of_fold import OutOfFold, read_out_of_fold
from hpa_model.runs.seal import REMEDIES, read_file

Readers = dict[str, Callable[[], object]]


def list_readers(run: Path, description: RunDescription) -> Readers:
    """List what reads each file of a run, by the names of `folder.list_sealed`.

    Each reads all of its file, which must exist, without comparing it with the seal. It raises InputError if hpa cannot
    have written the file, or OSError if it cannot be read.
    """
    n_folds = description.config.n_models

    @functools.cache
    def find_rows() -> OutOfFold | None:
        try:
            return read_out_of_fold(run, compares_seal=False)
        except (InputError, OSError):
            return None  # which its own reader says

    readers: Readers = {
        CONFIG_FILE: lambda: read_run(run, compares_seal=False),
        FOLDS_FILE: lambda: _read_folds(run, description.config.folds, find_rows()),
        RECIPE_FILE: lambda: read_recipe(run / RECIPE_FILE),
        OUT_OF_FOLD_FILE: lambda: _read_rows(run, description),
        THRESHOLDS_FILE: lambda: read_decision(run, description.classes, n_folds, compares_seal=False),
        SCORES_FILE: lambda: _read_scores(run / SCORES_FILE, description.classes, find_rows()),
        FEATURES_FILE: lambda: _read_features(run / FEATURES_FILE, description),
        IMPORTANCES_FILE: lambda: _read_importances(run / IMPORTANCES_FILE, description),
        CLASSIFIERS_FILE: lambda: _read_classifiers(run / CLASSIFIERS_FILE),
        JOINERS_FILE: lambda: _read_joiners(run, description),
        MEMBERS_FILE: lambda: _read_members(run / MEMBERS_FILE, description),
    }
    for fold in range(n_folds):
        for name, read in _list_fold_readers(run, description, fold, find_rows).items():
            readers[f"fold{fold}/{name}"] = read
    return readers


def _list_fold_readers(
    run: Path, description: RunDescription, fold: int, find_rows: Callable[[], OutOfFold | None]
) -> Readers:
    folder = fold_folder(run, fold)

    def read_model(name: str) -> None:
        from hpa_model.runs.models import load_model

        load_model(folder / name, description, compares_seal=False)

    def read_checkpoint() -> None:
        from hpa_model.runs import checkpoint

        checkpoint.read_checkpoint(folder / CHECKPOINT_FILE, compares_seal=False)

    return {
        HISTORY_FILE: lambda: read_epochs(folder, compares_seal=False),
        CLASS_F1_FILE: lambda: _read_class_f1(folder / CLASS_F1_FILE, description.classes),
        BEST_FILE: lambda: read_model(BEST_FILE),
        LAST_FILE: lambda: read_model(LAST_FILE),
        CHECKPOINT_FILE: read_checkpoint,
        PROBS_FILE: lambda: _read_probs(folder / PROBS_FILE, fold, description.classes, find_rows()),
        BASELINE_FILE: lambda: read_baseline(run, fold, description, compares_seal=False),
    }


def _read_rows(run: Path, description: RunDescription) -> None:
    rows = read_out_of_fold(run, compares_seal=False)
    with refuse_damage(run / OUT_OF_FOLD_FILE, REMEDIES[OUT_OF_FOLD_FILE]):
        if rows.labels.shape[1] != len(description.classes):
            raise ValueError(f"it has {rows.labels.shape[1]} columns for {len(description.classes)} classes")
        if not np.isin(rows.folds, range(description.config.folds)).all():
            raise ValueError("it has a fold that the run has not")


def _read_probs(path: Path, fold: int, classes: tuple[str, ...], rows: OutOfFold | None) -> None:
    with refuse_damage(path, REMEDIES[path.name]):
        arrays = read_arrays(path, compares_seal=False)
        shape = arrays["probs"].shape
        for name, probs in arrays.items():  # of a baseline, those of each classifier, too
            if len(shape) != 2 or probs.shape != shape or shape[1] != len(classes) or find_wrong_row(probs) is not None:
                raise ValueError(f"{name} does not hold probabilities of {len(classes)} classes")
        if rows is not None and not np.array_equal(arrays["probs"], rows.probs[rows.folds == fold]):
            raise ValueError(f"{OUT_OF_FOLD_FILE} has other probabilities")


def _read_folds(run: Path, n_folds: int, rows: OutOfFold | None) -> None:
    found = read_folds(run, compares_seal=False)
    with refuse_damage(run / FOLDS_FILE, REMEDIES[FOLDS_FILE]):
        validated = [row for row in found if row[2] != TRAINING_ONLY or n_folds > 1]
        if not all(0 <= fold < n_folds for *_, fold in validated):
            raise ValueError(f"it has a fold that is not from 0 to {n_folds - 1}")
        if rows is not None and validated != [
            (part, name, fold) for (part, name), fold in zip(rows.keys, rows.folds.tolist(), strict=True)
        ]:
            raise ValueError(f"{OUT_OF_FOLD_FILE} has other samples or folds")


def _read_class_f1(path: Path, classes: tuple[str, ...]) -> None:
    with refuse_damage(path, REMEDIES[path.name]):
        header = tuple(dict.fromkeys(("epoch", *map(disarm, classes))))
        table = read_table(path, header, compares_seal=False)
        for epoch, row in enumerate(table, start=1):
            numbers = [float(value) for value in row.values()]
            if "epoch" not in classes and numbers[0] != epoch:
                raise ValueError(f"line {epoch} is of another epoch")
            if not all(0 <= f1 <= 1 for f1 in numbers[1:]):
                raise ValueError(f"epoch {epoch} has an F1 score that is not from 0 to 1")


def _read_scores(path: Path, classes: tuple[str, ...], rows: OutOfFold | None) -> None:
    """Read the scores of any version: what their names have in common."""
    with refuse_damage(path, REMEDIES[path.name]):
        saved = _read_json(path)
        if [of_class["name"] for of_class in saved["classes"]] != list(classes):
            raise ValueError("it has other classes than the run")
        if rows is not None and saved["n_samples"] != len(rows.ids):
            raise ValueError(f"it is of {saved['n_samples']} samples, {OUT_OF_FOLD_FILE} has {len(rows.ids)}")
        scores = [value for name, value in saved.items() if name.startswith("macro_") and value is not None]
        if not scores or not all(0 <= score <= 1 for score in scores):
            raise ValueError("it has a score that is not from 0 to 1")


def _read_features(path: Path, description: RunDescription) -> None:
    with refuse_damage(path, REMEDIES[path.name]):
        arrays = read_arrays(path, compares_seal=False)
        features, is_measured = arrays["features"], arrays["is_measured"]
        n_features = len(name_features(description.full_dataset.channels))
        if features.dtype != np.float32 or features.shape != (len(is_measured), n_features):
            raise ValueError(f"its features are not {n_features} of each sample")
        if is_measured.dtype != np.bool_ or is_measured.ndim != 1:
            raise ValueError("it does not tell which samples are measured")


def _read_importances(path: Path, description: RunDescription) -> None:
    with refuse_damage(path, REMEDIES[path.name]):
        table = read_table(path, ("feature", "importance"), compares_seal=False)
        names = map(disarm, name_features(description.full_dataset.channels))
        if sorted(row["feature"] for row in table) != sorted(names):
            raise ValueError("it has other features than the run")
        if not all(math.isfinite(float(row["importance"])) for row in table):
            raise ValueError("an importance is not finite")


def _read_classifiers(path: Path) -> None:
    with refuse_damage(path, REMEDIES[path.name]):
        saved = _read_json(path)
        if saved.keys() != set(CLASSIFIERS) or not all(0 <= f1 <= 1 for each in saved.values() for f1 in each.values()):
            raise ValueError("it has no macro-F1 of each classifier")


def _read_joiners(run: Path, description: RunDescription) -> None:
    settings = description.ensemble
    if settings is None:
        raise InputError(f"Cannot read {run / JOINERS_FILE}: the run is not an ensemble. Remove the file.")
    read_joiners(
        run,
        settings.method,
        n_folds=description.config.folds,
        n_members=len(settings.members),
        n_classes=len(description.classes),
        compares_seal=False,
    )


def _read_members(path: Path, description: RunDescription) -> None:
    with refuse_damage(path, REMEDIES[path.name]):
        members = [] if description.ensemble is None else description.ensemble.members
        found = _read_json(path)["members"]
        if [member["model"] for member in found] != [member.model for member in members]:
            raise ValueError("it has other members than the run")
        for member in found:
            if not all(math.isfinite(member[name]) for name in ("alone", "without", "adds", "low", "high")):
                raise ValueError("a score is not finite")
            for name in ("class_precision", "class_precision_without"):
                if len(member[name]) != len(description.classes):
                    raise ValueError(f"it is not of {len(description.classes)} classes")


def _read_json(path: Path) -> dict[str, Any]:
    saved = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES, compares_seal=False))
    if not isinstance(saved, dict):
        raise ValueError("it is not a table")
    return saved
