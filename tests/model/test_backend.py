"""Keras on JAX compared with TensorFlow, and several devices compared with one; each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.backend import put_ahead
from hpa_model.predict import predict_submission
from hpa_model.runs.folder import read_run
from hpa_model.runs.out_of_fold import read_out_of_fold

FIRST_LOSS = """
import json, sys
import keras
import numpy as np
from pathlib import Path
from hpa_model import nets
from hpa_model.config import make_config, read_recipe
from hpa_model.training.fit import use_xla
from hpa_model.training.optimizer import make_optimizer
from hpa_model.losses import LOSSES

losses = {}
for recipe in sys.argv[2:]:
    config = make_config(read_recipe(Path(recipe)))
    model = nets.build(config.model, (80, 80, 4), image_size=80, options={"dropout": 0.0})
    rng = np.random.default_rng(0)
    model.set_weights([
        rng.normal(0, 0.5 / np.sqrt(max(np.prod(w.shape[:-1]), 1)), w.shape) if w.ndim > 1 else 0.5 + 0 * w
        for w in model.get_weights()
    ])
    model.compile(make_optimizer(config), LOSSES[config.loss].function, jit_compile=use_xla(config))
    images = rng.integers(0, 256, (4, 80, 80, 4), np.uint8)
    labels = (rng.random((4, 28)) < 0.2).astype(np.float32)
    # The second loss follows a step of the optimizer.
    losses[config.model] = [float(model.train_on_batch(images, labels)) for _ in range(2)]
json.dump([keras.backend.backend(), "tensorflow" in sys.modules, losses], open(sys.argv[1], "w"))
"""

TRAIN = """
import json, sys
from pathlib import Path
import keras
import numpy as np
from hpa_data.store import open_store
from hpa_model.config import TrainConfig
from hpa_data.system.progress import Progress
from hpa_model.bench.step import measure_step
from hpa_model.training.fit import compile_models
from hpa_model.training.train import train

from hpa_model.nets.catalog import NETS, Net
from tests.model.training.conftest import build_tiny

NETS["tiny"] = Net(build=build_tiny, summary="of these tests", min_size=lambda **_: 3)
report = measure_step(open_store(sys.argv[2]), model=sys.argv[4], image_size=76, batch_size=4, n_steps=1)
assert report.device.startswith("CPU, ") and ", jax " in report.device, report
seen = ["tensorflow" in sys.modules]
config = TrainConfig(model=sys.argv[4], folds=2, epochs=1, batch_size=3, image_size=76, bn_momentum=0.5,
                     symmetries=True, deterministic=True, optimizer="adamw", weight_decay=0.01, accumulate_batches=2,
                     warmup_epochs=0.5, clip_norm=1.0)
train(open_store(sys.argv[2]), config, Path(sys.argv[3]),
      progress=Progress(advance=lambda n: seen.append("tensorflow" in sys.modules)))
# Averages of weights, for which Keras looks for TensorFlow, too.
inputs = keras.Input((3,))
models = compile_models(
    keras.Model(inputs, keras.layers.Dense(2, "sigmoid")(inputs)),
    TrainConfig(ema=0.75, accumulate_batches=2, optimizer="sgd", momentum=0.0, learning_rate=0.5),
)
weights = []
for _ in range(4):
    models.compiled.train_on_batch(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32))
    models.update_network()
    weights.append([models.network.get_weights()[0], models.replica.get_weights()[0]])
mean = 0.75 * weights[1][1] + 0.25 * weights[3][1]
json.dump([seen, float(np.abs(weights[3][0] - mean).max())], open(sys.argv[1], "w"))
"""

DEVICES = """
import json, sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from hpa_data.store import open_store
from hpa_model.runs.models import load_model
from hpa_model.config import TrainConfig
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Fold, FoldJob
from hpa_data.system.progress import Progress
from hpa_model.training.network import build_network
from hpa_model.training.run import describe_run
from hpa_model.training.train import train

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
weights = []
for devices in (1, 2):
    # No batch statistics, which each device computes over its share of the batch; no dropout.
    config = TrainConfig(model="gapnet-pl", options={"dropout": 0.0}, folds=2, epochs=1, batch_size=6, image_size=64,
                         optimizer="sgd", learning_rate=0.05, devices=devices)
    out = Path(sys.argv[3]) / str(devices)
    train(open_store(sys.argv[2]), config, out)
    weights.append(load_model(out / "fold0" / "last.keras").get_weights())
difference = max(float(np.abs(a - b).max()) for a, b in zip(*weights, strict=True))

