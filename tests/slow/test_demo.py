"""The demo from start to end, five minutes (`make test-slow`)."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.demo import run_demo


@pytest.mark.slow
def test_the_demo_scores_twice_the_chance_level(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo")
    assert [step.name for step in done.steps] == ["synth", "convert", "train", "evaluate", "report", "predict"]
    assert all(step.output.exists() for step in done.steps)
    assert done.scores.macro_f1_cross_fitted > 2 * done.scores.macro_f1_chance
    assert done.test_macro_f1 > 2 * done.test_chance


def test_a_demo_does_not_write_into_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="folder must be new or empty"):
        run_demo(tmp_path)
