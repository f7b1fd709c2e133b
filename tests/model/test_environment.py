"""Settings of Keras and variables of the environment that would change a result: not used, or recorded and told."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model import backend, nets
from hpa_model.config import compare_environments, read_environment
from hpa_model.runs.folder import read_run
from hpa_model.training.train import train
from tests.builders import HPA, assert_refused, hpa_process
from tests.model.stopping import CONFIG, assert_same_models

HOSTILE = {"floatx": "float64", "epsilon": 0.1, "image_data_format": "channels_first", "backend": "tensorflow"}


@pytest.fixture
def hostile_keras(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set Keras as a file or a variable may have."""
    monkeypatch.setattr(backend, "_overridden", {})
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.1)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_max_epochs(1)
    yield
    backend.settle_keras()


@pytest.mark.usefixtures("hostile_keras")
def test_settings_of_keras_that_change_results_are_not_used_and_told() -> None:
    model = nets.build("gapnet", (76, 76, 4), 3, image_size=76)
    assert {str(weight.dtype) for weight in model.trainable_weights} == {"float32"}
    assert model.output_shape == (None, 3)
    settings = (keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format())
    assert settings == ("float32", 1e-7, "channels_last")
    assert keras.config.max_epochs() is None
    (notice,) = backend.list_overridden()
    assert str(notice).startswith("Warning: settings of Keras, from keras.json or a variable KERAS_…, are not used")
    assert "4 settings, for example floatx=float64 (float32 is used)" in str(notice)


def test_a_backend_of_keras_that_was_not_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InputError, match="KERAS_BACKEND must be tensorflow or jax. Received: torch"):
        nets.build("gapnet", (76, 76, 4), 3, image_size=76)


def test_variables_that_may_change_the_numbers_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_environment()
    for name in ("TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "JAX_ENABLE_X64", "XLA_FLAGS", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    for name in ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "JAX_PLATFORMS", "PATH"):
        monkeypatch.setenv(name, "1")
    added = read_environment().keys() - before.keys()
    assert added <= {"TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "JAX_ENABLE_X64", "XLA_FLAGS", "OMP_NUM_THREADS"}
    assert {"TF_XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "JAX_ENABLE_X64"} <= read_environment().keys()
    assert compare_environments(None, {"TF_XLA_FLAGS": "1"}) is None  # a run of an earlier version
    assert compare_environments({"XLA_FLAGS": "1"}, {"XLA_FLAGS": "1"}) is None


def test_what_terraform_keeps_in_its_variables_is_never_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_environment()
    # They begin as those of TensorFlow do, and some are secret.
    for name in ("TF_TOKEN_app_terraform_io", "TF_VAR_password", "TF_HTTP_PASSWORD", "TF_CLI_ARGS_plan", "TF_LOG_PATH"):
        monkeypatch.setenv(name, "secret")
    assert read_environment() == before
    assert compare_environments({"TF_VAR_password": "secret"}, {}) is None  # a run that recorded it


def test_a_run_that_is_resumed_with_other_variables_is_told(
    run: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_run(run).environment == read_environment()
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    monkeypatch.setenv("TF_USE_CUBLASLT", "1")
    notes: list[str] = []
    train(store, CONFIG, copied, progress=Progress(note=notes.append))
    assert (
        "Warning: environment variables that change the numbers differ from when the run was begun, 1 variable"
        in "".join(notes)
    )
    assert "TF_USE_CUBLASLT (unset then, '1' now)" in "".join(notes)
    assert read_run(copied).environment == read_run(run).environment


@pytest.mark.slow
def test_a_training_is_the_same_whatever_keras_json_says(store: Store, tmp_path: Path) -> None:
    for name, settings in (("plain", {}), ("hostile", HOSTILE)):
        home = tmp_path / f"home-{name}"
        home.mkdir()
        (home / "keras.json").write_text(json.dumps(settings))
        words = [HPA, "train", store.path, "--out", tmp_path / name, "--folds", "2", "--epochs", "1", "--batch-size"]
        words += ["4", "--image-size", "76", "--set", "deterministic=true"]
        done = subprocess.run(
            words, env=os.environ | {"KERAS_HOME": str(home)}, capture_output=True, text=True, check=True
        )
        assert ("floatx=float64 (float32 is used)" in done.stderr) == (name == "hostile")
    assert_same_models(tmp_path / "plain", tmp_path / "hostile")
    arrays = [np.load(tmp_path / name / "out_of_fold.npz")["probs"] for name in ("plain", "hostile")]
    assert (arrays[0] == arrays[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backend": "torch"}, "KERAS_BACKEND must be tensorflow or jax"),
        ({"backend": "numpy"}, "KERAS_BACKEND must be tensorflow or jax"),
        ({"epsilon": 1}, "Cannot start Keras: Invalid `epsilon` configuration"),
    ],
)
def test_settings_of_keras_that_cannot_be_used_are_refused_in_one_line(
    settings: dict[str, object], message: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert_refused(hpa_process("train", store.path, "--out", tmp_path / "run", "--epochs", 1), message)
    assert not (tmp_path / "run").exists()
