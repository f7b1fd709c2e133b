"""A thousand single bits are flipped in the files of a part, of a run and of a baseline (`make test-slow`)."""

import random
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.store.store import Store
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.config import TrainConfig
from hpa_model.training.baseline import train_baseline
from hpa_model.training.train import train
from tests.builders import build_store
from tests.flips import flip_run, flip_store

pytestmark = pytest.mark.slow

N_FLIPS = 1000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Write a store of 70 samples of 32 pixels, in two shards."""
    labels = np.random.default_rng(0).random((70, 28)) < 0.2
    return build_store(tmp_path_factory.mktemp("flips") / "a.zarr", HPA_2018.resized(32, 32), labels)


def test_no_bit_of_a_part_changes_what_is_read_in_silence(store: Store, tmp_path: Path) -> None:
    counts = flip_store(store.path, tmp_path / "a.zarr", n_flips=N_FLIPS, rng=random.Random(21))
    print(f"part: {dict(counts)}")
    assert sum(counts.values()) == N_FLIPS
    assert counts["silent"] == 0


def test_no_bit_of_a_run_changes_what_is_read_in_silence(store: Store, tmp_path: Path) -> None:
    config = TrainConfig(model="deepyeast", folds=2, epochs=1, batch_size=16, image_size=32)
    train(store, config, tmp_path / "run")
    counts = flip_run(tmp_path / "run", tmp_path / "scratch", n_flips=N_FLIPS, rng=random.Random(22), folds=2)
    print(f"run: {dict(counts)}")
    assert sum(counts.values()) == N_FLIPS
    assert counts["silent"] == 0


def test_no_bit_of_a_baseline_changes_what_is_read_in_silence(store: Store, tmp_path: Path) -> None:
    train_baseline(store, TrainConfig(folds=2), tmp_path / "run", settings=BaselineSettings(n_trees=20, image_size=32))
    counts = flip_run(tmp_path / "run", tmp_path / "scratch", n_flips=N_FLIPS, rng=random.Random(23), folds=2)
    print(f"baseline: {dict(counts)}")
    assert sum(counts.values()) == N_FLIPS
    assert counts["silent"] == 0
