"""Whether two runs differ, by the samples that both predict."""

from dataclasses import replace

import numpy as np

from hpa_model.commands.evaluate import describe_difference
from hpa_model.evaluation.difference import compare_rows
from hpa_model.runs.out_of_fold import OutOfFold


def draw(n: int = 2000, seed: int = 0) -> OutOfFold:
    """Draw rows of 10 classes of fixed skill."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 10)) < np.linspace(0.02, 0.3, 10)).astype(np.uint8)
    probs = (1 / (1 + np.exp(2 - 2.5 * labels - rng.normal(size=labels.shape)))).astype(np.float32)
    return OutOfFold(ids=[f"s{i}" for i in range(n)], labels=labels, probs=probs, folds=np.arange(n) % 3)


def pick(rows: OutOfFold, index: np.ndarray) -> OutOfFold:
    ids = [rows.ids[i] for i in index]
    return OutOfFold(ids=ids, labels=rows.labels[index], probs=rows.probs[index], folds=rows.folds[index])


def test_two_copies_of_a_run_do_not_differ() -> None:
    rows = draw()
    found = compare_rows("one", rows, "two", pick(rows, np.arange(1999, -1, -1)[::-1]))
    assert (found.difference, found.low, found.high, found.differs) == (0, 0, 0, False)
    assert describe_difference(found) == (
        "one and two: no difference found, +0.000 (+0.000 to +0.000) on 2000 samples."
    )


def test_a_run_with_5_percent_of_its_predictions_relabeled_at_random_is_told_apart_from_it() -> None:
    rows = draw()
    rng = np.random.default_rng(1)
    probs = rows.probs.copy()
    damaged = rng.choice(2000, 100, replace=False)
    probs[damaged] = probs[rng.permutation(2000)[:100]]
    found = compare_rows("damaged", replace(rows, probs=probs), "whole", rows, n_comparisons=3)
    assert found.differs
    assert found.difference is not None
    assert found.difference < 0
    assert describe_difference(found).startswith("whole is better than damaged: +0.0")


def test_samples_that_only_one_run_predicts_or_labels_otherwise_are_left_out() -> None:
    rows = draw(300)
    labels = rows.labels.copy()
    labels[:7, 0] ^= 1
    found = compare_rows("one", pick(rows, np.arange(250)), "two", replace(rows, labels=labels))
    assert (found.n_samples, found.n_left_out, found.n_other_labels) == (243, 50, 7)
    apart = compare_rows("one", pick(rows, np.arange(100)), "two", pick(rows, np.arange(100, 300)))
    assert apart.difference is None
    assert describe_difference(apart) == "one and two cannot be compared: no sample is in both."
