"""Out-of-fold probabilities of a run."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_atomic
from hpa_model.metrics import find_wrong_row
from hpa_model.runs.folder import OUT_OF_FOLD_FILE, find_last_file, fold_folder, read_arrays, read_run, refuse_damage
from hpa_model.runs.seal import AGAIN, unseal_files


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """Out-of-fold predictions: each sample is predicted by the model that was not trained on it."""

    ids: list[str]

    labels: npt.NDArray[np.uint8]
    """Multi-hot, (N, K)."""

    probs: npt.NDArray[np.float32]
    """Probabilities, (N, K)."""

    folds: npt.NDArray[np.int64]
    """The validation fold of each sample, (N,)."""

    parts: list[str] | None = None
    """The part of each sample. None where no two have the same id, as in all runs before 0.3.0."""

    groups: npt.NDArray[np.int64] | None = None
    """The group of each sample, (N,): samples of one group are related, such as duplicates, and are in one fold. None
    where each sample stands for itself, as in all runs before 0.4.0."""

    @property
    def keys(self) -> list[tuple[str, str]]:
        """What tells the samples apart: part, empty if there are no parts, and id."""
        return list(zip(self.parts or [""] * len(self.ids), self.ids, strict=True))

    def select(self, chosen: npt.NDArray[np.bool_]) -> "OutOfFold":
        """Return some of the rows, bool (N,)."""
        indices = np.flatnonzero(chosen).tolist()
        return OutOfFold(
            ids=[self.ids[index] for index in indices],
            labels=self.labels[chosen],
            probs=self.probs[chosen],
            folds=self.folds[chosen],
            parts=None if self.parts is None else [self.parts[index] for index in indices],
            groups=None if self.groups is None else self.groups[chosen],
        )


def write_out_of_fold(run: Path, rows: OutOfFold) -> None:
    """Write out-of-fold rows into a run folder."""
    arrays = {"ids": np.array(rows.ids, str), "labels": rows.labels, "probs": rows.probs, "folds": rows.folds}
    if rows.parts is not None:
        arrays["parts"] = np.array(rows.parts, str)
    if rows.groups is not None:
        arrays["groups"] = rows.groups
    unseal_files(run, [OUT_OF_FOLD_FILE])
    with open_atomic(run / OUT_OF_FOLD_FILE) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_out_of_fold(run: Path, *, compares_seal: bool = True) -> OutOfFold:
    """Read the out-of-fold rows of a run folder; InputError if it has none."""
    path = run / OUT_OF_FOLD_FILE
    check_finished(run, path)
    with refuse_damage(path, AGAIN):
        arrays = read_arrays(path, compares_seal=compares_seal)
        rows = OutOfFold(
            ids=arrays["ids"].tolist(),
            labels=arrays["labels"],
            probs=arrays["probs"],
            folds=arrays["folds"],
            parts=arrays["parts"].tolist() if "parts" in arrays else None,
            groups=arrays.get("groups"),
        )
        _check_rows(rows, 1 if _has_one_fold(run) else 2)
    return rows


def _has_one_fold(run: Path) -> bool:
    try:
        return read_run(run, compares_seal=False).config.folds == 1
    except InputError:
        return False


def check_finished(run: Path, path: Path) -> None:
    """Refuse a run that does not yet have a file that is written at the end, and say which folds are missing."""
    if path.exists():
        return
    description = read_run(run)
    config = description.config
    missing = [
        str(fold) for fold in range(config.n_models) if not (fold_folder(run, fold) / find_last_file(config)).exists()
    ]
    if not config.folds and not missing:
        raise InputError(
            f"Cannot use run {run}: it was trained on all samples (folds=0), so nothing was scored. Pass a run with "
            "folds."
        )
    which, alone = "", ""
    if missing and config.n_models > 1:
        which = f", as fold {missing[0]} is" if len(missing) == 1 else f", as folds {', '.join(missing)} are"
        if description.is_trained_by_folds:
            alone = f"; with --fold {missing[0]}, it trains that fold alone"
    raise InputError(
        f"Cannot use run {run}: it is not finished, {path.name} is missing{which}. Run the command that began it again "
        f"to resume it{alone}."
    )


def _check_rows(rows: OutOfFold, n_folds: int) -> None:
    """Raise ValueError if a training cannot have written these rows."""
    shape = rows.labels.shape
    kinds = rows.labels.dtype.kind, rows.probs.dtype.kind, rows.folds.dtype.kind
    if kinds != ("u", "f", "i"):
        raise ValueError("its arrays have other types")
    if len(shape) != 2 or rows.probs.shape != shape or rows.folds.shape != shape[:1] or len(rows.ids) != shape[0]:
        raise ValueError("the shapes of its arrays do not match")
    if rows.groups is not None and (rows.groups.shape != shape[:1] or rows.groups.dtype.kind != "i"):
        raise ValueError("its groups do not match its rows")
    if not shape[0] or len(np.unique(rows.folds)) < n_folds:
        raise ValueError(f"it has fewer than {n_folds} folds" if n_folds > 1 else "it has no row")
    if not np.isin(rows.labels, (0, 1)).all():
        raise ValueError("it has labels other than 0 and 1")
    wrong = find_wrong_row(rows.probs)
    if wrong is not None:
        raise ValueError(f"for sample {rows.ids[wrong.row]!r}, fold {rows.folds[wrong.row]}, it has {wrong}")
    if len(set(rows.keys)) < len(rows.ids):
        raise ValueError("it has an id twice")
