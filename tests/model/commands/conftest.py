"""A run that the command `hpa train` made."""

import json
import shutil
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Ended, hpa_process
from tests.sharing import make_once


@pytest.fixture(scope="session")
def trained(store: Store, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """Hold the folder of a run over two folds, not to be changed, and how the command that made it ended."""

    def make(folder: Path) -> None:
        options = ("--folds", 2, "--epochs", 1, "--image-size", 76, "--batch-size", 6, "--out", "run")
        ended = hpa_process("train", store.path, "--model", "gapnet", *options, cwd=folder)
        assert ended.status == 0, ended.err
        (folder / "ended.json").write_text(json.dumps(ended))

    folder = make_once(tmp_path_factory, "trained", make)
    run = Path(shutil.copytree(folder / "run", tmp_path_factory.mktemp("trained") / "run"))  # it may be scored again
    return run, Ended(*json.loads((folder / "ended.json").read_text()))


@pytest.fixture(scope="session")
def run(trained: tuple[Path, Ended]) -> Path:
    """Hold the folder of a run over two folds; not to be changed."""
    return trained[0]