# With batch statistics, and a last batch of one image, which two devices cannot share.
config = TrainConfig(folds=2, epochs=1, batch_size=4, image_size=76, devices=2)
n_trained = []
store = open_store(sys.argv[2])
with store.reader() as reader:
    description = describe_run(store, config, reader)
    fold = Fold(number=0, folder=Path(sys.argv[3]), training=np.arange(5), validation=np.arange(6, 12))
    job = FoldJob(config=config, reader=reader, fold=fold, classes=description.classes,
              progress=Progress(advance=n_trained.append))
    network = build_network(description, fold=0)
    fit_fold(network, job)
finite = all(np.isfinite(value).all() for value in network.get_weights())
json.dump([difference, finite, n_trained], open(sys.argv[1], "w"))
"""


def run_child(script: str, tmp_path: Path, *arguments: object, backend: str = "tensorflow") -> Any:
    """Run a script on a backend in a new process; return what it wrote."""
    answer = tmp_path / f"answer-{backend}.json"
    done = subprocess.run(
        [sys.executable, "-c", script, str(answer), *map(str, arguments)],
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(answer.read_text())


@pytest.mark.slow  # the test below trains on JAX, too
def test_the_first_steps_of_a_recipe_are_the_same_on_jax(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    recipes = [Path(__file__).parents[2] / "recipes" / f"{name}.toml" for name in ("gapnet", "gapnet-pl")]
    ours = run_child(FIRST_LOSS, tmp_path, *recipes)
    other = run_child(FIRST_LOSS, tmp_path, *recipes, backend="jax")
    assert ours[:2] == ["tensorflow", True]
    assert other[:2] == ["jax", False]
    for name in ("gapnet", "gapnet-pl"):
        assert other[2][name] == pytest.approx(ours[2][name], abs=1e-4)
        assert ours[2][name][1] != pytest.approx(ours[2][name][0], abs=1e-4)


@pytest.mark.parametrize(
    "model", ["tiny", *[pytest.param(name, marks=pytest.mark.slow) for name in ("gapnet-pl", "gapnet")]]
)
def test_a_run_is_trained_on_jax_and_predicted_with_on_tensorflow(model: str, store: Store, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    seen, difference = run_child(TRAIN, tmp_path, store.path, tmp_path / "run", model, backend="jax")
    assert len(seen) == 5  # after steps that are only timed, and after each step of the training
    # Until the first model is saved, when Keras itself checks whether TensorFlow is installed.
    assert not any(seen[:3])
    assert difference < 1e-6
    assert read_run(tmp_path / "run").versions["backend"] == "jax"
    assert np.isfinite(read_out_of_fold(tmp_path / "run").probs).all()
    assert predict_submission(tmp_path / "run", store.path, tmp_path / "a.csv").n_rows == 3


def test_batches_are_on_the_device_one_ahead_and_an_error_waits_for_those_before_it() -> None:
    jax = pytest.importorskip("jax")
    made: list[int] = []

    def make() -> Iterator[Any]:
        for number in range(3):
            made.append(number)
            yield (np.full((2, 3), number, np.uint8), np.full(4, number)), np.zeros((2, 1), np.float32)
        raise InputError("A fault.")

    batches = put_ahead(make())
    assert made == []
    for number in range(3):
        (images, drawn), labels = next(batches)
        assert made == list(range(min(number + 2, 3)))
        assert all(isinstance(array, jax.Array) for array in (images, drawn, labels))
        assert (np.asarray(images) == number).all()
        assert (np.asarray(drawn) == number).all()
    with pytest.raises(InputError, match=r"A fault\."):
        next(batches)
    assert [batch.shape for batch in put_ahead(np.zeros((1, size)) for size in (3, 2))] == [(1, 3), (1, 2)]
    assert list(put_ahead(iter([]))) == []


@pytest.mark.slow  # test_devices.py compares losses and gradients
def test_two_devices_train_the_same_weights_as_one(store: Store, tmp_path: Path) -> None:
    difference, finite, n_trained = run_child(DEVICES, tmp_path, store.path, tmp_path)
    assert difference < 1e-4
    assert finite
    assert n_trained == [4]


def test_a_backend_that_keras_does_not_know_is_refused(store: Store, tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-c", "import cli; cli.main()", "train", str(store.path), "--out", str(tmp_path / "run")],
        env=os.environ | {"KERAS_BACKEND": "tensorflw"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert refused.returncode == 2
    assert "KERAS_BACKEND must be tensorflow or jax. Received: tensorflw." in refused.stderr
    assert "Traceback" not in refused.stderr
