"""Long tests of searches, for `make test-slow`: kills, several processes, pruning."""

import dataclasses
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.nets import NETS
from hpa_model.nets.catalog import Net
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import CHECKPOINT_FILE, read_run
from hpa_model.sweep.plan import plan_study
from hpa_model.sweep.run import TrialOptions, run_sweep
from hpa_model.sweep.sharing import record_trial
from hpa_model.sweep.study import Study, Trial, is_sweep, read_study, trial_folder
from tests.builders import HPA
from tests.model.training.conftest import build_tiny
from tests.slow.killing import LIMIT_S, find_place, finish, kill_when

pytestmark = pytest.mark.slow

# In the folder where the command runs.
MODULE = """
import keras
from keras import layers

def build(image_shape, n_classes, *, image_size=None, dropout: float = 0.2):
    inputs = keras.Input(image_shape, dtype="uint8")
    x = layers.AveragePooling2D(16)(layers.Rescaling(1 / 255)(inputs))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(x)))
    x = layers.Dense(16, activation="relu", name="head_1")(layers.GlobalAveragePooling2D()(x))
    x = layers.Dropout(dropout, name="head_2")(x)
    return keras.Model(inputs, layers.Dense(n_classes, activation="sigmoid", name="head_3")(x))
"""
SETTINGS = ("batch_size=2", "min_last_batch=1", "duplicates=ignore", "deterministic=true", "bn_momentum=0.5")
Words = Callable[..., tuple[object, ...]]


@pytest.fixture
def words(store: Store, tmp_path: Path) -> Words:
    """Return the words of a command that searches with a network of a few layers, in `tmp_path`."""
    (tmp_path / "tinynet.py").write_text(MODULE)

    def make(out: str, *vary: str) -> tuple[object, ...]:
        common = ("--model", "tinynet:build", "--folds", 2, "--epochs", 2, "--checkpoint-minutes", 0)
        given = [word for text in SETTINGS for word in ("--set", text)]
        varied = [word for text in vary for word in ("--vary", text)]
        return ("sweep", store.path, *common, *given, *varied, "--out", out)

    return make


def list_results(out: Path) -> list[Trial]:
    return [dataclasses.replace(trial, seconds=0) for trial in read_study(out).trials]


def in_trial(out: Path, number: int, fold: int, place: tuple[int, int]) -> Callable[[], bool]:
    """Return a function that tells whether a fold of a trial, that is not finished, has come to an epoch and a step."""
    folder = trial_folder(out, number) / f"fold{fold}"
    return lambda: (folder / CHECKPOINT_FILE).exists() and find_place(folder) >= place


def test_a_search_that_is_killed_twice_has_the_trials_and_the_best_of_one_that_is_not(
    words: Words, tmp_path: Path
) -> None:
    vary = ("dropout=0.1,0.3,0.5", "learning_rate=0.001,0.01", "loss=bce,focal")
    finish(*words("whole", *vary), cwd=tmp_path)
    whole = list_results(tmp_path / "whole")
    assert [trial.state for trial in whole] == ["finished"] * 12
    assert len({trial.score for trial in whole}) > 6  # so that the same scores say something
    rng, out, killed = random.Random(0), tmp_path / "killed", 0
    for first in (1, 6):
        reached = in_trial(out, first + rng.randrange(4), rng.randrange(2), (rng.randrange(2), rng.randrange(1, 3)))
        killed += kill_when(reached, *words("killed", *vary), cwd=tmp_path)
    assert killed == 2
    assert "running" in {trial.state for trial in read_study(out).trials}
    text = finish(*words("killed", *vary), cwd=tmp_path)
    assert list_results(out) == whole
    one, other = (read_study(tmp_path / name) for name in ("whole", "killed"))
    assert one.best is not None
    assert other.best == dataclasses.replace(one.best, seconds=other.best.seconds if other.best else 0)
    assert (out / "best.toml").read_text() == (tmp_path / "whole" / "best.toml").read_text().replace("whole", "killed")
    assert f"Best run: killed/trials/{one.best.number:03}" in text
    for trial in whole:
        run = trial_folder(out, trial.number)
        assert (verify_run(run).findings, verify_run(run).unsealed) == ((), ())
    assert sorted(path.name for path in (out / "trials").iterdir()) == [f"{number:03}" for number in range(12)]


