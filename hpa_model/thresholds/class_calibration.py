"""Calibration of each class: probabilities that say how often a label is true. NumPy and SciPy only.

It changes what is written as a probability, and no prediction: thresholds are fitted to, and applied to, the
probabilities before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from hpa_model.thresholds.cross_fit import split_rows
from hpa_model.thresholds.temperatures import EPSILON

Method = Literal["none", "scaling", "isotonic"]
METHODS: tuple[Method, ...] = get_args(Method)
# How far a class may be from all classes together without its samples asking for it, as standard deviations of normal
# priors: of the slope, in parts of the common one, and of the offset. Balanced sampling of a class with 0.1 % of the
# samples moves the offset by 7; half a dozen samples outweigh the prior.
SLOPE_SD, OFFSET_SD = 0.5, 3.0
# Slopes are those of temperatures from 0.2 to 5, as for whole models, and wider: single classes are worse.
LOWEST_SLOPE, HIGHEST_SLOPE = 0.1, 10.0
# Newton's method on a convex loss; it takes five to eight steps. A step is bounded where the loss is nearly flat.
N_STEPS, MAX_STEP, TOLERANCE = 50, 2.0, 1e-8
# Of a cross-entropy, for each row.
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class ClassCalibration:
    """How the probability of a class is corrected."""

    method: Method = "none"

    temperature: float = 1.0
    """Of `scaling`: what the logit is divided by."""

    offset: float = 0.0
    """Of `scaling`: what is added to the logit then."""

    knots: tuple[tuple[float, float], ...] = ()
    """Of `isotonic`: probabilities and what becomes of them, in ascending order; between them it is interpolated."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: {self.method!r}.")
        points = np.array(self.knots, float).reshape(-1, 2)
        if not (np.isfinite([self.temperature, self.offset]).all() and self.temperature > 0):
            raise ValueError("the temperature of a class must be above 0")
        if self.method == "isotonic" and not len(points):
            raise ValueError("an isotonic class map must have knots")
        if not ((points >= 0) & (points <= 1)).all() or (np.diff(points, axis=0) < 0).any():
            raise ValueError("knots must ascend from 0 to 1")

    def apply(self, probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Correct probabilities of the class, (N,), in [0, 1]; their order stays, but for ties of `isotonic`."""
        exact = np.asarray(probs, np.float64)
        if self.method == "scaling":
            logits: npt.NDArray[np.float64] = logit(np.clip(exact, EPSILON, 1 - EPSILON))
            return np.asarray(expit(logits / self.temperature + self.offset))
        if self.method == "isotonic":
            points = np.array(self.knots)
            return np.interp(exact, points[:, 0], points[:, 1])
        return exact


def fit_calibrations(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    held_out: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
) -> tuple[ClassCalibration, ...]:
    """Fit the map of each class, by the method that is best for samples that it was not fitted to.

    `scaling` divides the logit by a temperature and adds an offset (Platt 1999; Guo et al. 2017 without the offset,
    which balanced sampling and class weights ask for). Both are those of the highest posterior probability, around the
    values of all classes together, so that a class with few samples stays near these. `isotonic` is the ascending
    function of the least squares (Zadrozny and Elkan 2002). A class that neither improves stays as it is.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        Out-of-fold probabilities, in [0, 1].
    held_out : array of int, shape (N,)
        The set of each row, such as its fold. Each set is predicted by maps of the others, with each method; that of
        the lowest cross-entropy over all rows is then fitted to all. A single set is split into halves; a single row
        shows nothing, and nothing is corrected.
    groups : array of int, shape (N,), optional
        Rows of one group are in one half.

    Returns
    -------
    tuple of ClassCalibration, length K
    """
    truth, exact = np.asarray(labels) != 0, np.asarray(probs, np.float64)
    if not len(truth):
        return (ClassCalibration(),) * truth.shape[1]
    losses = np.zeros((len(METHODS), truth.shape[1]))
    sets = held_out if len(np.unique(held_out)) > 1 else split_rows(truth, 2, groups)
    for number in np.unique(sets):
        own = sets == number
        for row, method in enumerate(METHODS):
            maps = _fit(truth[~own], exact[~own], [method] * truth.shape[1])
            losses[row] += _measure_losses(truth[own], apply_calibrations(maps, exact[own]))
    losses[1:] += ROUNDING * len(truth)  # a map that changes nothing but the last digit is no better than none
    return _fit(truth, exact, [METHODS[index] for index in losses.argmin(axis=0)])


def apply_calibrations(maps: Sequence[ClassCalibration], probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Correct probabilities, (N, K), by the maps of their classes, length K; float64 (N, K) in [0, 1]."""
    corrected = [each.apply(column) for each, column in zip(maps, np.asarray(probs).T, strict=True)]
    return np.stack(corrected, axis=1) if corrected else np.zeros(np.shape(probs))


def calibrate_held_out(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    held_out: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float64]:
    """Correct each set of rows by maps that were fitted on the others.

    Parameters
    ----------
    labels, probs, held_out, groups
        As for `fit_calibrations`. At least two sets.

    Returns
    -------
    array of float64, shape (N, K)
        What the maps make of probabilities that they have not seen.
    """
    corrected = np.empty(np.shape(probs))
    for number in np.unique(held_out):
        own = held_out == number
        others = None if groups is None else groups[~own]
        maps = fit_calibrations(labels[~own], probs[~own], held_out[~own], others)
        corrected[own] = apply_calibrations(maps, probs[own])
    return corrected


def _measure_losses(truth: npt.NDArray[np.bool_], probs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum the cross-entropy of each class, float64 (K,)."""
    likelihood = np.where(truth, probs, 1 - probs)
    return np.asarray(-np.log(np.clip(likelihood, EPSILON, 1)).sum(axis=0))


def _fit(
    truth: npt.NDArray[np.bool_], probs: npt.NDArray[np.float64], methods: Sequence[Method]
) -> tuple[ClassCalibration, ...]:
    """Fit a map of the given method to each class."""
    maps = [ClassCalibration()] * len(methods)
    if "scaling" in methods:
        slopes, offsets = _fit_scaling(truth, logit(np.clip(probs, EPSILON, 1 - EPSILON)))
    for k, method in enumerate(methods):
        if method == "scaling":
            maps[k] = ClassCalibration(method=method, temperature=float(1 / slopes[k]), offset=float(offsets[k]))
        elif method == "isotonic":
            maps[k] = _fit_isotonic(truth[:, k], probs[:, k])
    return tuple(maps)


def _fit_scaling(
    truth: npt.NDArray[np.bool_], logits: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Fit the slope and the offset of each class, float64 (K,) each, around those of all classes together."""
    common = _minimize(truth.reshape(-1, 1), logits.reshape(-1, 1), np.array([1.0, 0.0]), np.array([1.0, OFFSET_SD]))
    slope, offset = common[0]
    found = _minimize(truth, logits, np.array([slope, offset]), np.array([SLOPE_SD * slope, OFFSET_SD]))
    return found[:, 0], found[:, 1]


def _minimize(
    truth: npt.NDArray[np.bool_],
    logits: npt.NDArray[np.float64],
    center: npt.NDArray[np.float64],
    sds: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Find slope and offset of the highest posterior probability for each column, float64 (K, 2).

    Parameters
    ----------
    truth, logits : array, shape (N, K)
    center, sds : array of float64, shape (2,)
        Of the normal priors.
    """
    found = np.tile(center, (logits.shape[1], 1))
    precisions = 1 / sds**2
    for _ in range(N_STEPS):
        probs = expit(logits * found[:, 0] + found[:, 1])
        errors, weights = probs - truth, probs * (1 - probs)
        gradient = np.stack([(errors * logits).sum(axis=0), errors.sum(axis=0)], axis=1) + (found - center) * precisions
        mixed = (weights * logits).sum(axis=0)
        hessian = np.empty((len(found), 2, 2))
        hessian[:, 0, 0] = (weights * logits**2).sum(axis=0) + precisions[0]
        hessian[:, 1, 1] = weights.sum(axis=0) + precisions[1]
        hessian[:, 0, 1] = hessian[:, 1, 0] = mixed
        is_stuck = ((found[:, 0] <= LOWEST_SLOPE) & (gradient[:, 0] > 0)) | (
            (found[:, 0] >= HIGHEST_SLOPE) & (gradient[:, 0] < 0)
        )
        joint = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        alone = np.stack([np.zeros(len(found)), gradient[:, 1] / hessian[:, 1, 1]], axis=1)  # where the slope must stay
        step = np.clip(np.where(is_stuck[:, None], alone, joint), -MAX_STEP, MAX_STEP)
        moved = found - step
        moved[:, 0] = np.clip(moved[:, 0], LOWEST_SLOPE, HIGHEST_SLOPE)
        is_done = np.abs(moved - found).max() < TOLERANCE
        found = moved
        if is_done:
            break
    return found


def _fit_isotonic(truth: npt.NDArray[np.bool_], probs: npt.NDArray[np.float64]) -> ClassCalibration:
    """Fit an ascending function to a class; with a knot for each of its steps, at their mean. None of no rows."""
    if not len(probs):
        return ClassCalibration()
    values, inverse, counts = np.unique(probs, return_inverse=True, return_counts=True)
    found = np.bincount(inverse, truth)
    fitted = isotonic_regression(found / counts, weights=counts)
    blocks = np.asarray(fitted.blocks)
    n = np.add.reduceat(counts, blocks[:-1])
    # Half a sample more: no finite number of samples shows that a label is never, or always, true.
    levels = (np.add.reduceat(found, blocks[:-1]) + 0.5) / (n + 1)
    means = np.add.reduceat(values * counts, blocks[:-1]) / n
    means = np.clip(means, values[blocks[:-1]], values[blocks[1:] - 1])  # sums are rounded
    levels = isotonic_regression(levels, weights=n).x
    return ClassCalibration(method="isotonic", knots=tuple(zip(means.tolist(), levels.tolist(), strict=True)))
