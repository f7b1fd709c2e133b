"""Files of a run: what an earlier version wrote is read; what is damaged, forged or of another run is refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_model.evaluation.compare import compare_runs
from hpa_model.evaluation.scores import score_run
from hpa_model.runs import history
from hpa_model.runs.decision import read_decision
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import EpochRecord, read_history, write_history
from hpa_model.runs.models import load_model, save_model
from hpa_model.runs.origin import read_origin
from hpa_model.runs.out_of_fold import read_out_of_fold
from tests.builders import RUN_CLASSES, make_rows, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of a run, without the models. Tests must not change it."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run", make_rows())
    score_run(folder)
    return folder


def test_a_description_is_read_as_it_was_written(run: Path, tmp_path: Path) -> None:
    description = read_run(run)
    (tmp_path / "run").mkdir()
    description.write(tmp_path / "run")
    assert read_run(tmp_path / "run") == description
    assert (tmp_path / "run" / "config.json").read_bytes() == (run / "config.json").read_bytes()


def test_a_run_records_when_where_and_how_it_was_begun(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_run(run).origin is None  # as in earlier versions
    monkeypatch.setattr("sys.argv", ["/opt/bin/hpa", "train", "my store.zarr"])
    origin = read_origin("GPU")
    assert (origin.device, origin.command) == ("GPU", "hpa train 'my store.zarr'")
    assert abs(datetime.now(UTC) - datetime.fromisoformat(origin.started)) < timedelta(minutes=1)
    monkeypatch.setattr("sys.argv", ["notebook.py", "secret"])
    assert read_origin("GPU").command == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", {"epochs": 10**30}),
        ("config", {"folds": 10**9}),
        ("config", {"clip_norm": float("inf")}),
        ("config", {"image_size": 10**9}),
        ("config", []),
        ("store", 5),
        ("channels", []),
        ("channels", "red"),
        ("classes", ["a", "a"]),
        ("classes", [["a"], ["b"]]),
        ("classes", None),
        ("image_shape", [512, 512]),
        ("image_shape", [512, 512, -4]),
        ("image_shape", [512, 512, 4.5]),
        ("image_shape", [10**400, 512, 4]),
        ("n_left_out", float("inf")),
        ("n_left_out", "2"),
        ("fingerprints", ["train"]),
        ("fingerprints", {"other": "abc"}),
        ("versions", {"keras": [3]}),
        ("finetuned_from", None),
        ("finetuned_folds", [7]),
        ("finetuned_folds", [1, 1]),
        ("base_models", [1]),
    ],
)
def test_an_invalid_description_is_refused(run: Path, tmp_path: Path, name: str, value: object) -> None:
    raw = json.loads((run / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {name: value}))
    with pytest.raises(InputError, match=r"Cannot read .*config\.json: "):
        read_run(tmp_path)


def test_a_setting_that_an_older_run_does_not_have_takes_its_default(run: Path, tmp_path: Path) -> None:
    raw = json.loads((run / "config.json").read_text())
    del raw["config"]["clip_norm"], raw["base_models"]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    assert read_run(tmp_path) == read_run(run)


@pytest.mark.parametrize("inside", [True, False])
def test_a_setting_of_a_newer_version_names_that_version(run: Path, tmp_path: Path, inside: bool) -> None:
    raw = json.loads((run / "config.json").read_text())
    raw["versions"]["hpa"] = "9.1"
    (raw["config"] if inside else raw)["lookahead"] = 0.1
    (tmp_path / "config.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match=r"config\.json: it has 'lookahead'.* written by hpa 9\.1\. Install"):
        read_run(tmp_path)


@dataclass(frozen=True, kw_only=True)
class NewerRecord(EpochRecord):
    """The record of a version with one more metric."""

    val_map: float = float("nan")


def test_a_metric_that_an_older_run_did_not_measure_is_nan(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_history(run, 3)
    monkeypatch.setattr(history, "EpochRecord", NewerRecord)
    after = read_history(run, 3)
    assert [[record.val_loss for record in fold] for fold in after] == [[r.val_loss for r in fold] for fold in before]
    assert all(np.isnan(record.val_map) for fold in after for record in fold)  # type: ignore[attr-defined]


def test_a_history_that_a_newer_version_resumed_is_read_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "EpochRecord", NewerRecord)
    (old, *_) = read_history(run, 3)
    resumed = [old[0], replace(old[1], val_map=0.25)]  # type: ignore[call-arg]
    (tmp_path / "fold0").mkdir()
    write_history(tmp_path / "fold0", resumed)
    (values,) = [[record.val_map for record in fold] for fold in read_history(tmp_path, 1)]  # type: ignore[attr-defined]
    assert np.isnan(values[0])
    assert values[1] == 0.25
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"history\.csv: it has 'val_map', which this version does not know"):
        read_history(tmp_path, 1)


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"config": 1}'])
def test_a_description_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"Cannot read .*config\.json: "):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:20],
        lambda text: text.replace("val_loss", "vol_loss"),
        lambda text: text.replace("1.1", "nan"),
        lambda text: text.replace("1.1", "a"),
        lambda text: text.replace("1.1", "1" + 400 * "0"),
        lambda text: text + "4,1\n",
        lambda text: text + '"' + "a" * 200_000,
    ],
)
def test_a_damaged_history_is_refused(tmp_path: Path, change: Callable[[str], str]) -> None:
    damaged = make_run(tmp_path / "run", make_rows())
    path = damaged / "fold1" / "history.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=r"Cannot read .*fold1.history\.csv: .*Remove the file"):
        compare_runs([damaged])


def test_a_fold_without_a_history_has_an_empty_one(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", make_rows())
    (folder / "fold1" / "history.csv").unlink()
    assert list(map(len, read_history(folder, 3))) == [3, 0, 3]


@pytest.mark.parametrize("value", ["1" + 400 * "0", "[" * 100_000, "NaN", "1e999", "null", "[0.5]", "-0.1"])
def test_an_invalid_threshold_is_refused(run: Path, tmp_path: Path, value: str) -> None:
    saved = dict.fromkeys(RUN_CLASSES, "0.5") | {RUN_CLASSES[2]: value}
    text = ", ".join(f"{json.dumps(name)}: {threshold}" for name, threshold in saved.items())
    (tmp_path / "thresholds.json").write_text(f"{{{text}}}")
    with pytest.raises(InputError, match="a threshold for each class"):
        read_decision(tmp_path, RUN_CLASSES, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": np.arange(90) % 3 + 0.5},
        {"folds": np.zeros(90, np.int64)},
        {"labels": np.full((90, 4), 2, np.uint8)},
        {"labels": np.zeros((90, 4))},
        {"probs": np.full((90, 4), np.nan)},
        {"probs": np.full((90, 4), "0.5")},
        {"ids": np.full(90, "a")},
        {"ids": np.array("a")},
    ],
)
def test_invalid_out_of_fold_rows_are_refused(run: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with np.load(run / "out_of_fold.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "out_of_fold.npz", **(arrays | changes))
    with pytest.raises(InputError, match=r"Cannot read .*out_of_fold\.npz"):
        read_out_of_fold(tmp_path)


@pytest.mark.parametrize("n_bytes", [0, 3, 40, 300, -30])
def test_truncated_out_of_fold_rows_are_refused(run: Path, tmp_path: Path, n_bytes: int) -> None:
    (tmp_path / "out_of_fold.npz").write_bytes((run / "out_of_fold.npz").read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"Cannot read .*out_of_fold\.npz"):
        read_out_of_fold(tmp_path)


def test_a_model_of_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    save_model(network, tmp_path / "best.keras")
    assert load_model(tmp_path / "best.keras").output_shape == (None, 2)
    with pytest.raises(
        InputError, match=r"are \(None, 4\) and \(None, 2\), those of the run \(None, 512, 512, 4\) and \(None, 4\)"
    ):
        load_model(tmp_path / "best.keras", read_run(run))
    assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]
