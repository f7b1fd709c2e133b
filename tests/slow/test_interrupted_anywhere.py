"""Ctrl-C and SIGTERM at random moments, from the first millisecond on: a status, a word, and no traceback."""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import HPA, assert_same_bytes, hpa_process, make_rows, make_run

pytestmark = pytest.mark.slow

WORDS = {signal.SIGINT: "Interrupted.", signal.SIGTERM: "Terminated."}


def interrupt(words: list[object], number: signal.Signals, moment: float) -> tuple[int, str]:
    """Run a command, and send a signal to it and its workers, as a terminal does; return its status and stderr."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored signals are inherited
    try:
        process = subprocess.Popen(
            [HPA, *map(str, words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(moment)
    if process.poll() is None:
        os.killpg(process.pid, number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


def check(ended: tuple[int, str], number: signal.Signals) -> None:
    status, err = ended
    if "Fatal Python error: init_import_site" in err:
        return  # Python itself had not started yet
    # Python gives a signal back to the system some milliseconds before it ends; shells report that as the same status.
    assert status in {0, 128 + number, -number}, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    if status == 128 + number:
        assert err.endswith(f"{WORDS[number]}\n")


@pytest.mark.parametrize("seed", range(20))
def test_a_conversion_with_workers_is_interrupted_at_any_moment_and_finishes_later(
    seed: int, kaggle: Path, store: Store, tmp_path: Path
) -> None:
    """The moments begin before the libraries are loaded, in this process and in its workers."""
    drawn = random.Random(seed)
    number = drawn.choice(list(WORDS))
    words = ["convert", kaggle / "train", tmp_path / "a.zarr", "--labels", kaggle / "train.csv", "--workers", 2]
    check(interrupt(words, number, drawn.uniform(0, 4)), number)
    assert hpa_process(*words).status == 0
    assert_same_bytes(tmp_path / "a.zarr" / "train", store.path / "train")


@pytest.mark.parametrize("seed", range(20))
def test_a_command_that_loads_keras_is_interrupted_at_any_moment(
    seed: int, kaggle: Path, store: Store, tmp_path: Path
) -> None:
    drawn = random.Random(100 + seed)
    number = drawn.choice(list(WORDS))
    words = drawn.choice(
        [
            ["train", store.path, "--out", tmp_path / "run", "--image-size", 76, "--folds", 2, "--epochs", 1],
            ["evaluate", make_run(tmp_path / "made", make_rows())],
            ["bench", "step", store.path],
        ]
    )
    check(interrupt(words, number, drawn.uniform(0, 8)), number)
    shutil.rmtree(tmp_path)
