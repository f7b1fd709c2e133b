"""Class counts and correlations, by hand and against their definition."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hpa_data.dataset import HPA_2021
from hpa_data.errors import InputError
from hpa_data.stats.labels import (
    choose_classes,
    correlate_classes,
    explain_choice,
    label_statistics,
    measure_table,
)
from tests.builders import write_table

ROWS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(5)), elements=st.integers(0, 1))
NAMES = ("a", "b", "c", "d", "e")


def _phi(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the phi coefficient from the four counts of a contingency table, in integers; NaN where undefined."""
    both, first = int((one & other).sum()), int((one & ~other & 1).sum())
    second, neither = int((~one & other & 1).sum()), int(((one | other) == 0).sum())
    product = (both + first) * (second + neither) * (both + second) * (first + neither)
    return (both * neither - first * second) / math.sqrt(product) if product else math.nan


@given(labels=ROWS)
def test_the_correlation_is_the_phi_coefficient_and_undefined_for_constant_classes(labels: np.ndarray) -> None:
    found = correlate_classes(labels)
    expected = [[_phi(one, other) for other in labels.T] for one in labels.T]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    diagonal = np.diagonal(found)
    assert ((diagonal == 1) | np.isnan(diagonal)).all()
    assert (np.abs(found[~np.isnan(found)]) <= 1).all()


def test_a_table_of_one_class_has_a_correlation_with_itself() -> None:
    assert correlate_classes(np.array([[1], [0]], np.uint8)).tolist() == [[1.0]]
    assert np.isnan(correlate_classes(np.array([[1], [1]], np.uint8))).all()


@given(labels=ROWS, copies=ROWS)
def test_originals_and_copies_are_counted_separately(labels: np.ndarray, copies: np.ndarray) -> None:
    statistics = label_statistics(labels, copies, classes=NAMES)
    assert statistics.counts == tuple(int(row.sum()) for row in labels.T)
    assert statistics.copies == tuple(int(row.sum()) for row in copies.T)
    assert sum(statistics.labels_per_sample) == statistics.n_samples == len(labels)
    assert sum(n * count for n, count in enumerate(statistics.labels_per_sample)) == sum(statistics.counts)
    assert json.loads(json.dumps(asdict(statistics), allow_nan=False))["n_copies"] == len(copies)


def test_labels_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(InputError, match="labels must have at least one row"):
        label_statistics(np.zeros((0, 28), np.uint8))
    with pytest.raises(InputError, match="labels must have one column per class, 28"):
        label_statistics(np.zeros((3, 2), np.uint8))
    with pytest.raises(InputError, match="copies must have one column per class, 2"):
        label_statistics(np.ones((3, 2), np.uint8), np.ones((3, 3), np.uint8), classes=("a", "b"))


@pytest.mark.realdata
def test_the_real_table_has_the_known_counts(real_data: Path) -> None:
    statistics = measure_table(real_data / "labels" / "train.csv", min_count=500)
    assert statistics.labels_per_sample == (0, 15_126, 12_485, 3_160, 299, 2)
    assert statistics.counts[:3] == (12_885, 1_254, 3_621)
    assert statistics.counts[27] == 11
    assert statistics.n_copies == 3_026
    assert statistics.counts[9] + statistics.copies[9] == 688


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="t.csv: it has no rows"):
        measure_table(write_table(tmp_path / "t.csv", {}))


def test_of_more_than_40_classes_those_that_occur_are_shown_and_of_many_the_most_frequent_and_the_rarest() -> None:
    labels = np.zeros((60, 1108), np.uint8)
    labels[np.arange(60), np.arange(60) % 30] = 1
    names = [f"class {k}" for k in range(1108)]
    few = label_statistics(labels, classes=names)
    assert few.correlated == tuple(range(30))
    assert np.shape(few.correlation) == (30, 30)
    assert explain_choice(few.counts) == "Of 1,108 classes, shown are the 30 that occur."
    many = [0, *range(1, 101)]
    assert choose_classes(many) == [*range(1, 21), *range(81, 101)]
    assert explain_choice(many) == (
        "Of 101 classes, 100 occur; shown are the 20 most frequent and the 20 rarest of them."
    )
    assert (choose_classes([0] * 40), explain_choice([0] * 40)) == (list(range(40)), "")
    assert (len(choose_classes([0] * 41)), "none occurs" in explain_choice([0] * 41)) == (40, True)


def test_a_table_is_measured_with_the_classes_of_its_data_set(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("ID,Label\na,8|5|0\nb,18\n")
    statistics = measure_table(table, dataset=HPA_2021)
    assert (len(statistics.classes), statistics.counts[18], statistics.n_samples) == (19, 1, 2)
