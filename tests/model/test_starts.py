"""Trainings from a file or an encoder, on some channels, of a network of one's own, and pre-trainings: JAX, devices."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018, Dataset
from hpa_data.store.store import open_store
from hpa_model import nets
from hpa_model.config import TrainConfig
from hpa_model.nets.backbones import BACKBONES
from hpa_model.training.pretrain import pretrain
from tests.builders import build_store, randomise
from tests.model.backbone import save_random

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
TINY = Dataset(name="tiny", channels=HPA_2018.channels, classes=("a", "b", "c"), height=24, width=24)
NETWORK = """
import keras
from hpa_model.nets.head import add_outputs
def build(image_shape, n_classes, *, image_size):
    inputs = keras.Input(image_shape, dtype="uint8")
    x = keras.layers.Conv2D(6, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.BatchNormalization()(x))
    return keras.Model(inputs, add_outputs(x, n_classes))
"""
PREDICT = """
import sys
import numpy as np
from pathlib import Path
from hpa_model.runs.models import load_model
images, model, answer = map(Path, sys.argv[1:])
np.save(answer, load_model(model).predict_on_batch(np.load(images)))
"""
# Ways to train, as the tests of TensorFlow have them, each stopped and resumed.
RESUMED = (
    "test_stages.py::test_a_run_that_is_stopped_in_either_stage_or_between_them_ends_as_one_that_was_not[constant]",
    "test_stages.py::test_the_head_is_trained_first_and_then_all_at_a_lower_rate",
    "test_pretrain.py::test_a_killed_pretraining_goes_on_to_the_same_weights_whatever_the_labels[gapnet-pl-options0]",
    "test_channels.py::test_a_training_that_was_killed_resumes_on_its_channels",
)


def run_child(backend: str, folder: Path, *words: object, option: str = "-m") -> None:
    """Run a module on a backend, in a folder; or with ``-c`` a script."""
    done = subprocess.run(
        [sys.executable, option, *map(str, words)],
        cwd=folder,
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a store, a file of weights, and a module with a network."""
    folder = tmp_path_factory.mktemp("starts")
    build_store(folder / "a.zarr", TINY, [[1, row % 2, row % 3 == 0] for row in range(12)])
    save_random(str(folder / "w"))
    (folder / "mynets.py").write_text(NETWORK)
    return folder


@pytest.fixture(scope="module")
def steps(folder: Path) -> dict[str, Any]:
    """Hold the first steps of each training on each backend."""
    pytest.importorskip("jax")
    pretrain(open_store(folder / "a.zarr"), TrainConfig(model="gapnet-pl", epochs=1, batch_size=6), folder / "ae")
    found = {}
    for backend in ("tensorflow", "jax"):
        answer = folder / f"{backend}.json"
        run_child(
            *(backend, folder, "tests.model.first_steps", answer),
            *(folder / "a.zarr", folder / "w.weights.h5", folder / "ae"),
        )
        name, found[backend] = json.loads(answer.read_text())
        assert name == backend
    return found


@pytest.mark.parametrize("way", ["pretrain", "file", "encoder", "channels", "custom"])
def test_the_first_losses_are_those_of_tensorflow(way: str, steps: dict[str, Any]) -> None:
    ours, other = steps["tensorflow"][way], steps["jax"][way]
    for stage in ("head", "all") if way != "pretrain" else ("all",):
        assert other[stage] == pytest.approx(ours[stage], abs=1e-4)
        assert ours[stage][0] != pytest.approx(ours[stage][1], abs=1e-4)


@pytest.mark.parametrize("way", ["file", "encoder"])
def test_a_training_starts_from_the_same_weights_as_on_tensorflow(way: str, steps: dict[str, Any]) -> None:
    assert steps["jax"][way]["start"] == steps["tensorflow"][way]["start"]


@pytest.mark.parametrize("way", ["file", "encoder", "channels", "custom"])
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_frozen_backbone_normalizes_by_its_moving_averages_and_keeps_them(
    backend: str, way: str, steps: dict[str, Any]
) -> None:
    found = steps[backend][way]
    assert found["kept"]
    assert found["head"][0] == pytest.approx(found["expected"], abs=1e-5)
    if way in {"file", "custom"}:  # which have batch normalization
        assert found["all"][0] != pytest.approx(found["head"][1], abs=1e-3)


def test_a_training_that_is_stopped_on_jax_ends_as_one_that_was_not() -> None:
    pytest.importorskip("jax")
    folder = ROOT / "tests" / "model" / "training"
    run_child("jax", ROOT, "pytest", "-q", "-p", "no:cacheprovider", *(folder / test for test in RESUMED))


def test_two_devices_train_in_two_stages_and_pretrain_as_one_does_and_resume(folder: Path, tmp_path: Path) -> None:
    answer, weights = tmp_path / "answer.json", folder / "w.weights.h5"
    run_child("tensorflow", folder, "tests.model.two_devices", answer, folder / "a.zarr", weights, tmp_path)
    found = json.loads(answer.read_text())
    assert found.pop("moved") > 1e-3
    assert max(found.pop(name) for name in ("head", "pretrain")) < 1e-6
    assert found == {"stopped2": 0, "stopped4": 0, "ae-stopped": 0}


def test_on_jax_too_all_layers_must_fit_into_memory_first_and_a_batch_size_that_fits_is_named(
    folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jax")
    answer = tmp_path / "answer.json"
    run_child("jax", folder, "tests.model.scarce_memory", answer, folder / "a.zarr", tmp_path)
    found = json.loads(answer.read_text())
    assert set(found) == {"backward", "forward"}
    for steps, message in found.values():
        assert steps == []
        assert message.endswith("Pass --batch-size 3 --overwrite, which fits.")


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, "float32") for name in BACKBONES), ("efficientnetv2-b0", "mixed_bfloat16")]
)
def test_a_network_of_keras_applications_predicts_on_jax_as_on_tensorflow(
    name: str, precision: str, tmp_path: Path
) -> None:
    pytest.importorskip("jax")
    size = BACKBONES[name].min_size
    options = {"scaling": "imagenet"} if name == "densenet121" else {}
    model = nets.build(name, (size, size, 4), 9, options=options, precision=precision)
    randomise(model)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (2, size, size, 4), np.uint8))
    paths = [tmp_path / each for each in ("images.npy", "model.keras", "probs.npy")]
    run_child("jax", tmp_path, PREDICT, *paths, option="-c")
    expected = model.predict_on_batch(np.load(paths[0]))
    assert expected.std() > 0.01
    assert np.load(paths[2]) == pytest.approx(expected, abs=1e-4 if precision == "float32" else 0.02)
