"""The table of a run that says which fold validates each sample."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.folds.assign import TRAINING_ONLY
from hpa_data.folds.plan import FoldPlan
from hpa_data.reader.reader import Reader
from hpa_data.system.files import MAX_TABLE_BYTES
from hpa_data.tables import encode_table, first_duplicate
from hpa_model.runs.folder import FOLDS_FILE, TRAINING_WORD, refuse_damage
from hpa_model.runs.seal import read_file


def check_folds(run: Path, plan: FoldPlan, reader: Reader) -> None:
    """Refuse a run whose validation folds differ from a plan: a model would be scored on what it was trained on."""
    path = run / FOLDS_FILE
    with refuse_damage(path, "Train again."):
        recorded = read_file(path, max_bytes=MAX_TABLE_BYTES)
    if recorded != encode_folds(plan, reader):
        raise InputError(
            f"Cannot use run {run}: samples of the store are in other folds now than in {FOLDS_FILE}, because one "
            "failed or was repaired since. Train into another folder, or pass --overwrite."
        )


def name_parts(plan: FoldPlan, reader: Reader, indices: npt.NDArray[np.int64]) -> list[str] | None:
    """Return the part of each of some samples; None if ids alone tell all samples apart that are used.

    Files of a run name parts only where they are needed, so that those of earlier versions stay as they are.
    """
    if first_duplicate(reader.ids[index] for index in plan.used.tolist()) is None:
        return None
    return [reader.parts[index] for index in indices.tolist()]


def encode_folds(plan: FoldPlan, reader: Reader) -> bytes:
    """Encode the validation fold of each sample as a CSV table."""
    folds = [TRAINING_WORD if fold == TRAINING_ONLY else str(fold) for fold in plan.folds[plan.used].tolist()]
    columns = {"id": [reader.ids[index] for index in plan.used.tolist()], "fold": folds}
    parts = name_parts(plan, reader, plan.used)
    if parts is not None:
        columns["part"] = parts
    return encode_table(list(columns), zip(*columns.values(), strict=True))
