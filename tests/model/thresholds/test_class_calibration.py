"""Calibration of each class: simulated probabilities with a known error are corrected."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from hpa_model.metrics import calibration_error
from hpa_model.thresholds import ClassCalibration, apply_calibrations, fit_calibrations
from hpa_model.thresholds.class_calibration import (
    HIGHEST_SLOPE,
    LOWEST_SLOPE,
    METHODS,
    _minimize,
    calibrate_held_out,
)

N = 20_000
FOLDS = np.arange(N) % 3
# The most frequent class is true for a third of the samples, the rarest for one in two hundred.
CENTERS = np.array([-1.0, -2.5, -4.0, -7.0])


def draw(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw true probabilities, (N, 4), and labels of them."""
    rng = np.random.default_rng(seed)
    truth = expit(rng.normal(CENTERS, 2.0, (N, 4)))
    return truth, (rng.random(truth.shape) < truth).astype(np.uint8)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("temperature", "offset"), [(0.5, 0.0), (2.0, 0.0), (1.0, -3.0), (1.6, 2.0)])
def test_a_known_temperature_and_offset_are_found_again(temperature: float, offset: float, seed: int) -> None:
    truth, labels = draw(seed)
    shown = expit((logit(truth) - offset) * temperature)
    maps = fit_calibrations(labels, shown, FOLDS)
    for found in maps[:3]:
        assert found.method == "scaling"
        assert found.temperature == pytest.approx(temperature, rel=0.1)
        assert found.offset == pytest.approx(offset, abs=0.25)
    corrected = apply_calibrations(maps, shown)
    assert np.abs(corrected - truth).mean(axis=0) == pytest.approx(0, abs=0.006)
    assert calibration_error(labels, corrected) < 0.25 * calibration_error(labels, shown)


def test_an_error_that_no_temperature_mends_is_mended_by_an_ascending_function() -> None:
    truth, labels = draw()
    shown = np.where(truth < 0.3, truth / 3, 0.1 + (truth - 0.3) * 9 / 7)  # two straight lines
    maps = fit_calibrations(labels, shown, FOLDS)
    assert maps[0].method == "isotonic"
    assert np.abs(apply_calibrations(maps, shown) - truth).mean(axis=0) == pytest.approx(0, abs=0.012)


def test_probabilities_that_are_right_stay_as_they_are_or_nearly_so() -> None:
    truth, labels = draw()
    maps = fit_calibrations(labels, truth, FOLDS)
    assert [each.method for each in maps].count("none") >= 2
    assert np.abs(apply_calibrations(maps, truth) - truth).mean() < 0.003


def test_a_class_with_few_samples_stays_near_all_classes_together() -> None:
    truth, labels = draw()
    shown = expit(logit(truth) * 2)  # twice too sure
    shown, labels = np.repeat(shown, 2, axis=1), np.repeat(labels, 2, axis=1)
    shown[:, 7] = shown[::-1, 7]  # a class without skill, of which five samples are left
    labels[:, 7] = 0
    labels[:5, 7] = 1
    maps = fit_calibrations(labels, shown, FOLDS)
    corrected = apply_calibrations(maps, shown)[:, 7]
    assert corrected.mean() == pytest.approx(5 / N, rel=1)
    assert corrected.max() < 0.05


def test_classes_of_no_and_of_all_samples_have_probabilities_near_0_and_1() -> None:
    truth, labels = draw()
    labels[:, 0], labels[:, 1] = 0, 1
    corrected = apply_calibrations(fit_calibrations(labels, truth, FOLDS), truth)
    assert np.isfinite(corrected).all()
    assert corrected[:, 0].max() < 0.2
    assert corrected[:, 1].mean() > 0.8


