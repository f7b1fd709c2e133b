"""A run that the command `hpa train` made."""

from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Ended, hpa_process


@pytest.fixture(scope="session")
def trained(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Hold the folder of a run over two folds, not to be changed, and how the command that made it ended."""
    folder = tmp_path_factory.mktemp("trained")
    options = ("--folds", 2, "--epochs", 1, "--image-size", 76, "--batch-size", 6, "--out", "run")
    ended = hpa_process("train", store.path, "--model", "gapnet", *options, cwd=folder)
    return folder / "run", ended


@pytest.fixture(scope="session")
def run(trained: tuple[Path, Ended]) -> Path:
    """Hold the folder of a run over two folds; not to be changed."""
    assert trained[1].status == 0, trained[1].err
    return trained[0]
