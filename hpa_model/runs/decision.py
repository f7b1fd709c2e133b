"""How a run turns probabilities into classes: what `hpa evaluate` fits and `hpa predict` applies."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.system.atomic import write_atomic
from hpa_data.system.files import MAX_TEXT_BYTES
from hpa_model.metrics import predict_classes
from hpa_model.runs.folder import THRESHOLDS_FILE, refuse_damage
from hpa_model.runs.out_of_fold import OutOfFold, check_finished
from hpa_model.runs.seal import read_file, unseal_files
from hpa_model.thresholds import (
    NEVER,
    ClassCalibration,
    apply_temperatures,
    fill_empty_rows,
    fit_calibrations,
    fit_temperatures,
    search_thresholds,
)
from hpa_model.thresholds.class_calibration import calibrate_held_out
from hpa_model.thresholds.cross_fit import find_held_out


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How probabilities become classes."""

    thresholds: npt.NDArray[np.float64]
    """Of each class, for probabilities that were scaled, (K,); 1 means never predicted."""

    temperatures: npt.NDArray[np.float64]
    """Of each fold's model, (F,): what the logits of its probabilities are divided by, so that a threshold means the
    same for all models. Their geometric mean is 1. All are 1 in runs of versions before 0.4.0."""

    fill: bool = True
    """Whether a sample of which no class is predicted gets the most probable one: where every sample of the training
    data shows a class."""

    calibrations: tuple[ClassCalibration, ...] | None = None
    """What makes of the probabilities of each class, (K,), that are divided by the temperature how often its label is
    true; for probabilities that are given out, not for thresholds. None if they were not fitted, as in runs of versions
    before 0.9.0."""

    def scale(self, probs: npt.NDArray[np.floating], folds: npt.NDArray[np.int64] | int) -> npt.NDArray[np.float64]:
        """Scale probabilities, (N, K), by the temperature of one fold, or of the fold of each row, (N,)."""
        return apply_temperatures(probs, self.temperatures[folds])

    def predict(self, scaled: npt.NDArray[np.floating], *, fill: bool | None = None) -> npt.NDArray[np.uint8]:
        """Predict classes, uint8 (N, K), from scaled probabilities; `fill` overrides that of the run."""
        predictions = predict_classes(scaled, self.thresholds)
        if self.fill if fill is None else fill:
            return fill_empty_rows(predictions, scaled, self.thresholds < NEVER)
        return predictions


def fit_decision(rows: OutOfFold, *, n_folds: int) -> Decision:
    """Fit the temperature of each fold's model and the thresholds of all, for the models of these rows.

    Temperatures are relative to their geometric mean: only what differs between models is taken out. To divide by more
    than that lowers the score of their mean on new samples (`python -m benchmarks.headline`).
    """
    temperatures = np.ones(n_folds)
    folds = np.unique(rows.folds)
    fitted = fit_temperatures(rows.labels, rows.probs, rows.folds)[folds]
    temperatures[folds] = fitted / np.exp(np.log(fitted).mean())
    scaled = apply_temperatures(rows.probs, temperatures[rows.folds])
    return Decision(
        thresholds=search_thresholds(rows.labels, scaled),
        temperatures=temperatures,
        fill=bool(rows.labels.any(axis=1).all()),
    )


def fit_calibration(rows: OutOfFold, decision: Decision) -> Decision:
    """Return a decision with a calibration of each class, fitted to all rows."""
    maps = fit_calibrations(rows.labels, decision.scale(rows.probs, rows.folds), _hold_out(rows), rows.groups)
    return replace(decision, calibrations=maps)


def calibrate_rows(rows: OutOfFold, decision: Decision) -> npt.NDArray[np.float64]:
    """Return the probabilities of rows, float64 (N, K), each calibrated by what was fitted on the other folds.

    Temperatures are those of all folds: they are one number for each fold's own rows.
    """
    return calibrate_held_out(rows.labels, decision.scale(rows.probs, rows.folds), _hold_out(rows), rows.groups)


def _hold_out(rows: OutOfFold) -> npt.NDArray[np.int64]:
    return find_held_out(rows.labels, rows.folds, rows.groups)


def write_decision(run: Path, decision: Decision, classes: tuple[str, ...]) -> None:
    """Write the decision of a run into its folder."""
    content = {
        "thresholds": dict(zip(classes, decision.thresholds.tolist(), strict=True)),
        "temperatures": decision.temperatures.tolist(),
        "fill": decision.fill,
    }
    if decision.calibrations is not None:
        content["calibration"] = {name: asdict(each) for name, each in zip(classes, decision.calibrations, strict=True)}
    unseal_files(run, [THRESHOLDS_FILE])
    write_atomic(run / THRESHOLDS_FILE, (json.dumps(content, indent=2) + "\n").encode())


def read_decision(run: Path, classes: tuple[str, ...], n_folds: int, *, compares_seal: bool = True) -> Decision:
    """Read the decision of a run; InputError if it is not finished, or the file does not fit."""
    path = run / THRESHOLDS_FILE
    check_finished(run, path)
    with refuse_damage(path, f"Run `hpa evaluate {run}`.", name=f"{path}, a threshold for each class"):
        saved = json.loads(read_file(path, max_bytes=MAX_TEXT_BYTES, compares_seal=compares_seal))
        if not isinstance(saved.get("thresholds"), dict):  # before 0.4.0: thresholds alone, by class
            saved = {"thresholds": saved, "temperatures": [1.0] * n_folds, "fill": True}
        thresholds = np.array([float(saved["thresholds"][name]) for name in classes])
        temperatures = np.array([float(value) for value in saved["temperatures"]])
        if not ((thresholds >= 0) & (thresholds <= 1)).all():
            raise ValueError("a threshold is outside 0..1")
        if temperatures.shape != (n_folds,) or not (np.isfinite(temperatures) & (temperatures > 0)).all():
            raise ValueError(f"it must have {n_folds} temperatures above 0")
        if not isinstance(saved["fill"], bool):
            raise ValueError("fill is neither true nor false")
        maps = saved.get("calibration")
        calibrations = None if maps is None else tuple(_decode_map(maps[name]) for name in classes)
    return Decision(thresholds=thresholds, temperatures=temperatures, fill=saved["fill"], calibrations=calibrations)


def _decode_map(saved: dict[str, Any]) -> ClassCalibration:
    return ClassCalibration(
        method=saved["method"],
        temperature=float(saved["temperature"]),
        offset=float(saved["offset"]),
        knots=tuple((float(prob), float(calibrated)) for prob, calibrated in saved["knots"]),
    )
