"""Submissions and sample submissions."""

from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model.submission import check_submission, predict_at_least_one, read_sample_submission


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,0\nb,1 27\n", ""),
        ("a,\nb,3\n", ""),
        ("a,0\n", "it has 1 rows, not 2"),
        ("b,0\na,1\n", "line 2 has id 'b', not 'a'"),
        ("a,0\na,1\n", "line 3 has id 'a', not 'b'"),
        ("a,0\nb,28\n", "line 3 has classes '28'"),
        ("a,0\nb,-1\n", "line 3 has classes '-1'"),
        ("a,0\nb,1.0\n", "line 3 has classes '1.0'"),
        ("a,0\nb,3 3\n", "line 3 repeats a class: '3 3'"),
    ],
)
def test_a_submission_has_the_ids_of_the_sample_submission_and_valid_classes(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "a.csv").write_text("Id,Predicted\n" + content)
    if message:
        with pytest.raises(InputError, match=message):
            check_submission(tmp_path / "a.csv", ["a", "b"])
    else:
        check_submission(tmp_path / "a.csv", ["a", "b"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Id,Predicted\na,0\na,0\n", "'a' twice"),
        ("Id,Predicted\n", "it has no rows"),
        ("Id,Target\na,0\n", "has no column Predicted"),
    ],
)
def test_an_invalid_sample_submission_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "sample.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_sample_submission(tmp_path / "sample.csv")


def test_rows_without_a_class_are_only_written_when_allowed() -> None:
    probs, thresholds = np.array([[0.1, 0.45, 0.2]]), np.array([0.2, 0.5, 1.0])
    assert predict_at_least_one(probs, thresholds).tolist() == [[0, 1, 0]]
    assert predict_at_least_one(probs, thresholds, allow_empty=True).tolist() == [[0, 0, 0]]


def test_an_empty_row_is_not_filled_with_a_class_that_is_never_predicted() -> None:
    probs, thresholds = np.array([[0.01, 0.99]]), np.array([0.4, 1.0])
    assert predict_at_least_one(probs, thresholds).tolist() == [[1, 0]]
