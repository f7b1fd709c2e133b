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
        ("a,0\n", "the 2 ids .* Received: 1 rows of"),
        ("b,0\na,1\n", "id 'b' in line 2, in place of 'a'"),
        ("a,0\na,1\n", "id 'a' in line 3, in place of 'b'"),
        ("a,0\nb,28\n", "classes '28' in line 3"),
        ("a,0\nb,-1\n", "classes '-1' in line 3"),
        ("a,0\nb,1.0\n", "classes '1.0' in line 3"),
        ("a,0\nb,3 3\n", "a class twice, '3 3', in line 3"),
    ],
)
def test_a_submission_is_held_against_the_sample_submission(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text("Id,Predicted\n" + content)
    if message:
        with pytest.raises(InputError, match=message):
            check_submission(tmp_path / "a.csv", ["a", "b"], 28)
    else:
        assert check_submission(tmp_path / "a.csv", ["a", "b"], 28) == content.count(",\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Id,Predicted\na,0\na,0\n", "'a' twice"),
        ("Id,Predicted\n", "no row"),
        ("Id,Target\na,0\n", "without Predicted"),
    ],
)
def test_a_sample_submission_that_is_none_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "sample.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        read_sample_submission(tmp_path / "sample.csv")


def test_rows_stay_empty_only_if_asked() -> None:
    probs, thresholds = np.array([[0.1, 0.45, 0.2]]), np.array([0.2, 0.5, 1.0])
    assert predict_at_least_one(probs, thresholds).tolist() == [[0, 1, 0]]
    assert predict_at_least_one(probs, thresholds, allow_empty=True).tolist() == [[0, 0, 0]]


def test_a_class_that_is_never_predicted_does_not_fill_an_empty_row_either() -> None:
    probs, thresholds = np.array([[0.01, 0.99]]), np.array([0.4, 1.0])
    assert predict_at_least_one(probs, thresholds).tolist() == [[1, 0]]