def test_the_rows_that_are_corrected_are_not_those_that_were_fitted_to() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 5)) < 0.2).astype(np.uint8)
    probs, folds = rng.random((300, 5)), np.arange(300) % 2
    before = calibrate_held_out(labels, probs, folds)
    changed = np.where(folds[:, None] == 0, labels[::-1], labels)
    after = calibrate_held_out(changed, probs, folds)
    assert (before[folds == 0] == after[folds == 0]).all()
    assert (before[folds == 1] != after[folds == 1]).any()


@pytest.mark.parametrize("slope", [0.05, 0.15, 1.0, 20.0])
def test_temperature_and_offset_are_those_of_an_optimizer_also_at_the_bounds(slope: float) -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(0, 3, (400, 1)) / min(slope, 1)
    truth = rng.random(logits.shape) < expit(slope * logits + 0.8)
    center, sds = np.array([1.0, 0.0]), np.array([0.5, 3.0])

    def loss(point: np.ndarray) -> float:
        signed = np.where(truth, 1, -1) * (point[0] * logits + point[1])
        return float(np.logaddexp(0, -signed).sum() + (((point - center) / sds) ** 2).sum() / 2)

    found = _minimize(truth, logits, center, sds)[0]
    best = minimize(loss, center, bounds=[(LOWEST_SLOPE, HIGHEST_SLOPE), (None, None)], method="L-BFGS-B")
    assert loss(found) == pytest.approx(best.fun, abs=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_chosen_by_rounding_where_nothing_can_be_compared(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs, labels = rng.random((6, 5)), rng.integers(0, 2, (6, 5))
    for rows, groups in ((slice(0, 1), None), (slice(0, 6), np.zeros(6, np.int64))):
        maps = fit_calibrations(labels[rows], probs[rows], np.zeros(len(probs[rows]), np.int64), groups)
        assert {each.method for each in maps} == {"none"}


def test_knots_ascend_where_probabilities_are_next_to_each_other() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        probs = 1 - rng.integers(0, 4, (40, 1)) * 2.0**-53
        labels = rng.integers(0, 2, (40, 1))
        maps = fit_calibrations(labels, probs, np.arange(40) % 2)
        assert ((apply_calibrations(maps, probs) >= 0) & (apply_calibrations(maps, probs) <= 1)).all()


def test_rows_of_one_group_alone_are_left_as_they_are() -> None:
    labels, probs = np.array([[1], [0]], np.uint8), np.array([[0.3], [0.4]])
    zeros = np.zeros(2, np.int64)
    assert fit_calibrations(labels[:0], probs[:0], zeros[:0], zeros[:0]) == (ClassCalibration(),)
    assert fit_calibrations(labels, probs, zeros, zeros)[0].method == "none"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 60), n_classes=st.integers(1, 4), n_sets=st.integers(1, 4))
def test_maps_of_any_rows_ascend_and_give_probabilities(seed: int, n: int, n_classes: int, n_sets: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, n_classes)) < rng.random(n_classes)).astype(np.uint8)
    probs = rng.random((n, n_classes)).round(int(rng.integers(0, 4)))  # also many that are equal, 0 and 1
    held_out = rng.integers(0, n_sets, n)
    maps = fit_calibrations(labels, probs, held_out)
    if len(np.unique(held_out)) > 1:
        corrected = calibrate_held_out(labels, probs, held_out, np.arange(n) // 2)
        assert ((corrected >= 0) & (corrected <= 1)).all()
    steps = np.linspace(0, 1, 101)
    for each in maps:
        assert each.method in METHODS
        values = each.apply(steps)
        assert (np.diff(values) >= 0).all()
        assert values[0] >= 0
        assert values[-1] <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "magic"},
        {"method": "scaling", "temperature": 0.0},
        {"method": "scaling", "offset": float("nan")},
        {"method": "isotonic"},
        {"method": "isotonic", "knots": ((0.1, 0.5), (0.2, 0.4))},
        {"method": "isotonic", "knots": ((0.1, 0.5), (0.2, 1.4))},
    ],
)
def test_a_map_that_is_none_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="must"):
        ClassCalibration(**wrong)
