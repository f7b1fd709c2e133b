"""The out-of-fold rows of a run, from the probabilities of its folds."""

import numpy as np
import numpy.typing as npt

from hpa_model.metrics import find_wrong_row
from hpa_model.runs.folder import PROBS_FILE, fold_folder, read_arrays, refuse_damage
from hpa_model.runs.out_of_fold import OutOfFold, write_out_of_fold
from hpa_model.training.fold_table import name_parts
from hpa_model.training.run import OpenRun


def gather_probs(run: OpenRun) -> None:
    """Write the probabilities of all folds to one file, in the order of the reader."""
    plan, reader = run.plan, run.reader
    validated = np.flatnonzero(plan.folds >= 0)  # all but copies and failed samples
    labels: npt.NDArray[np.uint8] = reader.labels[validated]  # type: ignore[index]
    probs = np.zeros((len(reader), labels.shape[1]), np.float32)
    for number in range(plan.n_folds):
        _, validation = plan.split(number)
        path = fold_folder(run.folder, number) / PROBS_FILE
        with refuse_damage(path, "Remove it and train again."):
            of_fold = read_arrays(path)["probs"]
            if of_fold.shape != (len(validation), labels.shape[1]):
                raise ValueError(f"it does not hold probabilities of {len(validation)} samples")
            wrong = find_wrong_row(of_fold)
            if wrong is not None:
                raise ValueError(f"for sample {reader.ids[int(validation[wrong.row])]!r} it has {wrong}")
        probs[validation] = of_fold
    rows = OutOfFold(
        ids=[reader.ids[index] for index in validated],
        labels=labels,
        probs=probs[validated],
        folds=plan.folds[validated],
        parts=name_parts(plan, reader, validated),
        groups=None if plan.groups is None else plan.groups[validated],
    )
    write_out_of_fold(run.folder, rows)
