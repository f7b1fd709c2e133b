"""How far probabilities are from how often labels are true: the expected calibration error. NumPy only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hpa_model.metrics.intervals import Interval, draw_weights, find_interval, number_samples

N_BINS = 10
# Sets of labels that are drawn from the probabilities themselves; the second highest error of 39 is the 95 % quantile.
N_DRAWS = 39
# Classes that are resampled at once: float32 for each of 31,072 samples and ten bins of 16 classes is 20 MB.
N_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    """The mean distance of probability and frequency, over ten bins of equal width, weighted by their labels."""

    value: float

    interval: Interval
    """Where 95 % of it lie over resampled samples. What chance adds is in it: it holds 0 where no more than that was
    found, and else the error that as many samples show, not the lower one of endless samples."""

    if_perfect: float
    """What chance alone makes of it: 95 % of errors lie below where labels are drawn from the probabilities. A higher
    value shows that probabilities are wrong."""

    @property
    def is_found(self) -> bool:
        """Whether the probabilities are known to be wrong."""
        return self.value > self.if_perfect


def bin_probs(
    labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Put labels into ten bins of equal width by probability.

    Returns
    -------
    mean probability, frequency : array of float64, shape (10,)
        NaN for an empty bin.
    counts : array of int64, shape (10,)
        Labels in each bin, 0 and 1 alike.
    """
    values = np.asarray(probs, np.float64).ravel()
    bins = _find_bins(values)
    counts = np.bincount(bins, minlength=N_BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, values, N_BINS) / counts
        frequency = np.bincount(bins, np.asarray(labels).ravel().astype(np.float64), N_BINS) / counts
    return mean, frequency, counts


def calibration_error(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> float:
    """Return the expected calibration error (Naeini et al. 2015) of labels of any shape, all together.

    Parameters
    ----------
    labels : array of 0 and 1
    probs : array of float, of the same shape
        In [0, 1].

    Examples
    --------
    >>> calibration_error(np.array([1, 0, 0, 0]), np.array([0.25, 0.25, 0.25, 0.25]))
    0.0
    >>> calibration_error(np.array([1, 0]), np.array([0.9, 0.9]))
    0.4
    """
    mean, frequency, counts = bin_probs(labels, probs)
    return float(np.nansum(np.abs(mean - frequency) * counts) / counts.sum())


def measure_calibration(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    groups: npt.NDArray[np.int64] | None = None,
    *,
    seed: int = 0,
) -> tuple[CalibrationError, tuple[CalibrationError, ...]]:
    """Measure the calibration error of all labels together, and of each class.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        In [0, 1].
    groups : array of int, shape (N,), optional
        Samples of one group are drawn together for the intervals.
    seed : int

    Returns
    -------
    CalibrationError
        Of all labels.
    tuple of CalibrationError, length K
    """
    truth, exact = np.asarray(labels) != 0, np.asarray(probs, np.float64)
    bins = _find_bins(exact)
    rng = np.random.default_rng(seed)
    numbers = number_samples(len(exact), groups)  # related samples have related labels
    shape = int(numbers.max()) + 1, exact.shape[1]
    drawn = [_sum_bins(bins, exact - (rng.random(shape)[numbers] < exact)) for _ in range(N_DRAWS)]
    found = _sum_bins(bins, exact - truth)
    of_all, of_classes = _resample(bins, exact - truth, groups, seed=seed)
    limit = sorted(_measure(each.sum(axis=0), exact.size) for each in drawn)[-2]
    limits = np.sort([_measure(each, len(exact)) for each in drawn], axis=0)[-2]

    def describe(error: float, values: npt.NDArray[np.float64], limit: float) -> CalibrationError:
        interval = find_interval(error, values)
        if error <= limit:
            interval = Interval(low=0.0, high=interval.high)
        return CalibrationError(value=error, interval=interval, if_perfect=limit)

    errors = _measure(found, len(exact))
    return describe(float(_measure(found.sum(axis=0), exact.size)), of_all, float(limit)), tuple(
        describe(float(error), values, float(limit))
        for error, values, limit in zip(errors, of_classes.T, limits, strict=True)
    )


def _find_bins(probs: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    bins: npt.NDArray[np.int64] = np.minimum((probs * N_BINS).astype(np.int64), N_BINS - 1)
    return bins


def _sum_bins(bins: npt.NDArray[np.int64], distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum what lies in each bin of each class, both (N, K): float64 (K, 10)."""
    n_classes = bins.shape[1]
    flat = bins + np.arange(n_classes) * N_BINS
    return np.asarray(np.bincount(flat.ravel(), distances.ravel(), n_classes * N_BINS).reshape(n_classes, N_BINS))


def _measure(sums: npt.NDArray[np.float64], n: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the errors of sums of bins, (..., 10), of n labels."""
    return np.asarray(np.abs(sums).sum(axis=-1) / n)


def _resample(
    bins: npt.NDArray[np.int64], distances: npt.NDArray[np.float64], groups: npt.NDArray[np.int64] | None, *, seed: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the errors of resamples, of all labels, float64 (R,), and of each class, (R, K)."""
    n_samples, n_classes = bins.shape
    numbers = number_samples(n_samples, groups)
    n_groups = int(numbers.max()) + 1
    sizes = np.bincount(numbers, minlength=n_groups).astype(np.float32)
    of_all, of_classes = [], []
    for weights in draw_weights(n_groups, seed=seed):
        n = weights @ sizes
        total, errors = np.zeros((len(weights), N_BINS)), []
        for start in range(0, n_classes, N_AT_ONCE):
            some = slice(start, start + N_AT_ONCE)
            width = bins[:, some].shape[1]
            sums = np.zeros((n_groups, width, N_BINS), np.float32)
            np.add.at(sums, (numbers[:, None], np.arange(width), bins[:, some]), distances[:, some])
            drawn = (weights @ sums.reshape(n_groups, -1)).reshape(-1, width, N_BINS).astype(np.float64)
            total += drawn.sum(axis=1)
            errors.append(_measure(drawn, n[:, None]))
        of_all.append(_measure(total, n * n_classes))
        of_classes.append(np.concatenate(errors, axis=1))
    return np.concatenate(of_all), np.concatenate(of_classes)
