"""Scores and thresholds, compared with scikit-learn and brute force."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import f1_score

from hpa_data.errors import InputError
from hpa_model.evaluation.scores import score_rows
from hpa_model.metrics import binary_accuracy, f1_per_class, macro_f1, predict_classes
from hpa_model.runs.decision import read_decision
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import apply_temperatures, predict_cross_fitted, search_thresholds


@st.composite
def scored_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and probabilities, (N, K); many probabilities are exactly on the grid of thresholds."""
    shape = draw(st.tuples(st.integers(1, 30), st.integers(1, 5)))
    labels = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 1)))
    grid = st.integers(0, 1000).map(lambda n: n / 1000)
    probs = draw(hnp.arrays(np.float64, shape, elements=grid | st.floats(0, 1)))
    return labels, probs.astype(draw(st.sampled_from([np.float32, np.float64])))


@settings(deadline=None)
@given(scored_rows())
def test_f1_equals_that_of_scikit_learn(rows: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = rows
    predictions = predict_classes(probs, 0.5)
    per_class = [f1_score(labels[:, k], predictions[:, k], zero_division=0) for k in range(labels.shape[1])]
    assert f1_per_class(labels, predictions) == pytest.approx(per_class)
    assert macro_f1(labels, probs) == pytest.approx(np.mean(per_class))


@settings(deadline=None, max_examples=50)
@given(scored_rows())
def test_thresholds_are_the_lowest_of_the_best_that_brute_force_finds(rows: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probs = rows
    grid = np.arange(1001) / 1000
    best = search_thresholds(labels, probs)
    assert best.shape == (labels.shape[1],)
    for k in range(labels.shape[1]):
        scores = [f1_per_class(labels[:, [k]], predict_classes(probs[:, [k]], t))[0] for t in grid]
        if labels[:, k].any():
            assert best[k] == grid[int(np.argmax(scores))]
        else:
            assert best[k] == 1


def test_a_class_without_a_positive_is_never_predicted() -> None:
    labels = np.array([[1, 0], [0, 0]], np.uint8)
    probs = np.array([[0.9, 1.0], [0.1, 1.0]])
    assert predict_classes(probs, search_thresholds(labels, probs))[:, 1].tolist() == [0, 0]


def test_a_float32_probability_is_not_rounded_up_over_its_threshold() -> None:
    prob = np.float32(0.7)  # a little less than 0.7
    assert predict_classes(np.array([[prob]]), [float(prob)]).tolist() == [[0]]
    assert predict_classes(np.array([[prob]]), [0.7]).tolist() == [[0]]


def test_each_fold_is_predicted_with_the_thresholds_of_the_others() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 3)).astype(np.uint8)
    probs = (0.5 * labels + 0.5 * rng.random((60, 3))).astype(np.float32)
    folds = rng.integers(0, 3, 60)
    predictions = predict_cross_fitted(labels, probs, folds)
    for fold in range(3):
        in_fold = folds == fold
        expected = predict_classes(probs[in_fold], search_thresholds(labels[~in_fold], probs[~in_fold]))
        assert (predictions[in_fold] == expected).all()


def test_cross_fitted_predictions_of_a_fold_do_not_depend_on_its_labels() -> None:
    rng = np.random.default_rng(1)
    labels, folds = rng.integers(0, 2, (50, 4)).astype(np.uint8), np.arange(50) % 2
    probs = rng.random((50, 4))
    other = labels.copy()
    other[folds == 0] ^= 1
    before, after = (predict_cross_fitted(rows, probs, folds)[folds == 0] for rows in (labels, other))
    assert (before == after).all()


def test_accuracy_counts_every_label() -> None:
    assert binary_accuracy(np.array([[1, 0], [0, 0]]), np.array([[0.6, 0.5], [0.4, 0.9]])) == 0.75


def test_the_scores_of_a_run_are_named_and_differ() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random((90, 3)) < (0.3, 0.2, 0)).astype(np.uint8)
    probs = (0.2 * labels + 0.3 * rng.random((90, 3))).astype(np.float32)
    rows = OutOfFold(ids=[str(i) for i in range(90)], labels=labels, probs=probs, folds=np.arange(90) % 3)
    scores = score_rows(rows, ("a", "b", "c"))
    assert scores.absent == ("c",)
    assert scores.classes[2].threshold == 1
    assert scores.macro_f1_at_half == macro_f1(labels, probs, 0.5)
    scaled = apply_temperatures(probs, np.array(scores.temperatures)[rows.folds])
    assert scores.macro_f1_in_sample == macro_f1(labels, scaled, search_thresholds(labels, scaled))
    assert scores.macro_f1_at_half < scores.macro_f1_cross_fitted <= scores.macro_f1_in_sample
    assert scores.macro_f1_at_half < scores.macro_f1_within_fold <= scores.macro_f1_in_sample
    assert scores.macro_f1_chance == pytest.approx(labels.mean())


def test_guessing_at_the_frequency_of_a_class_scores_that_frequency() -> None:
    rng = np.random.default_rng(3)
    frequency = np.array([0.3, 0.05])
    labels, guesses = (rng.random((2, 200_000, 2)) < frequency).astype(np.uint8)
    assert f1_per_class(labels, guesses) == pytest.approx(frequency, abs=0.01)


def test_thresholds_that_do_not_fit_the_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text(json.dumps({"a": 0.5}))
    assert read_decision(tmp_path, ("a",), 2).thresholds.tolist() == [0.5]
    with pytest.raises(InputError, match="threshold for each class"):
        read_decision(tmp_path, ("a", "b"), 2)
