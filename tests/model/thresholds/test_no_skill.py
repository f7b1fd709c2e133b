"""What probabilities without skill score, and how often they lie inside the band that is shown."""

import numpy as np
import pytest

from benchmarks.no_skill import KINDS, draw_rows, measure_coverage
from hpa_model.evaluation.scorer import Scorer
from hpa_model.evaluation.scores import fit_decision
from hpa_model.thresholds.no_skill import choose_draws, measure_no_skill, summarize_draws


def test_the_band_leaves_out_one_score_of_forty_on_each_side() -> None:
    few, many = summarize_draws(np.arange(39.0)), summarize_draws(np.arange(79.0))
    assert (few.low, few.high) == (0, 38)
    assert (many.low, many.high) == (1, 77)
    assert (many.mean, many.beaten_by(77), many.beaten_by(77.5)) == (39, False, True)


def test_a_score_that_is_always_the_same_without_skill_is_inside_its_band() -> None:
    band = summarize_draws(np.full(39, 0.1))
    assert band.low == band.mean == band.high == 0.1
    assert not band.beaten_by(0.1)


def test_shuffles_stay_in_folds_and_move_whole_rows() -> None:
    folds = np.array([0, 1, 0, 1, 1, 0])
    orders: list[list[int]] = []

    def score(order: np.ndarray) -> dict[str, float]:
        orders.append(order.tolist())
        return {"nothing": float("nan"), "first": float(order[0])}

    found = measure_no_skill(score, folds, n_draws=39)
    assert all(sorted(order) == list(range(6)) and (folds[order] == folds).all() for order in orders)
    assert len({tuple(order) for order in orders}) > 20
    assert list(found) == ["first"]
    assert (found["first"].low, found["first"].high) == (0, 5)


def test_a_run_with_skill_leaves_the_band_which_holds_what_shuffled_labels_score() -> None:
    rows = draw_rows(np.random.default_rng(0), 336, KINDS[1])
    skilled = np.where(rows.labels == 1, rows.probs + 0.2, rows.probs)
    scorer = Scorer(rows.__class__(**{**vars(rows), "probs": skilled}), fit_decision(rows, n_folds=3))
    band = measure_no_skill(scorer.score, rows.folds, n_draws=39)
    for name, value in scorer.score().items():
        if not name.endswith("at_half"):
            assert band[name].beaten_by(value), name
    assert 0.06 < band["macro_f1_cross_fitted"].mean < 0.10  # not what coin tosses without fitted thresholds score
    assert band["macro_roc_auc"].low < 0.5 < band["macro_roc_auc"].high


def test_scores_without_skill_are_inside_the_band() -> None:
    coverage = measure_coverage(60, 6)
    assert min(coverage.values()) > 0.6
    assert np.mean(list(coverage.values())) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("n_rows", "n_data_sets"), [(112, 400), (336, 300), (784, 200)])
def test_scores_without_skill_are_inside_the_band_in_95_of_100_data_sets(n_rows: int, n_data_sets: int) -> None:
    for name, value in measure_coverage(n_rows, n_data_sets).items():
        lowest = 0.95 - 3 * np.sqrt(0.95 * 0.05 / n_data_sets)
        assert value > lowest, name
        if not name.endswith("at_half"):  # often 0 for all, which is inside
            assert value < 1 - (lowest - 0.9) / 10, name


def test_small_data_have_more_draws() -> None:
    assert (choose_draws(784 * 28), choose_draws(31_072 * 28), choose_draws(3000 * 1108)) == (79, 39, 39)
