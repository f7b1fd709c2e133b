"""Logs for TensorBoard."""

import dataclasses
import time
from pathlib import Path

import pytest
import tensorflow as tf

from hpa_data.store.store import Store
from hpa_model.runs.folder import read_history
from hpa_model.training.job import Checkpointing
from hpa_model.training.train import train
from tests.model.stopping import CONFIG


def test_every_metric_is_logged_for_tensorboard(run: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    started = time.perf_counter()
    train(
        store, dataclasses.replace(CONFIG, epochs=1, batch_size=6), out, checkpointing=Checkpointing(tensorboard=True)
    )
    # The epochs do not overlap.
    assert sum(record.seconds for history in read_history(out, 2) for record in history) < time.perf_counter() - started
    (path,) = (out / "tensorboard").iterdir()
    logged = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            logged[value.tag, event.step] = value.simple_value
    for fold, history in enumerate(read_history(out, 2)):
        assert logged[f"fold{fold}/val_loss", 1] == pytest.approx(history[0].val_loss, rel=1e-4)
