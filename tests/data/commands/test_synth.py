"""`hpa synth`: samples in Kaggle's file format."""

from pathlib import Path

from tests.builders import Hpa, assert_refused


def test_samples_are_written_and_counted(tmp_path: Path, hpa: Hpa) -> None:
    ended = hpa("synth", tmp_path / "made", "--samples", 2, "--test", 1, "--threads", 1, "--seed", 2**64)
    assert ended.status == 0, ended.err
    assert ended.out.startswith(f"{tmp_path / 'made'}: 2 labeled and 1 test samples, ")
    assert len(list((tmp_path / "made" / "train").glob("*.png"))) == 8


def test_a_folder_that_holds_something_is_refused(kaggle: Path, hpa: Hpa) -> None:
    assert_refused(hpa("synth", kaggle), str(kaggle))
