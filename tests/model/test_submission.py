"""Submissions and sample submissions."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.predict.submission import check_submission, read_sample_submission


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
