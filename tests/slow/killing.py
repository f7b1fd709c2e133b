"""Kills of commands in processes of their own, at a step that the test chooses."""

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hpa_data.errors import InputError
from hpa_model.runs.check import verify_run
from hpa_model.runs.checkpoint import read_state
from hpa_model.runs.folder import CHECKPOINT_FILE
from hpa_model.runs.out_of_fold import read_out_of_fold
from tests.builders import HPA
from tests.model.stopping import assert_same_models

# Seconds after which a command counts as one that hangs: on a machine with other work, they are slow.
LIMIT_S = 3600
N_KILLS = 5


def kill_when(
    reached: Callable[[], bool], *words: object, cwd: Path | None = None, program: Sequence[object] = (HPA,)
) -> bool:
    """Run a command and kill it by SIGKILL once `reached`; return whether it was killed, or else had ended well."""
    process = subprocess.Popen(
        [*map(str, program), *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + LIMIT_S
        while process.poll() is None and not reached():
            assert time.monotonic() < deadline, words
            time.sleep(0.01)
    finally:
        process.kill()
    status = process.wait()
    assert status in {0, -signal.SIGKILL}, words
    return status != 0


def finish(*words: object, cwd: Path | None = None, program: Sequence[object] = (HPA,)) -> str:
    """Run a command to its end, which must be a good one; return what it writes to both outputs."""
    done = subprocess.run(
        [*map(str, program), *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def after_checkpoints(out: Path, pattern: str, n: int) -> Callable[[], bool]:
    """Return a function that tells whether so many checkpoints of a run have been written since it was made."""
    seen, last = 0, max((saved.stat().st_mtime for saved in out.glob(pattern)), default=0.0)

    def reached() -> bool:
        nonlocal seen, last
        for saved in out.glob(pattern):
            written = saved.stat().st_mtime
            seen, last = (seen + 1, written) if written > last else (seen, last)
        return seen >= n

    return reached


def kill_five_times(words: Sequence[object], folder: Path, seed: int, program: Sequence[object] = (HPA,)) -> None:
    """Train two folds whole, and killed at five random steps; weights and probabilities must be the same, bit for bit.

    Parameters
    ----------
    words : sequence
        Of the command, but for the run folder.
    folder : Path
        Where the runs `whole` and `killed` are made.
    seed : int
        Of the steps.
    program : sequence
        What runs the command.
    """
    finish(*words, "--checkpoint-minutes", "0", "--out", folder / "whole", program=program)
    rng, out, n_killed, places = random.Random(seed), folder / "killed", 0, []
    while n_killed < N_KILLS:
        reached = after_checkpoints(out, f"fold*/{CHECKPOINT_FILE}", rng.randrange(1, 8))
        n_killed += kill_when(reached, *words, "--checkpoint-minutes", "0", "--out", out, program=program)
        places.append([find_place(out / f"fold{fold}") for fold in range(2)])
    finish(*words, "--checkpoint-minutes", "0", "--out", out, program=program)
    print(f"seed {seed}: killed at epoch and step {places}, of either fold")
    done = verify_run(out)
    assert (done.findings, done.unsealed) == ((), ())
    assert_same_models(folder / "whole", out)
    assert (read_out_of_fold(out).probs == read_out_of_fold(folder / "whole").probs).all()


def find_place(folder: Path) -> tuple[int, int]:
    """Return how many epochs, and steps of the next one, the checkpoint in a folder holds; (0, 0) without one."""
    with contextlib.suppress(FileNotFoundError, InputError):
        state = read_state(folder / CHECKPOINT_FILE)
        return state.epoch, state.step
    return 0, 0


def after_step(folder: Path, epoch: int, step: int) -> Callable[[], bool]:
    """Return a function that tells whether the checkpoint in a folder is of this step, or a later one."""
    return lambda: find_place(folder) >= (epoch, step)
