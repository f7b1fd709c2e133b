"""The text of `hpa demo`: scores of network and baseline side by side, and which of them is higher."""

from pathlib import Path

import numpy as np
import pytest

from hpa_model.commands.demo import describe_demo
from hpa_model.demo import Contender, Demo, Step, SubmissionScore
from hpa_model.evaluation.scores import score_rows
from hpa_model.metrics import Interval
from hpa_model.runs.out_of_fold import OutOfFold
from hpa_model.thresholds import NoSkill


@pytest.fixture(scope="module")
def contender() -> Contender:
    """Make scores of random probabilities; the text does not depend on where scores come from."""
    rng = np.random.default_rng(0)
    rows = OutOfFold(
        ids=[str(n) for n in range(40)],
        labels=(rng.random((40, 3)) < 0.4).astype(np.uint8),
        probs=rng.random((40, 3)).astype(np.float32),
        folds=np.arange(40) % 2,
        parts=["train"] * 40,
    )
    return Contender(
        name="gapnet-pl",
        run=Path("demo/run"),
        scores=score_rows(rows, ("a", "b", "c")),
        test=SubmissionScore(
            macro_f1=0.5,
            interval=Interval(low=0.41, high=0.58),
            no_skill=NoSkill(mean=0.05, sd=0.01, low=0.03, high=0.07),
        ),
        seconds=171.6,
    )


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Interval(low=0.01, high=0.05), "the network is higher than the baseline: difference +0.000"),
        (Interval(low=-0.05, high=-0.01), "the baseline is higher than the network: difference +0.000"),
        (Interval(low=-0.02, high=0.02), "network and baseline cannot be told apart: difference +0.000"),
    ],
)
def test_the_closing_table_fits_a_terminal_and_says_which_score_is_higher(
    contender: Contender, difference: Interval, verdict: str
) -> None:
    steps = (Step(name="synth", seconds=30.2, output=Path("demo/samples")),)
    done = Demo(
        steps=steps,
        network=contender,
        baseline=contender,
        difference=difference,
        report=Path("r.html"),
        page=Path("page"),
    )
    text = describe_demo(done)
    assert max(map(len, text.splitlines())) <= 80
    assert verdict in " ".join(text.split())
    assert "0.500 (0.410 to 0.580)" in text
    assert ("What to expect" in text) == (difference.low <= 0)
