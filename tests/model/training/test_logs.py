"""Logs of epochs: TensorBoard's, and those of W&B and MLflow, which are written offline and read back."""

import dataclasses
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.files import refuse_linked_folders
from hpa_data.system.progress import Progress
from hpa_model.runs.checkpoint import START, TrainingState
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.history import EpochRecord, read_history
from hpa_model.training.job import Checkpointing
from hpa_model.training.logs import open_logs
from hpa_model.training.train import train
from tests.model.stopping import TINY, Killed, stop_at

CLASSES = 28


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away the user's variables and keys."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def begun(run: Path, tmp_path: Path) -> tuple[Path, RunDescription]:
    """Make a run folder with two folds, and describe it."""
    out = tmp_path / "begun"
    for fold in range(2):
        (out / f"fold{fold}").mkdir(parents=True)
    description = read_run(run)
    return out, dataclasses.replace(description, config=dataclasses.replace(description.config, epochs=3))


def make_state(fold: int, epochs: int) -> TrainingState:
    """Make the state of a fold after some epochs, with validation losses that tell them apart."""
    state = START
    for epoch in range(1, epochs + 1):
        record = EpochRecord(
            epoch=epoch,
            loss=1.0,
            val_loss=fold + 1 / epoch,
            val_macro_f1=0.1,
            val_macro_f1_best=0.2,
            val_accuracy=0.9,
            learning_rate=0.01,
            images_per_s=10.0,
            seconds=1.0,
        )
        state = state.after_epoch(record, [0.5] * CLASSES)
    return state


def log_in_two_pieces(name: str, begun: tuple[Path, RunDescription]) -> list[str]:
    """Log two epochs of each of two folds, and then, as after a kill, all three; return what is told."""
    notes: list[str] = []
    for epochs in (2, 3):
        with open_logs([name], *begun, Progress(note=notes.append)) as log:
            for fold in range(2):
                log(fold, make_state(fold, epochs))
        if name == "wandb":
            time.sleep(1)  # it names files by the second, and would replace those of the first piece
    return notes


