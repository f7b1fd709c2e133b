"""Trainings with everything on that are killed at random steps, and shared by two devices, for `make test-slow`."""

import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

from hpa_data.synth import write_samples
from hpa_model.runs.models import load_model
from tests.builders import HPA, convert
from tests.slow.killing import finish, kill_five_times

pytestmark = pytest.mark.slow

TWO_DEVICES = (sys.executable, "-m", "tests.slow.hpa_on_devices", "2")
# Five steps an epoch: two batches whose gradients are averaged may lie in two epochs. The warm-up ends within an epoch.
EVERYTHING = {
    **{"image_size": 32, "folds": 2, "epochs": 4, "batch_size": 8, "bn_momentum": 0.8, "seed": 5},
    **{"schedule": "cosine", "warmup_epochs": 1.5, "learning_rate": 0.003, "clip_norm": 1.0, "ema": 0.8},
    **{"accumulate_batches": 2, "label_smoothing": 0.1, "class_weights": "sqrt", "keep": "highest_macro_f1"},
    **{"sampling": "balanced", "deterministic": "true"},
    **{"augment.policy": "strong", "augment.mixup.p": 0.5, "augment.cutmix.p": 0.3},
}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.01, "loss": "asymmetric"}
MUON = {"optimizer": "muon", "weight_decay": 0.01, "l2": 1e-4, "loss": "focal"}


# With dropout and batch normalization; and without, for each device normalizes its share of a batch, and drops others.
# Two devices would skip one sample of an odd number in each epoch.
NORMALIZED = {"model": "gapnet", "options.stride": 1, "options.padding": "same"}
PLAIN = {"model": "gapnet-pl", "options.dropout": 0, "min_last_batch": 1, "fold_method": "contiguous"}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of 72 synthetic samples."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_samples(folder / "samples", n_samples=72, seed=0, uniform=True)
    convert(folder / "samples" / "train", folder / "a.zarr", labels=folder / "samples" / "train.csv")
    return folder / "a.zarr"


@pytest.fixture
def seed() -> int:
    """Draw a seed for the steps at which processes are killed; HPA_KILL_SEED repeats one."""
    return int(os.environ.get("HPA_KILL_SEED", random.SystemRandom().randrange(2**32)))


def write_words(store: Path, settings: dict[str, object]) -> list[object]:
    """Write the command that trains with some settings."""
    flags = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return ["train", store, *flags]


# Keras's backend, the devices that share each batch, and the settings that differ.
CASES: dict[str, tuple[str, int, dict[str, object]]] = {
    f"{settings['optimizer']} on {devices} of {backend}": (backend, devices, settings)
    for backend, devices in (("tensorflow", 1), ("jax", 1), ("tensorflow", 2))
    for settings in (ADAMW, MUON)
}


@pytest.mark.parametrize("case", CASES)
def test_five_kills_at_random_steps_with_everything_on_change_no_weight(
    case: str, synthetic: Path, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, devices, settings = CASES[case]
    monkeypatch.setenv("KERAS_BACKEND", backend)
    # JAX compiles for a minute in each process, and again where it does not find what the one before has compiled.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    words = write_words(synthetic, EVERYTHING | NORMALIZED | settings | {"devices": devices})
    kill_five_times(words, tmp_path, seed, program=(HPA,) if devices == 1 else TWO_DEVICES)


# How far weights may differ that began the same and were trained on one and on two devices, which add up in another
# order. What they learn moves them by about the learning rate in each of ten changes.
BOUNDS = {"sgd": 1e-6, "adamw": 5e-6, "muon": 5e-6}


@pytest.mark.parametrize("optimizer", BOUNDS)
def test_two_devices_train_as_one_does_with_everything_on(
    optimizer: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    settings = EVERYTHING | PLAIN | ADAMW | {"optimizer": optimizer}
    for devices in (1, 2):
        words = write_words(synthetic, settings | {"devices": devices})
        finish(*words, "--out", tmp_path / str(devices), program=TWO_DEVICES)
    for fold in range(2):
        one, other = (load_model(tmp_path / name / f"fold{fold}" / "last.keras").get_weights() for name in "12")
        difference = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))
        print(f"{optimizer}, fold {fold}: {difference:.1e}")
        assert difference <= BOUNDS[optimizer]
