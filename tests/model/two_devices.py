"""Trainings that two devices share; what they gave is written to a file as JSON.

Run as ``python -m tests.model.two_devices ANSWER STORE WEIGHTS FOLDER``.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from hpa_data.store.store import open_store
from hpa_model.config import TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.runs.models import load_model
from hpa_model.training.job import Checkpointing
from hpa_model.training.pretrain import pretrain
from hpa_model.training.train import train
from tests.model.backbone import NAME, known
from tests.model.stopping import Killed, stop_at

CONFIG = TrainConfig(
    folds=2, epochs=2, batch_size=4, min_last_batch=1, bn_momentum=0.5, learning_rate=0.01, optimizer="sgd"
)
STAGES = replace(CONFIG, model=NAME, symmetries=True, head_epochs=1, backbone_rate_factor=0.5)
AUTOENCODER = replace(CONFIG, model="gapnet", options={"stride": 1, "padding": "same"}, symmetries=True)
PLAIN = replace(CONFIG, model="gapnet-pl", epochs=1, learning_rate=1e-3)
DAMAGE = PretrainSettings(mask=0.3, mask_patch=4, noise=0.05)


def find_difference(one: Path, other: Path) -> float:
    """Return the largest difference between weights of two models."""
    pairs = zip(load_model(one).get_weights(), load_model(other).get_weights(), strict=True)
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def resume(fit: Callable[..., Any], out: Path, batch: int) -> None:
    """Stop a training at a batch, and go on."""
    try:
        fit(out, progress=stop_at(batch), checkpointing=Checkpointing(checkpoint_s=0))
    except Killed:
        fit(out)
    else:
        raise AssertionError(f"{out} was not stopped")


def main() -> None:
    """Train on one and on two devices, and stopped on two."""
    answer, path, weights, folder = sys.argv[1:]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    store, base, found = open_store(path), Path(folder), {}
    with pytest.MonkeyPatch.context() as patch, known(patch):

        def train_on(devices: int, out: Path, epochs: int = 2, **more: Any) -> None:
            train(store, replace(STAGES, devices=devices, epochs=epochs), out, weights=weights, **more)

        # The head alone, over batch normalization that needs no batch.
        for devices in (1, 2):
            train_on(devices, base / f"head{devices}", epochs=1)
        found["head"] = find_difference(base / "head1/fold0/last.keras", base / "head2/fold0/last.keras")
        train_on(2, base / "whole")
        found["moved"] = find_difference(base / "head1/fold0/last.keras", base / "whole/fold0/last.keras")
        for batch in (2, 4):  # an epoch has two
            resume(lambda out, **more: train_on(2, out, **more), base / f"stopped{batch}", batch)
            found[f"stopped{batch}"] = find_difference(
                base / "whole/fold0/last.keras", base / f"stopped{batch}/fold0/last.keras"
            )

    for devices in (1, 2):
        pretrain(store, replace(PLAIN, devices=devices), base / f"ae{devices}")
    found["pretrain"] = find_difference(base / "ae1/encoder.keras", base / "ae2/encoder.keras")

    def pretrain_on_two(out: Path, **more: Any) -> None:
        pretrain(store, replace(AUTOENCODER, devices=2), out, settings=DAMAGE, **more)

    pretrain_on_two(base / "ae")
    resume(pretrain_on_two, base / "ae-stopped", 4)
    found["ae-stopped"] = find_difference(base / "ae/last.keras", base / "ae-stopped/last.keras")
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
