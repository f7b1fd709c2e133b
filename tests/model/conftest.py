"""A finished run that tests share."""

import shutil
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_model.training.train import train
from tests.model.stopping import CONFIG
from tests.sharing import make_once


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that is not interrupted. Tests must not change it."""
    made = make_once(tmp_path_factory, "runs", lambda folder: train(store, CONFIG, folder / "run")) / "run"
    # Its lock is taken where it is scored again.
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("runs") / "run"))
