"""Predictions with thresholds of other samples, temperatures, and rows without a class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_model.metrics import f1_per_class
from hpa_model.thresholds import (
    apply_temperatures,
    fill_empty_rows,
    fit_temperatures,
    predict_within_folds,
    search_thresholds,
)
from hpa_model.thresholds.cross_fit import find_held_out, split_rows
from hpa_model.thresholds.search import bin_probs, find_best, renumber_bins


def draw_rows(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((n, 4)) < (0.5, 0.2, 0.1, 0.04)).astype(np.uint8)
    probs = (0.3 * labels + 0.7 * rng.random((n, 4))).astype(np.float32)
    return labels, probs, np.arange(n) % 3


def test_predictions_within_a_fold_do_not_depend_on_other_folds() -> None:
    labels, probs, folds = draw_rows()
    before = predict_within_folds(labels, probs, folds)
    changed = np.where(folds[:, None] == 0, probs, probs[::-1])
    assert (predict_within_folds(labels, changed, folds)[folds == 0] == before[folds == 0]).all()


def test_each_split_has_its_share_of_a_rare_class() -> None:
    labels, _, _ = draw_rows()
    splits = split_rows(labels, 10)
    rare = np.bincount(splits[labels[:, 3] == 1], minlength=10)
    assert rare.max() - rare.min() <= 1
    assert np.ptp(np.bincount(splits)) <= 1


def test_thresholds_are_not_fitted_on_duplicates_of_the_sample_that_they_predict() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random((200, 10)) < 0.05).astype(np.uint8)
    probs, folds = rng.random(labels.shape), np.arange(200) % 2
    once = f1_per_class(labels, predict_within_folds(labels, probs, folds))
    groups = np.repeat(np.arange(200), 4)
    labels, probs, folds = labels[groups], probs[groups], folds[groups]
    assert (split_rows(labels, 10, groups).reshape(200, 4).std(axis=1) == 0).all()
    apart = f1_per_class(labels, predict_within_folds(labels, probs, folds))
    together = f1_per_class(labels, predict_within_folds(labels, probs, folds, groups))
    assert together == pytest.approx(once)
    assert apart.mean() > 1.5 * once.mean()


def test_a_model_that_is_too_sure_of_itself_has_a_temperature_above_1() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.02, 0.98, (20_000, 2))
    labels = (rng.random(truth.shape) < truth).astype(np.uint8)
    folds = np.arange(20_000) % 2
    sure = np.where(folds[:, None] == 0, apply_temperatures(truth, 0.5), truth)
    assert fit_temperatures(labels, sure, folds) == pytest.approx([2, 1], rel=0.05)
    assert apply_temperatures(apply_temperatures(truth, 0.5), 2) == pytest.approx(truth)
    assert (apply_temperatures(truth, 1) == truth).all()


def test_an_empty_row_gets_its_most_probable_class_of_those_that_are_ever_predicted() -> None:
    probs = np.array([[0.1, 0.45, 0.9], [0.3, 0.2, 0.1]])
    predictions = np.array([[0, 0, 0], [0, 1, 0]], np.uint8)
    allowed = np.array([True, True, False])
    assert fill_empty_rows(predictions, probs, allowed).tolist() == [[0, 1, 0], [0, 1, 0]]
    assert fill_empty_rows(predictions, probs, np.zeros(3, bool)).tolist() == predictions.tolist()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 3, 1000]), st.integers(1, 5))
def test_each_set_gets_the_thresholds_of_the_rows_outside_of_it(seed: int, decimals: int, n_sets: int) -> None:
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(1, 40)), int(rng.integers(1, 5))
    truth = rng.random((n, k)) < rng.choice([0.0, 0.05, 0.4, 1.0], k)
    probs = np.round(rng.random((n, k)) ** 3, decimals) if decimals < 1000 else np.zeros((n, k))
    sets = np.unique(rng.integers(0, n_sets, n), return_inverse=True)[1]
    best = find_best(truth, bin_probs(probs), sets)
    renumbered, n_steps = renumber_bins(bin_probs(probs), np.zeros(n, int))
    again = find_best(truth, renumbered, sets, n_steps=n_steps)
    for number in range(sets.max() + 1):
        others, own = sets != number, sets == number
        if others.any():
            assert (best[number] / 1000 == search_thresholds(truth[others], probs[others])).all()
        else:
            assert (best[number] == 1000).all()
        assert ((renumbered[own] > again[number]) == (bin_probs(probs[own]) > best[number])).all()


def test_a_single_fold_is_split_into_halves_of_whole_groups_and_several_folds_are_not() -> None:
    rng = np.random.default_rng(0)
    labels, groups = (rng.random((40, 5)) < 0.3).astype(np.uint8), np.arange(40) // 4
    halves = find_held_out(labels, np.zeros(40, np.int64), groups)
    assert np.bincount(halves).tolist() == [20, 20]
    assert all(len(set(halves[groups == group].tolist())) == 1 for group in groups)
    folds = np.arange(40) % 3
    assert find_held_out(labels, folds, groups) is folds
