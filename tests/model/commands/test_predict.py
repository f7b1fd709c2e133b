"""`hpa predict`: the submission of a run."""

from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused


def test_a_submission_has_the_rows_of_the_sample_submission(
    run: Path, store: Store, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    out = tmp_path / "submission.csv"
    sample = kaggle / "sample_submission.csv"
    ended = hpa("predict", run, store.path, "--sample-submission", sample, "--out", out)
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"{out}: 3 rows, ")
    assert [line.partition(",")[0] for line in out.read_text().splitlines()] == ["Id", "new-2", "new-0", "new-1"]


def test_several_parts_are_predicted_together(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("predict", run, store.path, "--part", "test", "--part", "train", "--out", tmp_path / "all.csv")
    assert "15 rows" in hpa(*words).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("{kaggle} {store}", "Pass a folder that `hpa train` wrote."),
        ("{run} {kaggle}/test --part test", "Cannot use --part: it has no effect with a folder of image files"),
        ("{run} {kaggle}/nowhere", "does not exist"),
        ("{run} {kaggle}/nowhere.zarr --part test", "does not exist"),
        ("{run} {store} --part extra", "part must be in the store"),
    ],
)
def test_what_cannot_be_predicted_gets_one_line_and_status_2(  # noqa: PLR0917 - fixtures
    words: str, message: str, run: Path, kaggle: Path, store: Store, hpa: Hpa
) -> None:
    assert_refused(hpa("predict", *words.format(run=run, kaggle=kaggle, store=store.path).split()), message)
