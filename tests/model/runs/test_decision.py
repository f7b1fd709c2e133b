"""How a run turns probabilities into classes."""

import json
from pathlib import Path

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model.runs.decision import Decision, read_decision, write_decision
from hpa_model.thresholds import ClassCalibration


def test_a_decision_is_read_as_it_was_written(tmp_path: Path) -> None:
    decision = Decision(thresholds=np.array([0.25, 1]), temperatures=np.array([1.5, 0.5]), fill=False)
    write_decision(tmp_path, decision, ("a", "b"))
    again = read_decision(tmp_path, ("a", "b"), 2)
    assert (again.thresholds.tolist(), again.temperatures.tolist(), again.fill) == ([0.25, 1], [1.5, 0.5], False)


def test_class_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    maps = (
        ClassCalibration(),
        ClassCalibration(method="scaling", temperature=1.7, offset=-0.3),
        ClassCalibration(method="isotonic", knots=((0.1, 0.05), (0.1 + 0.2, 1 / 3))),
    )
    decision = Decision(thresholds=np.full(3, 0.5), temperatures=np.ones(2), calibrations=maps)
    write_decision(tmp_path, decision, ("a", "b", "c"))
    assert read_decision(tmp_path, ("a", "b", "c"), 2).calibrations == maps


def test_thresholds_of_earlier_versions_are_for_probabilities_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "thresholds.json").write_text(json.dumps({"thresholds": 0.25, "fill": 0.5}))
    decision = read_decision(tmp_path, ("thresholds", "fill"), 2)
    assert decision.thresholds.tolist() == [0.25, 0.5]
    assert decision.temperatures.tolist() == [1, 1]
    assert decision.calibrations is None


@pytest.mark.parametrize(
    "changed",
    [
        {"temperatures": [1.0]},
        {"temperatures": [0.0, 1.0]},
        {"fill": 1},
        {"thresholds": {"a": 2.0}},
        {"thresholds": {"a": np.nan}},
        {"calibration": {"b": {"method": "none", "temperature": 1, "offset": 0, "knots": []}}},
        {"calibration": {"a": {"method": "scaling", "temperature": -1, "offset": 0, "knots": []}}},
        {"calibration": {"a": {"method": "isotonic", "temperature": 1, "offset": 0, "knots": [[0.5]]}}},
        {"calibration": []},
    ],
)
def test_a_damaged_decision_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    whole = {"thresholds": {"a": 0.5}, "temperatures": [1.0, 2.0], "fill": True}
    (tmp_path / "thresholds.json").write_text(json.dumps(whole | changed))
    with pytest.raises(InputError, match=r"Cannot read .*thresholds.json.* Run `hpa evaluate"):
        read_decision(tmp_path, ("a",), 2)
