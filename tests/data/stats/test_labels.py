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

from hpa_data.errors import InputError
from hpa_data.stats.labels import correlate_classes, label_statistics, measure_table
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
