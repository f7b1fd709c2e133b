"""Processes that train different folds of one run at the same time (`make test-slow`)."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.slow.contents import digest_folder
from tests.slow.faults import REPOSITORY
from tests.slow.scenes import CONVERT, TRAIN, write_source

pytestmark = pytest.mark.slow

LIMIT_S = 600
"""Seconds after which a command counts as one that hangs."""

OF_COMMAND = ("run/config.json", "run/report.html")
"""Files that hold the command line."""


def start(
    folder: Path, *words: str, out: str = "run", environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a training in a folder."""
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import cli; cli.main()"]
    words = tuple(out if word == "run" else word for word in (*TRAIN, *words))
    return subprocess.Popen(
        [*program, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(environment or {}),
    )


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    """Wait for a training; return what it prints."""
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out + err


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file exists, or a process has ended."""
    deadline = time.monotonic() + LIMIT_S
    while not path.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def digest_run(folder: Path) -> dict[str, str]:
    """Digest a run, without the command line that its first process had."""
    found = digest_folder(folder)
    config = json.loads((folder / "run" / "config.json").read_text())
    del config["origin"]
    return {name: value for name, value in found.items() if name not in OF_COMMAND} | {"config": json.dumps(config)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Convert a store, and train both folds of a run in one process."""
    folder = tmp_path_factory.mktemp("folds") / "here"
    write_source(folder, all_good=True)
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import cli; cli.main()"]
    subprocess.run([*program, *CONVERT], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wanted(folder: Path) -> dict[str, str]:
    """Digest the run of one process."""
    finish(start(folder))
    found = digest_run(folder)
    shutil.rmtree(folder / "run")
    return found


@pytest.fixture(autouse=True)
def no_run(folder: Path) -> None:
    """Remove the run of the test before."""
    shutil.rmtree(folder / "run", ignore_errors=True)


def test_two_processes_at_once_give_the_run_of_one(folder: Path, wanted: dict[str, str]) -> None:
    rng = random.Random(0)
    for words in (("0", "1"), ("1", "0"), ("0", "1")):
        shutil.rmtree(folder / "run", ignore_errors=True)
        processes = []
        for fold in words:
            processes.append(start(folder, "--fold", fold))
            time.sleep(rng.random())
        printed = [finish(process) for process in processes]
        assert sum("Macro-F1 over" in text for text in printed) == 1
        assert sum("Not finished: fold " in text for text in printed) == 1
        assert digest_run(folder) == wanted


def test_a_process_that_is_killed_at_any_moment_blocks_nobody(folder: Path, wanted: dict[str, str]) -> None:
    rng, n_killed = random.Random(1), 0
    for _ in range(8):
        shutil.rmtree(folder / "run", ignore_errors=True)
        processes = [start(folder, "--fold", fold, "--checkpoint-minutes", "0") for fold in ("0", "1")]
        wait_for(folder / "run" / "config.json", processes[1])
        time.sleep(rng.random() * 6)
        processes[1].kill()
        n_killed += processes[1].wait() == -signal.SIGKILL
        processes[1].communicate()
        finish(processes[0])
        finish(start(folder, "--fold", "1"))
        assert digest_run(folder).keys() == wanted.keys()
        assert {name for name, value in digest_run(folder).items() if wanted[name] != value} <= {
            "run/fold1/checkpoint.npz",  # sums of fewer steps each, see `contents.assert_same_work`
            "run/fold1/history.csv",
        }
    assert n_killed


def test_ctrl_c_in_one_of_two_leaves_a_fold_that_resumes(folder: Path, wanted: dict[str, str]) -> None:
    processes = [start(folder, "--fold", fold) for fold in ("0", "1")]
    wait_for(folder / "run" / "fold1" / "checkpoint.npz", processes[1])
    processes[1].send_signal(signal.SIGINT)
    text = finish(processes[1], 130)
    assert "Interrupted" in text
    finish(processes[0])
    assert not list(folder.rglob("run/**/.*"))
    finish(start(folder))
    assert digest_run(folder).keys() == wanted.keys()


def test_the_same_fold_twice_is_refused_in_one_line(folder: Path, wanted: dict[str, str]) -> None:
    first = start(folder, "--fold", "0")
    wait_for(folder / "run" / "fold0" / ".lock", first)
    while (folder / "run" / ".lock").exists():  # it still begins the run
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)
    text = finish(start(folder, "--fold", "0"), 2)
    first.send_signal(signal.SIGCONT)
    assert f"Cannot train fold 0 of run: process {first.pid} on " in text
    finish(first)
    finish(start(folder, "--fold", "1"))
    assert digest_run(folder) == wanted


def test_two_processes_at_once_give_the_run_of_one_on_jax(folder: Path) -> None:
    pytest.importorskip("jax")
    on_jax = {"KERAS_BACKEND": "jax"}
    finish(start(folder, environment=on_jax))
    wanted = digest_run(folder)
    shutil.rmtree(folder / "run")
    processes = [start(folder, "--fold", fold, environment=on_jax) for fold in ("0", "1")]
    for process in processes:
        finish(process)
    assert digest_run(folder) == wanted
