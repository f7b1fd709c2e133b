"""Several processes that write to one store or run at the same time: nothing is lost (`make test-slow`)."""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.slow.contents import digest_folder
from tests.slow.faults import REPOSITORY
from tests.slow.scenes import CONVERT, TRAIN, damage, write_source

pytestmark = pytest.mark.slow

N_ROUNDS = 4
"""Of four writers: of one part, and two each of two parts, in turn."""


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command in a folder."""
    program = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import cli; cli.main()"]
    return subprocess.Popen([*program, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> list[int]:
    """Wait for commands; each ends well, or with one line about another writer."""
    statuses = []
    for process in processes:
        _, err = process.communicate(timeout=600)
        lines = [line for line in err.splitlines() if line.startswith("Error: ")]
        if process.returncode == 2:
            assert len(lines) == 1, err
            assert "is writing to it" in lines[0], err
        else:
            assert process.returncode == 0, err
        statuses.append(process.returncode)
    return statuses


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the files to convert."""
    write_source(tmp_path / "here", all_good=True)
    return tmp_path / "here"


def test_two_and_four_writers_of_one_part_and_of_two_parts_lose_nothing(folder: Path, tmp_path: Path) -> None:
    assert finish(start(folder, *CONVERT), start(folder, *CONVERT))  # one of them, or both in turn
    assert finish(start(folder, *CONVERT)) == [0]
    assert finish(start(folder, *CONVERT, "--part", "other")) == [0]
    wanted = digest_folder(folder)
    n_refused = 0
    for seed in range(N_ROUNDS):
        rng = random.Random(seed)
        shutil.rmtree(folder / "hpa.zarr")
        parts = [("--part", "other")] * 2 + [("--part", "train")] * 2 if seed % 2 else [("--part", "train")] * 4
        running = []
        for part in parts:
            running.append(start(folder, *CONVERT, *part))
            time.sleep(rng.random() * 0.3)
        n_refused += finish(*running).count(2)
        for part in ("train", "other"):
            assert finish(start(folder, *CONVERT, "--part", part)) == [0]
        assert digest_folder(folder) == wanted
    assert n_refused
    print(f"{n_refused} of {4 * N_ROUNDS} writers refused")


def test_two_trainings_into_one_run_give_the_weights_of_one(folder: Path) -> None:
    assert finish(start(folder, *CONVERT)) == [0]
    assert finish(start(folder, *TRAIN)) == [0]
    wanted = digest_folder(folder)
    shutil.rmtree(folder / "run")
    statuses = finish(start(folder, *TRAIN), start(folder, *TRAIN), start(folder, *TRAIN))
    assert 0 in statuses
    assert digest_folder(folder) == wanted
    print(f"three trainings into one run end with {statuses}")


def test_a_repair_and_an_overwriting_while_training_reads_change_no_weight(folder: Path) -> None:
    assert finish(start(folder, *CONVERT)) == [0]
    assert finish(start(folder, *TRAIN)) == [0]
    wanted = digest_folder(folder)
    for command in (("verify", "hpa.zarr", "--source", "source", "--repair"), (*CONVERT, "--overwrite")):
        shutil.rmtree(folder / "run")
        training = start(folder, *TRAIN)
        while training.poll() is None and not (folder / "run" / "fold0" / "checkpoint.npz").exists():
            time.sleep(0.01)
        if command[0] == "verify":
            damage(folder / "hpa.zarr", lost=False)
        assert finish(start(folder, *command)) == [0]
        _, err = training.communicate(timeout=600)
        if training.returncode == 2:  # the damaged sample was read before it was repaired
            assert "Traceback" not in err
            assert finish(start(folder, *TRAIN)) == [0]
        else:
            assert training.returncode == 0, err
        assert digest_folder(folder) == wanted, command
