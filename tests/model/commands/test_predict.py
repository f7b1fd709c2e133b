"""`hpa predict`: the submission of a run."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

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


def test_the_advice_for_a_folder_of_stacks_leads_to_its_prediction(
    run: Path, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    folder, order = tmp_path / "stacks", ["green", "yellow", "red", "blue"]
    folder.mkdir()
    for index in range(3):
        planes = [cv2.imread(str(kaggle / "test" / f"new-{index}_{name}.png"), -1) for name in order]
        tifffile.imwrite(folder / f"cell-{index}.tif", np.stack(planes), photometric="minisblack")
    words = ("predict", run, folder, "--out", tmp_path / "a.csv")
    assert_refused(hpa(*words), "Pass --naming stack for files that hold whole samples")
    words += ("--naming", "stack")
    assert "has 4 planes without names. Pass --channels, for example red=0,green=1,blue=2,yellow=3," in hpa(*words).out
    ended = hpa(*words, "--channels", "red=2,green=0,blue=3,yellow=1")
    assert ended.status == 0, ended.err
    assert hpa("predict", run, kaggle / "test", "--out", tmp_path / "b.csv").status == 0
    rows, expected = ((tmp_path / name).read_text().replace("cell-", "new-") for name in ("a.csv", "b.csv"))
    assert rows == expected
