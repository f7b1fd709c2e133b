"""The calibration error, its interval, and what chance makes of it."""

import numpy as np
import pytest

from hpa_model.metrics.calibration import bin_probs, calibration_error, measure_calibration


def test_the_error_is_that_of_the_definition() -> None:
    labels = np.array([[1, 0], [0, 0], [1, 1]], np.uint8)
    probs = np.array([[0.95, 0.05], [0.91, 0.02], [0.31, 0.35]])
    # Bins 0.9, 0.0 and 0.3 hold two labels each, of which 1, 0 and 2 are true.
    expected = (abs(0.95 + 0.91 - 1) + abs(0.07 - 0) + abs(0.66 - 2)) / 6
    assert calibration_error(labels, probs) == pytest.approx(expected)
    overall, of_classes = measure_calibration(labels, probs)
    assert overall.value == pytest.approx(expected)
    assert [each.value for each in of_classes] == pytest.approx(
        [calibration_error(labels[:, k], probs[:, k]) for k in range(2)]
    )


def test_a_probability_of_1_lies_in_the_last_bin() -> None:
    _, frequency, counts = bin_probs(np.array([1, 0]), np.array([1.0, 0.0]))
    assert counts.tolist() == [1, *[0] * 8, 1]
    assert frequency[[0, 9]].tolist() == [0, 1]


def test_perfect_probabilities_are_mostly_not_found_wrong_and_others_are() -> None:
    rng = np.random.default_rng(0)
    probs = rng.beta(0.4, 2, (500, 100))
    labels = (rng.random(probs.shape) < probs).astype(np.uint8)
    _, of_classes = measure_calibration(labels, probs)
    assert sum(each.is_found for each in of_classes) <= 12  # 5 are expected of 100
    assert all(each.interval.low == 0 for each in of_classes if not each.is_found)
    rows = np.repeat(np.arange(500), 4)  # samples with three duplicates each are no finding, either
    _, of_classes = measure_calibration(labels[rows], probs[rows], rows)
    assert sum(each.is_found for each in of_classes) <= 12
    _, of_classes = measure_calibration(labels, np.sqrt(probs))
    assert sum(each.is_found for each in of_classes) == 100


def test_the_interval_holds_the_error_of_many_samples_and_widens_with_related_ones() -> None:
    rng = np.random.default_rng(1)
    probs = rng.beta(0.4, 2, (200_000, 1))
    labels = (rng.random(probs.shape) < probs).astype(np.uint8)
    shown = probs**0.7
    expected = calibration_error(labels, shown)
    held, n = 0, 1000
    for start in range(0, 40 * n, n):
        rows = slice(start, start + n)
        interval = measure_calibration(labels[rows], shown[rows])[0].interval
        held += interval.low <= expected <= interval.high
    assert held >= 34  # 38 are expected of 40
    rows = np.repeat(np.arange(n // 4), 4)  # each sample four times
    alone = measure_calibration(labels[rows], shown[rows])[0].interval
    together = measure_calibration(labels[rows], shown[rows], rows)[0].interval
    assert together.high - together.low > 1.5 * (alone.high - alone.low)
