"""Trainings with augmentation on a backend and some devices; what they gave is written to a file as JSON.

Run as ``python -m tests.model.augment.resuming ANSWER STORE FOLDER DEVICES``.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hpa_data.store.store import open_store
from hpa_model.backend import on_tensorflow
from hpa_model.config import TrainConfig
from hpa_model.runs.models import load_model
from hpa_model.training.job import Checkpointing
from hpa_model.training.train import train
from tests.model.stopping import Killed, stop_at

# No batch statistics, which each device would compute over its share; of 8 images, two batches with even shares.
CONFIG = TrainConfig(
    **{"model": "gapnet-pl", "options": {"dropout": 0.0}, "image_size": 32, "folds": 3, "epochs": 2, "batch_size": 4},
    **{"min_last_batch": 1, "optimizer": "sgd", "learning_rate": 0.05, "deterministic": True},
    augment={"policy": "strong", "mixup": {"p": 0.5}, "cutmix": {"p": 0.5}},
)


def find_difference(one: Path, other: Path) -> float:
    """Return the largest difference between the last models of the first fold of two runs."""
    weights = [load_model(run / "fold0" / "last.keras").get_weights() for run in (one, other)]
    return max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True))


def main() -> None:
    """Train whole, stopped twice, for one epoch, and on one device."""
    answer, path, folder, n = sys.argv[1:]
    devices, base, store, found = int(n), Path(folder), open_store(path), {}
    if devices > 1 and on_tensorflow():
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    config = replace(CONFIG, devices=devices)
    train(store, config, base / "whole")
    differences = []
    for batch in (1, 3):
        out = base / f"stopped{batch}"
        try:
            train(store, config, out, progress=stop_at(batch), checkpointing=Checkpointing(checkpoint_s=0))
        except Killed:
            train(store, config, out)
            differences.append(find_difference(base / "whole", out))
    found["stopped"] = differences
    train(store, replace(config, epochs=1), base / "short")
    found["moved"] = find_difference(base / "whole", base / "short")
    train(store, CONFIG, base / "one")
    found["one device"] = find_difference(base / "whole", base / "one")
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
