"""The loss and the gradient of a step that several devices share, compared with those on one device."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from hpa_model.config import Loss
from tests.model.test_losses import DEFINITIONS

N, K = 8, 28

# One step of SGD from weights of 0 moves them by the gradient, times the learning rate. Soft F1 and the norm of a
# gradient are not additive over the devices' shares of a batch.
STEP = """
import json, sys
import keras
import numpy as np
import tensorflow as tf
from hpa_model.config import make_config
from hpa_model.training.fit import compile_models

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
rows = np.load(sys.argv[1])
steps = {}
for name, settings in json.loads(sys.argv[3]).items():
    config = make_config({"optimizer": "sgd", "momentum": 0.0, "learning_rate": 0.5} | settings)
    inputs = keras.Input((rows["features"].shape[1],))
    outputs = keras.layers.Dense(rows["labels"].shape[1], "sigmoid", kernel_initializer="zeros")(inputs)
    models = compile_models(keras.Model(inputs, outputs), config)
    models.replica.layers[1].bias.assign(rows["bias"])
    size, epochs = len(rows["labels"]) // config.accumulate_batches, settings.get("epochs", 1)
    history = models.compiled.fit(rows["features"], rows["labels"], size, epochs, shuffle=False, verbose=0)
    models.update_network()
    kernel, bias = models.network.layers[1].get_weights()
    gradient = [*(-kernel / 0.5).ravel().tolist(), *((rows["bias"] - bias) / 0.5).tolist()]
    steps[name] = [history.history["loss"][0], gradient]
json.dump(steps, open(sys.argv[2], "w"))
"""


CASES: dict[str, dict[str, object]] = {
    **{loss: {"loss": loss} for loss in get_args(Loss)},
    "sum": {"loss_over_classes": "sum"},
    "penalty": {"l1": 0.01, "l2": 0.1},
    "clipped": {"loss": "f1", "clip_norm": 1e-3},
    "clipped with Adam": {"optimizer": "adam", "clip_norm": 1e-9},
    # Two batches per change of the weights, and several changes, of which the averages are compared.
    "accumulated": {
        **{"optimizer": "adamw", "weight_decay": 0.1, "learning_rate": 0.1, "clip_norm": 0.1, "epochs": 3},
        **{"accumulate_batches": 2, "ema": 0.7, "warmup_epochs": 4.0},
    },
}


def _start(folder: Path, devices: list[int]) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that takes one step for each case on each number of devices; return it and its answer's path."""
    cases = {f"{name} on {n}": {"batch_size": N, "devices": n} | case for name, case in CASES.items() for n in devices}
    answer = folder / f"steps{devices}.json"
    child = subprocess.Popen(
        [sys.executable, "-c", STEP, str(folder / "rows.npz"), str(answer), json.dumps(cases)],
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return child, answer


def _draw_rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "features": rng.normal(size=(N, 3)).astype(np.float32),
        "labels": (rng.random((N, K)) < 0.3).astype(np.float32),
        "bias": rng.normal(size=K).astype(np.float32),
    }


def _take_steps(folder: Path, devices: list[int]) -> dict[str, tuple[float, np.ndarray]]:
    """Take one step for each case on each number of devices, by a name such as ``f1 on 2``; return loss, gradient."""
    np.savez(folder / "rows.npz", **_draw_rows())
    child, answer = _start(folder, devices)
    _, errors = child.communicate(timeout=900)
    assert child.returncode == 0, errors
    return {name: (loss, np.array(step)) for name, (loss, step) in json.loads(answer.read_text()).items()}


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, np.ndarray]]:
    return _take_steps(tmp_path_factory.mktemp("devices"), [1, 2])


@pytest.fixture(scope="module")
def all_steps(
    steps: dict[str, tuple[float, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[float, np.ndarray]]:
    # In another process: TensorFlow mixes up the sums of two groups of devices in one.
    return steps | _take_steps(tmp_path_factory.mktemp("devices"), [4])


def _compare_with_one_device(name: str, devices: int, steps: dict[str, tuple[float, np.ndarray]]) -> None:
    (loss, gradient), (shared_loss, shared) = steps[f"{name} on 1"], steps[f"{name} on {devices}"]
    assert shared_loss == pytest.approx(loss, rel=1e-5)
    assert np.linalg.norm(gradient) > 0
    assert np.linalg.norm(shared - gradient) <= 1e-5 * np.linalg.norm(gradient)


def _compare_with_definition(name: str, devices: int, steps: dict[str, tuple[float, np.ndarray]]) -> None:
    rows = _draw_rows()
    probs = np.broadcast_to(1 / (1 + np.exp(-rows["bias"].astype(np.float64))), (N, K))
    assert steps[f"{name} on {devices}"][0] == pytest.approx(DEFINITIONS[name](rows["labels"], probs), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_same_on_two_devices(name: str, steps: dict[str, tuple[float, np.ndarray]]) -> None:
    _compare_with_one_device(name, 2, steps)


@pytest.mark.parametrize("name", get_args(Loss))
@pytest.mark.parametrize("devices", [1, 2])
def test_the_loss_of_a_shared_step_is_that_of_the_whole_batch(
    name: str, devices: int, steps: dict[str, tuple[float, np.ndarray]]
) -> None:
    _compare_with_definition(name, devices, steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_are_the_same_on_four_devices(
    name: str, all_steps: dict[str, tuple[float, np.ndarray]]
) -> None:
    _compare_with_one_device(name, 4, all_steps)
    if name in DEFINITIONS:
        _compare_with_definition(name, 4, all_steps)


def test_the_sum_over_classes_is_k_times_the_mean(steps: dict[str, tuple[float, np.ndarray]]) -> None:
    assert steps["sum on 1"][0] == pytest.approx(K * steps["bce on 1"][0], rel=1e-6)
    assert steps["sum on 1"][1] == pytest.approx(K * steps["bce on 1"][1], rel=1e-4, abs=1e-5)
