"""A finished run that tests share."""

from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_model.training.train import train
from tests.model.stopping import CONFIG


@pytest.fixture(scope="session")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run that is not interrupted. Tests must not change it."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(store, CONFIG, out)
    return out
