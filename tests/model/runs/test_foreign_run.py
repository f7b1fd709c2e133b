"""Whatever stands in the place of a file of a run is met with one line: nothing waits, and no memory is filled."""

from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.models import load_model
from tests.builders import make_rows, make_run
from tests.strangers import KINDS, assert_harmless, attack


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = make_run(tmp_path / "run", make_rows())
    score_run(folder)
    return folder


def test_a_pipe_in_a_run_is_not_waited_for_and_a_file_that_may_not_be_read_is_not_called_damaged(run: Path):
    met = attack(run, "run", ("pipe", "forbidden"), ("config.json", "thresholds.json", "out_of_fold.npz"))
    assert_harmless(met)
    assert all(met.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_run_may_be_something_else(run: Path, kind: str):
    met = attack(run, "run", [kind])
    assert len(met) > 6
    assert_harmless(met)
    assert {name for name, said in met.items() if not said} <= {f"{kind} scores.json"}  # is only written


@pytest.mark.parametrize("kind", ["pipe", "device", "large", "folder", "failing"])
def test_a_model_file_may_be_something_else(tmp_path: Path, kind: str):
    KINDS[kind](tmp_path / "best.keras")
    with pytest.raises(InputError, match=r"Cannot read (model )?.*best\.keras"):
        load_model(tmp_path / "best.keras")
