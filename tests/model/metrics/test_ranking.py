"""Measures of ranking, compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from hpa_model.metrics import average_precision, roc_auc
from hpa_model.metrics.intervals import find_interval
from hpa_model.metrics.ranking import mean_of_known, rank_samples


@pytest.mark.parametrize("decimals", [1, 9])  # with many ties, and without
def test_ranking_is_measured_as_scikit_learn_does(decimals: int) -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((200, 5)) < (0.5, 0.2, 0.05, 0.9, 0.3)).astype(np.uint8)
    probs = np.round(0.3 * labels + rng.random((200, 5)), decimals).astype(np.float32)
    assert average_precision(labels, probs) == pytest.approx(average_precision_score(labels, probs, average=None))
    assert roc_auc(labels, probs) == pytest.approx(roc_auc_score(labels, probs, average=None))
    order = rng.permutation(200)
    shuffled = rank_samples(probs).shuffle(order)
    assert shuffled.roc_auc(labels) == pytest.approx(roc_auc(labels, probs[order]))


def test_a_class_without_positive_or_negative_samples_is_left_out_of_the_mean() -> None:
    labels, probs = np.array([[0, 1, 1], [0, 1, 0]]), np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.5]])
    assert np.isnan(average_precision(labels, probs)).tolist() == [True, False, False]
    assert np.isnan(roc_auc(labels, probs)).tolist() == [True, True, False]
    assert mean_of_known(roc_auc(labels, probs)) == 1
    assert np.isnan(mean_of_known(roc_auc(labels[:, :2], probs[:, :2])))


def test_an_interval_of_a_score_stays_between_0_and_1() -> None:
    rng = np.random.default_rng(0)
    for score in (0.02, 0.98):
        values = score + rng.normal(0, 0.01, 200)
        interval = find_interval(score, values, score + rng.normal(0, 0.05, 50))  # stretched five times
        assert 0 <= interval.low < score < interval.high <= 1
        assert interval.low == 0 or interval.high == 1
