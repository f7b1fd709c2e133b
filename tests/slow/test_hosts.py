"""Trainings over two hosts, here two processes: they are those of one process, and end and go on together."""

import csv
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.system.hosts import find_free_port
from tests.builders import HPA, build_store

pytestmark = pytest.mark.slow

# Without dropout, as devices round in another order, and differences would grow. 24 samples train, in 3 steps.
SETTINGS = {
    **{"model": "gapnet", "options.dropout": 0, "optimizer": "sgd", "learning_rate": 0.01, "batch_size": 8},
    **{"folds": 2, "fold_method": "contiguous", "duplicates": "ignore"},
}
AUGMENTED = {"augment.policy": "strong", "augment.mixup.p": 0.5, "options.dropout": 0.4, "sampling": "sqrt"}
PATIENCE_S = 600


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of 48 images of 96 pixels."""
    labels = np.random.default_rng(3).random((48, 28)) < 0.1
    labels[:, 0] |= ~labels.any(axis=1)
    return build_store(tmp_path_factory.mktemp("hosts") / "a.zarr", HPA_2018.resized(96, 96), labels).path  # type: ignore[return-value]


def start(out: Path, store: Path, *words: object, **settings: object) -> subprocess.Popen[str]:
    """Start the training of fold 0."""
    chosen = {name.replace("__", "."): value for name, value in (SETTINGS | settings).items()}
    flags = [word for name, value in chosen.items() for word in ("--set", f"{name}={value}")]
    return subprocess.Popen(
        [str(word) for word in (HPA, "train", store, "--out", out, "--fold", 0, *flags, *words)],
        env=os.environ | {"KERAS_BACKEND": "jax"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_two(out: Path, store: Path, **settings: object) -> list[subprocess.Popen[str]]:
    """Start a training over two hosts, the second of which has another folder."""
    coordinator = f"127.0.0.1:{find_free_port('127.0.0.1')}"
    return [
        start(
            out if index == 0 else out.with_name("unused"),
            store,
            *("--coordinator", coordinator, "--host-index", index, "--hosts", 2),
            **settings,
        )
        for index in range(2)
    ]


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str]]:
    """Wait for processes; return their statuses, and what they wrote."""
    texts = [process.communicate(timeout=PATIENCE_S) for process in processes]
    return [(process.returncode, out + err) for process, (out, err) in zip(processes, texts, strict=True)]


def read_history(run: Path, column: str = "loss") -> np.ndarray:
    """Read a column of the history of fold 0."""
    with (run / "fold0" / "history.csv").open() as file:
        return np.array([float(row[column]) for row in csv.DictReader(file)])


@contextmanager
def in_third_epoch(out: Path, store: Path, **settings: object) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a long training over two hosts, and wait until two of its epochs are over."""
    processes = start_two(out, store, epochs=500, **settings)
    try:
        ends_s = time.monotonic() + PATIENCE_S
        while not (out / "fold0" / "history.csv").exists() or len(read_history(out)) < 2:
            assert all(process.poll() is None for process in processes), finish(*processes)
            assert time.monotonic() < ends_s
            time.sleep(0.05)
        yield processes
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("augmented", [False, True])
def test_two_hosts_train_as_one_process_does_and_the_second_writes_nothing(
    tmp_path: Path, store: Path, augmented: bool
) -> None:
    settings = {name.replace(".", "__"): value for name, value in AUGMENTED.items()} if augmented else {}
    ((status, text),) = finish(start(tmp_path / "one", store, epochs=1, **settings))
    assert status == 0, text
    (first, second) = finish(*start_two(tmp_path / "two", store, epochs=1, **settings))
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert "Training over 2 hosts with 2 devices: 4 images of each batch per device" in first[1]
    assert "Host 2 of 2 has done its share. The first host has the run." in second[1]
    assert not (tmp_path / "unused").exists()
    for column in ("loss", "val_loss"):
        one, two = (read_history(tmp_path / name, column) for name in ("one", "two"))
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_host_ends_the_other_with_a_line_and_one_host_goes_on(
    tmp_path: Path, store: Path, victim: int
) -> None:
    with in_third_epoch(tmp_path / "run", store, learning_rate=0.001) as processes:
        processes[victim].kill()
        ended = finish(*processes)
    assert ended.pop(victim)[0] == -signal.SIGKILL
    ((status, text),) = ended
    name = "the first host" if victim == 0 else "host 2 of 2"
    assert status == 2, text
    assert f"Error: Cannot go on: {name} was lost. Start the same command on all hosts again" in text
    n_epochs = len(read_history(tmp_path / "run"))
    alone = start(tmp_path / "run", store, epochs=500, learning_rate=0.001)
    try:
        while len(read_history(tmp_path / "run")) < n_epochs + 2:
            assert alone.poll() is None, finish(alone)
            time.sleep(0.05)
    finally:
        alone.kill()
        alone.communicate()
    ((status, text),) = finish(start(tmp_path / "whole", store, epochs=n_epochs + 1, learning_rate=0.001))
    assert status == 0, text
    # Sums are rounded in another order, and batch normalization over eight images lets that grow: in one process whose
    # first weights are changed by 1e-7, losses differ by 7e-5 in epoch 3 and by 1.6e-3 in epoch 5, validation losses by
    # 2e-6 and 1.5e-5.
    for column, atol in (("loss", 5e-3), ("val_loss", 1e-4)):
        found = read_history(tmp_path / "run", column)[: n_epochs + 1]
        np.testing.assert_allclose(found, read_history(tmp_path / "whole", column), rtol=0, atol=atol)


def test_a_signal_to_any_host_stops_all_after_a_checkpoint_and_two_go_on(tmp_path: Path, store: Path) -> None:
    with in_third_epoch(tmp_path / "run", store) as processes:
        processes[1].terminate()
        first, second = finish(*processes)
    assert first[0] == second[0] == 128 + signal.SIGTERM, (first, second)
    assert "Finished work is kept in" in first[1]
    assert "the first host has ended: Terminated. Start the same command on all hosts again" in second[1]
    n_epochs = len(read_history(tmp_path / "run"))
    with in_third_epoch(tmp_path / "run", store) as processes:
        while len(read_history(tmp_path / "run")) < n_epochs + 1:
            assert all(process.poll() is None for process in processes), finish(*processes)
            time.sleep(0.05)


def test_hosts_with_other_settings_are_refused(tmp_path: Path, store: Path) -> None:
    coordinator = f"127.0.0.1:{find_free_port('127.0.0.1')}"
    words = ("--coordinator", coordinator, "--hosts", 2)
    first, second = finish(
        start(tmp_path / "a", store, *words, "--host-index", 0),
        start(tmp_path / "b", store, *words, "--host-index", 1, seed=7),
    )
    assert (first[0], second[0]) == (2, 2)
    assert "settings must be the same on all hosts. Received: other seed than on the first host." in second[1]
    assert "host 2 of 2 has ended: settings must be the same on all hosts." in first[1]