def read_events(folder: Path) -> list[tuple[str, int, float]]:
    """Read the scalars of all event files in a folder: name, step, value."""
    return [
        (value.tag, event.step, value.simple_value)
        for path in sorted(folder.iterdir())
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def read_wandb(path: Path) -> Iterator[Any]:
    """Read the records of a file of W&B, which has LevelDB's format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, offset, whole = path.read_bytes(), 7, b""
    while offset + 7 <= len(content):
        if 32768 - offset % 32768 < 7:  # a block does not end with a part of a header
            offset += 32768 - offset % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, offset)
        whole += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in {1, 4}:  # a whole record, or the last piece of one
            yield Record.FromString(whole)
            whole = b""


def test_every_metric_and_the_f1_of_every_class_are_logged_in_a_folder_per_fold(store: Store, tmp_path: Path) -> None:
    out, config = tmp_path / "run", dataclasses.replace(TINY, epochs=1, batch_size=6)
    started = time.perf_counter()
    train(store, config, out, checkpointing=Checkpointing(logs=("tensorboard",)))
    # The epochs do not overlap.
    assert sum(record.seconds for history in read_history(out, 2) for record in history) < time.perf_counter() - started
    for fold, (record,) in enumerate(read_history(out, 2)):
        logged = {(name, step): value for name, step, value in read_events(out / "tensorboard" / f"fold{fold}")}
        assert logged["val_loss", 1] == pytest.approx(record.val_loss, rel=1e-4)
        of_classes = [value for (name, _), value in logged.items() if name.startswith("f1/")]
        assert len(of_classes) == CLASSES
        assert np.mean(of_classes) == pytest.approx(record.val_macro_f1_best, abs=1e-5)


def test_tensorboard_draws_folds_over_each_other_lists_their_settings_and_has_each_epoch_once(
    begun: tuple[Path, RunDescription],
) -> None:
    assert log_in_two_pieces("tensorboard", begun) == []
    for fold in range(2):
        folder = begun[0] / "tensorboard" / f"fold{fold}"
        losses = [(step, value) for name, step, value in read_events(folder) if name == "val_loss"]
        assert losses == [(epoch, pytest.approx(fold + 1 / epoch)) for epoch in (1, 2, 3)]
        first = min(folder.iterdir())
        contents = {
            value.tag: HParamsPluginData.FromString(value.metadata.plugin_data.content)
            for event in tf.compat.v1.train.summary_iterator(str(first))
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "hparams"
        }
        settings = contents["_hparams_/session_start_info"].session_start_info.hparams
        assert settings["learning_rate"].number_value == begun[1].config.learning_rate
        assert settings["model"].string_value == begun[1].config.model
        listed = contents["_hparams_/experiment"].experiment.metric_infos
        assert {each.name.tag for each in listed} == {"val_loss", "val_macro_f1_best"}


def test_wandb_logs_offline_without_a_key_and_goes_on_in_the_same_run(begun: tuple[Path, RunDescription]) -> None:
    (note,) = set(log_in_two_pieces("wandb", begun))
    assert (begun[0] / "wandb" / "latest-run").is_symlink()
    refuse_linked_folders(begun[0])  # which a training does that goes on
    assert note.startswith("W&B: logging offline. To upload it: wandb sync ")
    epochs: dict[str, list[int]] = {}
    for path in sorted((begun[0] / "wandb").glob("offline-run-*/*.wandb")):
        for record in read_wandb(path):
            if record.HasField("run"):
                about = record.run
                assert (about.project, about.run_group.split()[0]) == ("hpa", "begun")
                assert {"learning_rate", "fold"} <= {each.key for each in about.config.update}
            elif record.HasField("history"):
                values = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
                assert "f1/Nucleoplasm" in values
                epochs.setdefault(about.display_name, []).append(int(values["_step"]))
    assert epochs == {"fold 0": [1, 2, 3], "fold 1": [1, 2, 3]}


@pytest.mark.slow
def test_mlflow_has_a_run_per_fold_below_one_and_goes_on_in_the_same_runs(begun: tuple[Path, RunDescription]) -> None:
    from mlflow import MlflowClient

    (note,) = set(log_in_two_pieces("mlflow", begun))
    address = f"sqlite:///{begun[0]}/mlflow/mlflow.db"
    assert note == f"MLflow: logging to {begun[0]}/mlflow. To look at it: mlflow ui --backend-store-uri {address}"
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("hpa")
    assert experiment is not None
    runs = {each.info.run_name: each for each in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"begun", "fold 0", "fold 1"}
    for fold in range(2):
        found = runs[f"fold {fold}"]
        assert found.data.tags["mlflow.parentRunId"] == runs["begun"].info.run_id
        assert found.data.params["learning_rate"] == str(begun[1].config.learning_rate)
        assert found.info.status == "FINISHED"
        for name in ("val_loss", "f1/Nucleoplasm"):
            assert [each.step for each in client.get_metric_history(found.info.run_id, name)] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_server_that_is_away_stops_no_training(
    name: str, begun: tuple[Path, RunDescription], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    notes: list[str] = []
    with open_logs([name], *begun, Progress(note=notes.append)) as log:
        for epochs in (1, 2):
            log(0, make_state(0, epochs))
    (note,) = notes
    assert "fails, and the training goes on without it" in note


def test_a_log_that_fails_is_left_out_with_one_warning_and_made_up_for_later(
    begun: tuple[Path, RunDescription],
) -> None:
    (begun[0] / "tensorboard").write_bytes(b"")
    notes: list[str] = []
    with open_logs(["tensorboard"], *begun, Progress(note=notes.append)) as log:
        for epochs in (1, 2):
            log(0, make_state(0, epochs))
    (note,) = notes
    assert note.startswith("Warning: TensorBoard fails, and the training goes on without it")
    assert note.endswith("Run the same command again with --log tensorboard to log the epochs that are missing.")
    (begun[0] / "tensorboard").unlink()
    assert log_in_two_pieces("tensorboard", begun) == []
    assert {step for _, step, _ in read_events(begun[0] / "tensorboard" / "fold0")} == {1, 2, 3}


@pytest.mark.slow
def test_a_finished_run_is_logged_later_and_a_resumed_one_has_each_epoch_once(store: Store, tmp_path: Path) -> None:
    out, config = tmp_path / "run", dataclasses.replace(TINY, symmetries=False)
    logging = Checkpointing(checkpoint_s=0, logs=("tensorboard",))
    with pytest.raises(Killed):
        train(store, config, out, progress=stop_at(8), checkpointing=logging)  # of 6 batches an epoch
    train(store, config, out)  # without
    train(store, config, out, checkpointing=logging)
    for fold in range(2):
        events = read_events(out / "tensorboard" / f"fold{fold}")
        assert [step for name, step, _ in events if name == "val_loss"] == [1, 2]


def test_a_tool_that_is_not_installed_is_refused_before_the_training(
    begun: tuple[Path, RunDescription], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpa_model.training.logs.find_spec", lambda _: None)
    message = r"Cannot log with MLflow: mlflow is not installed. Run: pip install"
    with pytest.raises(InputError, match=message), open_logs(["mlflow"], *begun):
        pass
