"""Logs for TensorBoard."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from hpa_data.store.store import Store
from hpa_model.runs.history import read_history
from hpa_model.training.job import Checkpointing
from hpa_model.training.train import train
from tests.model.stopping import TINY


def test_every_metric_and_the_f1_of_every_class_are_logged_in_a_folder_per_fold(
    run: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    started = time.perf_counter()
    train(store, dataclasses.replace(TINY, epochs=1, batch_size=6), out, checkpointing=Checkpointing(tensorboard=True))
    # The epochs do not overlap.
    assert sum(record.seconds for history in read_history(out, 2) for record in history) < time.perf_counter() - started
    for fold, (record,) in enumerate(read_history(out, 2)):
        (path,) = (out / "tensorboard" / f"fold{fold}").iterdir()
        logged, plugins = {}, set()
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                plugins.add(value.metadata.plugin_data.plugin_name)
                logged[value.tag, event.step] = value.simple_value
        assert logged["val_loss", 1] == pytest.approx(record.val_loss, rel=1e-4)
        of_classes = [value for (name, _), value in logged.items() if name.startswith("f1/")]
        assert len(of_classes) == 28
        assert np.mean(of_classes) == pytest.approx(record.val_macro_f1_best, abs=1e-5)
        assert "hparams" in plugins
