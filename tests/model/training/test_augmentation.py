"""Trainings with augmentation on the device: what they learn from, and that they resume bit for bit."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_data.store.store import Store
from hpa_data.system.progress import SILENT, Progress
from hpa_data.system.records import decode_record, encode_record
from hpa_model.config import TrainConfig, make_config
from hpa_model.runs.folder import read_run
from hpa_model.training.fit import compile_models, fit_fold
from hpa_model.training.job import Checkpointing, Fold, FoldJob
from hpa_model.training.train import train
from tests.model.stopping import TINY, Killed, assert_same_models, stop_at
from tests.model.training.conftest import build_tiny

MIXED = {"policy": "strong", "blur": {"sigma": [0, 20]}, "mixup": {"p": 0.5}, "cutmix": {"p": 0.5}}
OFTEN = Checkpointing(checkpoint_s=0)
AUGMENTED = dataclasses.replace(TINY, symmetries=False, augment=MIXED, deterministic=True)


def fit(reader: Reader, folder: Path, *, progress: Progress = SILENT) -> list[np.ndarray]:
    """Train on one fold; return the last weights."""
    folder.mkdir(exist_ok=True)
    config = dataclasses.replace(AUGMENTED, epochs=1, batch_size=4, augment={"affine": {}, "noise": {}, "mixup": {}})
    keras.utils.set_random_seed(0)
    network = build_tiny(reader.image_shape, 28, image_size=(32, 32))
    fold = Fold(number=0, folder=folder, training=np.arange(10), validation=np.arange(10, 12))
    job = FoldJob(config=config, reader=reader, fold=fold, classes=tuple(map(str, range(28))), progress=progress)
    fit_fold(network, dataclasses.replace(job, checkpointing=OFTEN))
    return network.get_weights()


def test_a_training_with_augmentation_resumes_within_an_epoch(store: Store, tmp_path: Path) -> None:
    with store.reader() as reader:
        whole = fit(reader, tmp_path / "whole")
        with pytest.raises(Killed):
            fit(reader, tmp_path / "run", progress=stop_at(1))
        resumed = fit(reader, tmp_path / "run")
    assert all((one == other).all() for one, other in zip(whole, resumed, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["paper", "strong", MIXED], ids=["paper", "strong", "mixed"])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_training_that_is_killed_three_times_ends_with_the_same_weights(
    augment: str | dict, precision: str, store: Store, tmp_path: Path
) -> None:
    settings = {"augment": augment, "precision": precision, "accumulate_batches": 2, "label_smoothing": 0.1}
    config = dataclasses.replace(AUGMENTED, **settings)
    train(store, config, tmp_path / "whole")
    assert read_run(tmp_path / "whole").config == config
    for batch in (2, 2, 5):
        with pytest.raises(Killed):
            train(store, config, tmp_path / "run", progress=stop_at(batch), checkpointing=OFTEN)
    train(store, config, tmp_path / "run")
    assert_same_models(tmp_path / "whole", tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "devices"), [("jax", 1), ("tensorflow", 2)])
def test_a_training_resumes_on_jax_and_on_two_devices_which_learn_what_one_does(
    backend: str, devices: int, store: Store, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.model.augment.resuming", str(tmp_path / "answer.json"), str(store.location)]
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([*command, str(tmp_path), str(devices)], check=True, env=environment, timeout=900)
    found = json.loads((tmp_path / "answer.json").read_text())
    assert found["stopped"] == [0, 0]
    assert found["moved"] > 1e-3
    if devices == 2:
        assert found["one device"] < 1e-5


def test_symmetries_are_one_setting_under_two_names() -> None:
    new, old = make_config({"augment": "symmetries"}), make_config({"symmetries": True})
    assert new == old
    assert encode_record(new) == encode_record(old)
    assert new.augmentation == "symmetries"
    older = decode_record(TrainConfig, {**encode_record(TrainConfig()), "symmetries": True}, name="config.json")
    assert older == new
    assert decode_record(TrainConfig, encode_record(TrainConfig()), name="config.json").augmentation == "none"


@pytest.mark.slow
def test_a_run_with_symmetries_resumes_under_the_other_name(store: Store, tmp_path: Path) -> None:
    train(store, dataclasses.replace(TINY, epochs=1, batch_size=6), tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    assert b"augment" not in before
    again = dataclasses.replace(TINY, epochs=1, batch_size=6, symmetries=False, augment="symmetries")
    train(store, again, tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    with pytest.raises(InputError, match=r"augment \(none there, paper here\)"):
        train(store, dataclasses.replace(again, symmetries=False, augment="paper"), tmp_path / "run")


def test_a_network_is_compiled_with_what_is_drawn_for_its_channels(store: Store) -> None:
    with store.reader() as reader:
        models = compile_models(
            build_tiny((512, 512, 4), 28, image_size=(32, 32)), AUGMENTED, channels=reader.dataset.channels
        )
    assert models.augmentation is not None
    assert models.augmentation.frame.size == (32, 32)
