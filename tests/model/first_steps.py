"""The first steps of trainings that start in new ways, on the backend of this process; written to a file as JSON.

Run as ``python -m tests.model.first_steps ANSWER STORE WEIGHTS ENCODER`` in a folder that holds ``mynets.py``.
"""

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest

from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store, open_store
from hpa_model.backend import settle_keras
from hpa_model.config import TrainConfig
from hpa_model.config.pretraining import PretrainSettings
from hpa_model.nets.catalog import list_layers
from hpa_model.nets.head import HEAD, backbone_frozen
from hpa_model.training.fit import compile_models
from hpa_model.training.network import build_network
from hpa_model.training.objective import CLASSIFICATION, Objective
from hpa_model.training.pretrain import RECONSTRUCTION
from hpa_model.training.pretrain_data import open_unlabeled
from hpa_model.training.pretrain_folder import build_untrained, describe_pretraining
from hpa_model.training.run import describe_run
from hpa_model.training.start import open_start
from tests.builders import randomise
from tests.model.backbone import NAME, known

# Both backends would draw different units to drop. Penalties would be added to the loss.
PLAIN = {"dropout": 0.0, "l1": 0.0, "l2": 0.0}
CONFIG = TrainConfig(batch_size=8, bn_momentum=0.5, learning_rate=0.01)


def list_values(network: keras.Model, *, head: bool) -> list[npt.NDArray[Any]]:
    """List the weights of the classification head, or those of all other layers."""
    layers = [layer for layer in list_layers(network) if layer.name.startswith(HEAD) is head]
    return [np.array(value) for layer in layers for value in layer.get_weights()]


def take_steps(network: keras.Model, config: TrainConfig, reader: Reader, objective: Objective) -> list[float]:
    """Return the losses before the first and the second step of training."""
    compiled = compile_models(network, config, objective).compiled
    images, labels = reader.read(range(8)), np.asarray(reader.labels, np.float32)[:8]
    return [float(compiled.train_on_batch(images, labels)) for _ in range(2)]


def look_at(network: keras.Model, config: TrainConfig, reader: Reader) -> dict[str, Any]:
    """Train the head of a network over the frozen backbone, then all layers; the head starts from known weights."""
    start = hashlib.sha256(b"".join(value.tobytes() for value in list_values(network, head=False))).hexdigest()
    for layer in list_layers(network):
        if layer.name.startswith(HEAD) and layer.weights:
            randomise(layer)
    before = list_values(network, head=False)
    probs = network.predict_on_batch(reader.read(range(8))).astype(np.float64)
    labels = np.asarray(reader.labels)[:8]
    with backbone_frozen(network):
        head = take_steps(network, config, reader, CLASSIFICATION)
    after = list_values(network, head=False)
    return {
        "start": start,
        "head": head,
        "expected": -np.log(np.where(labels, probs, 1 - probs)).mean(),
        "kept": all((a == b).all() for a, b in zip(before, after, strict=True)),
        "all": take_steps(network, config, reader, CLASSIFICATION),
    }


def train_from(store: Store, weights: str | None, **settings: Any) -> dict[str, Any]:
    """Take the first steps of a training from weights, or from those that all backends are given here."""
    config = replace(CONFIG, **settings)
    with store.reader(channels=config.channels or None) as reader:
        description = describe_run(store, config, reader)
        start = open_start(weights, config, Path("no such run"), overwrite=False)
        network = build_network(description, fold=0) if start is None else start.build(description, fold=0)
        if start is None:
            randomise(network)
        return look_at(network, config, reader)


def pretrain_plainly(store: Store) -> dict[str, Any]:
    """Take the first steps of a pre-training, from weights that all backends are given."""
    config = replace(CONFIG, model="gapnet-pl", learning_rate=1e-3)
    with open_unlabeled(store, config) as reader:
        network = build_untrained(describe_pretraining(store, config, PretrainSettings(), reader))
        randomise(network)
        return {"all": take_steps(network, config, reader, RECONSTRUCTION)}


def main() -> None:
    """Write the losses of each way to start."""
    settle_keras()
    answer, path, weights, encoder = sys.argv[1:]
    store = open_store(path)
    steps = {"pretrain": pretrain_plainly(store)}
    with pytest.MonkeyPatch.context() as patch, known(patch):
        steps["file"] = train_from(store, weights, model=NAME)
    steps["encoder"] = train_from(store, encoder, model="gapnet-pl", options=PLAIN)
    steps["channels"] = train_from(store, None, model="gapnet-pl", options=PLAIN, channels=("blue", "red"))
    steps["custom"] = train_from(store, None, model="mynets:build")
    Path(answer).write_text(json.dumps([keras.backend.backend(), steps]))


if __name__ == "__main__":
    main()
