"""Real files to test with: planes, label tables, stores, and the real samples where they exist; the command."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from hpa_data.store.store import Store, open_store
from tests.builders import Ended, Hpa, convert, draw_image, write_sample, write_table
from tests.sharing import make_once

# Imports make no garbage, but to look for it takes a third of their time.
gc.disable()

# Written by earlier versions, to be read by this one; the script in it runs on its own version alone.
collect_ignore_glob = ["fixtures/*"]

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
N_SAMPLES = 12

# Whoever starts the tests in the background of a shell lets them ignore Ctrl-C, and commands would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What Dask sets for good in a process that starts workers in processes.
SET_BY_DASK = ("MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@pytest.fixture(autouse=True, scope="module")
def _forget_what_dask_sets() -> Iterator[None]:
    """Let the tests of a file see no variables that another one left: runs record them."""
    unset = [name for name in SET_BY_DASK if name not in os.environ]
    yield
    for name in unset:
        os.environ.pop(name, None)


def pytest_collection_finish() -> None:
    """Look for garbage again, but no longer among what was imported and collected: a million objects, which stay."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the real samples where there are none."""
    for item in items:
        if item.get_closest_marker("realdata") and not REAL_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="no real samples in ../shared/data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    return REAL_DATA


def write_kaggle(folder: Path) -> None:
    for index in range(N_SAMPLES):
        write_sample(folder / "train", f"sample-{index:02}", draw_image(index))
    # Ids of the table out of alphabetical order, classes 0 to 3.
    order = [f"sample-{index:02}" for index in reversed(range(N_SAMPLES))]
    write_table(folder / "train.csv", {name: f"{row % 3} 3" for row, name in enumerate(order)})
    for index in range(3):
        write_sample(folder / "test", f"new-{index}", draw_image(100 + index))
    write_table(folder / "sample_submission.csv", {f"new-{i}": "0" for i in (2, 0, 1)}, target="Predicted")


@pytest.fixture(scope="session")
def kaggle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 12 labeled samples in ``train``, 3 unlabeled ones in ``test``, and both tables; not to be changed."""
    return make_once(tmp_path_factory, "kaggle", write_kaggle)


@pytest.fixture(scope="session")
def store(kaggle: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold parts ``train`` (12 samples) and ``test`` (3, without labels); not to be changed."""

    def make(folder: Path) -> None:
        convert(kaggle / "train", folder / "hpa.zarr", labels=kaggle / "train.csv")
        convert(kaggle / "test", folder / "hpa.zarr", part="test")

    return open_store(make_once(tmp_path_factory, "store", make) / "hpa.zarr")


@pytest.fixture
def hpa(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hpa:
    """Run the command `hpa` in this process, which saves its start."""

    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["hpa", *map(str, words)])
        monkeypatch.setenv("GLIBC_TUNABLES", "")  # or the command would start itself again in place of the tests
        handlers = {number: signal.getsignal(number) for number in cli.SIGNALS}
        with pytest.raises(SystemExit) as end:
            cli.main()
        for number, handler in handlers.items():  # the program keeps its own until it ends
            signal.signal(number, handler)
        out, err = capsys.readouterr()
        return Ended(int(end.value.code or 0), out, err)

    return run
