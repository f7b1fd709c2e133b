"""The demo from start to end, five minutes (`make test-slow`)."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.demo import Demo, run_demo

# What the demo must score, and how far above the band of scores without skill, which ends at about 0.1. It scores 0.58
# and more, see docs/measurements.md.
LOWEST, MARGIN = 0.40, 0.20


@pytest.mark.slow
def test_the_demo_scores_far_above_no_skill_on_labeled_and_on_test_samples(demo: Demo) -> None:
    names = ["synth", "convert", "baseline", "predict", "train", "evaluate", "predict", "report"]
    names += ["embed", "map", "explain", "browse"]
    assert [step.name for step in demo.steps] == names
    assert all(step.output.exists() for step in demo.steps)
    for of in (demo.network, demo.baseline):
        for name in ("macro_f1_within_fold", "macro_f1_cross_fitted"):
            score, no_skill = getattr(of.scores, name), of.scores.no_skill[name]
            assert score > max(LOWEST, no_skill.high + MARGIN), (of.name, name)
        assert of.test.macro_f1 > max(LOWEST, of.test.no_skill.high + MARGIN), of.name
    assert demo.network.scores.n_samples == demo.baseline.scores.n_samples
    # Bootstrap samples of both runs together: the difference of the scores lies inside its interval.
    difference = demo.network.scores.headline - demo.baseline.scores.headline
    assert demo.difference.low < difference < demo.difference.high


def test_a_demo_does_not_write_into_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="folder must be new or empty"):
        run_demo(tmp_path)
