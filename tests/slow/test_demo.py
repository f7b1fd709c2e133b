"""The demo from start to end, five minutes (`make test-slow`)."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.demo import run_demo

# What the demo must score, and how far above the band of scores without skill, which ends at about 0.1.
LOWEST, MARGIN = 0.40, 0.20


@pytest.mark.slow
def test_the_demo_scores_far_above_no_skill(tmp_path: Path) -> None:
    done = run_demo(tmp_path / "demo")
    assert [step.name for step in done.steps] == ["synth", "convert", "train", "evaluate", "report", "predict"]
    assert all(step.output.exists() for step in done.steps)
    for name in ("macro_f1_within_fold", "macro_f1_cross_fitted"):
        assert getattr(done.scores, name) > max(LOWEST, done.scores.no_skill[name].high + MARGIN), name
    assert done.test_macro_f1 > LOWEST


def test_a_demo_does_not_write_into_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="folder must be new or empty"):
        run_demo(tmp_path)
