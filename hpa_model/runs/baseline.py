"""The files of a baseline's run: features, classifiers and importances, as plain arrays and tables."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_atomic, write_atomic
from hpa_data.tables import encode_table
from hpa_model.baseline.features import name_features
from hpa_model.baseline.model import BaselineModel
from hpa_model.baseline.settings import FEATURES_VERSION
from hpa_model.runs.folder import CORRUPTION_ERRORS, RunDescription, fold_folder, read_arrays, refuse_damage
from hpa_model.runs.seal import unseal_files

# In the run folder.
FEATURES_FILE = "features.npz"
IMPORTANCES_FILE = "importances.csv"
CLASSIFIERS_FILE = "classifiers.json"
# In the folder of each fold.
BASELINE_FILE = "baseline.npz"


def write_features(run: Path, features: npt.NDArray[np.float32], is_measured: npt.NDArray[np.bool_]) -> None:
    """Write the features of the samples that have been measured.

    Parameters
    ----------
    run : Path
    features : array of float32, shape (N, D)
        In the order of the reader.
    is_measured : array of bool, shape (N,)
    """
    unseal_files(run, [FEATURES_FILE])
    with open_atomic(run / FEATURES_FILE) as file:
        np.savez(file, features=features, is_measured=is_measured)


def read_features(run: Path, n_samples: int, n_features: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Read what `write_features` wrote; nothing is measured if there is no such file, or a damaged one."""
    shape = n_samples, n_features
    try:
        arrays = read_arrays(run / FEATURES_FILE)
        features, is_measured = arrays["features"], arrays["is_measured"]
        if features.shape == shape and features.dtype == np.float32 and is_measured.shape == shape[:1]:
            return features, is_measured.astype(bool)
    except CORRUPTION_ERRORS:
        pass  # it can be made again
    return np.zeros(shape, np.float32), np.zeros(n_samples, bool)


def write_baseline(run: Path, fold: int, model: BaselineModel) -> None:
    """Write the classifiers of a fold."""
    with open_atomic(fold_folder(run, fold) / BASELINE_FILE) as file:
        np.savez_compressed(file, **model.encode())  # type: ignore[arg-type]


def read_baseline(run: Path, fold: int, description: RunDescription, *, compares_seal: bool = True) -> BaselineModel:
    """Read the classifiers of a fold.

    Raises
    ------
    InputError
        If they are missing or damaged, or of features that this version does not compute.
    """
    path = fold_folder(run, fold) / BASELINE_FILE
    settings = description.baseline
    if settings is None:
        raise InputError(f"Cannot read {path}: the run is not a baseline. Pass a run of `hpa baseline`.")
    if settings.features_version != FEATURES_VERSION:
        raise InputError(
            f"Cannot use run {run}: its classifiers are of features in version {settings.features_version}, this "
            f"version of hpa computes version {FEATURES_VERSION}. Run `hpa baseline` again, with --overwrite."
        )
    n_features = len(name_features(description.full_dataset.channels))
    with refuse_damage(path, "Remove it, and run the same `hpa baseline` command again."):
        arrays = read_arrays(path, compares_seal=compares_seal)
        return BaselineModel.decode(arrays, n_features=n_features, n_classes=len(description.classes))


def write_importances(run: Path, names: tuple[str, ...], importances: npt.NDArray[np.float64]) -> None:
    """Write how much each feature matters to the trees, (D,), the most important first, as a CSV table."""
    order = np.argsort(-importances, kind="stable")
    rows = [(names[k], f"{importances[k]:.6g}") for k in order]
    unseal_files(run, [IMPORTANCES_FILE])
    write_atomic(run / IMPORTANCES_FILE, encode_table(["feature", "importance"], rows, for_people=True))