def test_kills_at_any_moment_leave_a_study_that_goes_on(words: Words, tmp_path: Path) -> None:
    vary = ("learning_rate=0.001,0.01,0.1",)
    finish(*words("whole", *vary), cwd=tmp_path)
    rng = random.Random(1)
    for _ in range(8):
        started, after = time.monotonic(), rng.uniform(0.5, 12)
        kill_when(
            lambda started=started, after=after: time.monotonic() > started + after, *words("a", *vary), cwd=tmp_path
        )  # type: ignore[misc]
        if is_sweep(tmp_path / "a"):
            read_study(tmp_path / "a")
    finish(*words("a", *vary), cwd=tmp_path)
    assert list_results(tmp_path / "a") == list_results(tmp_path / "whole")


def start(words: tuple[object, ...], cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [HPA, *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def list_begun(err: str) -> list[int]:
    """List the trials that a process began."""
    return [int(number) for number in re.findall(r"^Trial (\d+) of ", err, re.MULTILINE)]


def test_two_processes_on_one_study_do_each_trial_once(words: Words, tmp_path: Path) -> None:
    vary = ("dropout=0.1,0.3,0.5", "learning_rate=0.001,0.01")
    processes = [start(words("both", *vary), tmp_path) for _ in range(2)]
    errors = [process.communicate(timeout=LIMIT_S)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    begun = [list_begun(err) for err in errors]
    assert all(begun), "one process did all"
    assert sorted(begun[0] + begun[1]) == list(range(6))
    finish(*words("whole", *vary), cwd=tmp_path)
    assert list_results(tmp_path / "both") == list_results(tmp_path / "whole")


def test_the_trial_of_a_process_that_is_killed_is_taken_over_and_that_of_a_suspended_one_is_not(
    words: Words, tmp_path: Path
) -> None:
    vary, out = ("learning_rate=0.001,0.01,0.1,0.2",), tmp_path / "a"
    first = start(words("a", *vary), tmp_path)
    try:
        while not in_trial(out, 0, 0, (0, 1))():
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        text = finish(*words("a", *vary), cwd=tmp_path)
        assert list_begun(text) == [1, 2, 3]
        assert [trial.state for trial in list_results(out)] == ["running", "finished", "finished", "finished"]
    finally:
        first.kill()
        first.communicate()
    text = finish(*words("a", *vary), cwd=tmp_path)
    assert list_begun(text) == [0]
    finish(*words("whole", *vary), cwd=tmp_path)
    assert list_results(out) == list_results(tmp_path / "whole")


@pytest.fixture
def pruned(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Study, Path]:
    """Plan a search whose sixth trial learns nothing."""
    monkeypatch.setitem(NETS, "tiny", Net(build=build_tiny, summary="of these tests", min_size=lambda **_: 3))
    settings = {"model": "tiny", "folds": 2, "epochs": 5, "batch_size": 3, "image_size": 16, "duplicates": "ignore"}
    rates = "learning_rate=0.01,0.02,0.03,0.04,0.05,1e-9"
    return plan_study(store, settings, [rates], metric="val_loss", prune="median"), tmp_path / "sweep"


def test_a_hopeless_trial_ends_early_is_marked_and_is_not_resumed(store: Store, pruned: tuple[Study, Path]) -> None:
    wanted, out = pruned
    study = run_sweep(store, wanted, out)
    *others, last = study.trials
    assert [trial.state for trial in others] == ["finished"] * 5
    assert (last.state, last.epochs) == ("pruned", 2)  # after the first fifth of five epochs
    assert last.reason == "worse than the median of 5 trials after epoch 2 of fold 0"
    folder = trial_folder(out, 5)
    assert '"state": "pruned"' in (folder / "trial.json").read_text()
    assert read_run(folder).config == dataclasses.replace(
        TrainConfig(**wanted.settings | last.settings), duplicates="ignore"
    )
    steps: list[int] = []
    options = TrialOptions(progress=Progress(advance=steps.append))
    assert run_sweep(store, wanted, out, options=options) == study
    # As if the process had been killed before it recorded the end.
    record_trial(out, dataclasses.replace(last, state="running", score=None, reason=""))
    assert run_sweep(store, wanted, out, options=options) == study
    assert steps == []
