"""Searching with a network of a few layers."""

import dataclasses
import json
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import load_recipe, make_config
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import find_kept, read_history
from hpa_model.sweep.run import TrialOptions, run_sweep
from hpa_model.sweep.study import Study, read_study, trial_folder
from hpa_model.sweep.table import describe_caution, draw_table
from hpa_model.training.job import Checkpointing
from tests.builders import Hpa, assert_refused
from tests.model.stopping import Killed, stop_at
from tests.model.sweep.conftest import Plan


def strip_time(study: Study) -> list[object]:
    """Return the trials without the seconds that they took."""
    return [dataclasses.replace(trial, seconds=0) for trial in study.trials]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture
def sweep(store: Store, plan: Plan, folder: Path) -> Path:
    """Hold a search of two trials that was not interrupted."""
    if not (folder / "whole").exists():
        run_sweep(store, plan(), folder / "whole")
    return folder / "whole"


def test_each_trial_is_a_run_and_the_best_is_a_recipe(sweep: Path) -> None:
    study = read_study(sweep)
    assert [trial.state for trial in study.trials] == ["finished", "finished"]
    for trial in study.trials:
        run = trial_folder(sweep, trial.number)
        assert (verify_run(run).findings, verify_run(run).unsealed) == ((), ())
        config = read_run(run).config
        assert config.learning_rate == trial.settings["learning_rate"]
        kept = [find_kept(history, config.keep).val_macro_f1_best for history in read_history(run, 2)]
        assert trial.score == sum(kept) / 2
        assert json.loads((run / "trial.json").read_text()) == dataclasses.asdict(trial)
    assert study.best is not None
    assert study.best.score == max(trial.score or 0 for trial in study.trials)
    recipe = make_config(load_recipe(sweep / "best.toml"))
    assert recipe == read_run(trial_folder(sweep, study.best.number)).config
    assert "the best of 2 finished trials of 2." in (sweep / "best.toml").read_text()


def test_a_finished_search_does_nothing_more(sweep: Path, store: Store, plan: Plan) -> None:
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("trials/**/*") if path.is_file()}
    assert run_sweep(store, plan(), sweep) == read_study(sweep)
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("trials/**/*") if path.is_file()} == before


def test_a_search_that_was_stopped_in_a_trial_goes_on_with_it_and_ends_the_same(
    sweep: Path, store: Store, plan: Plan, tmp_path: Path
) -> None:
    wanted = plan("learning_rate=0.01")
    options = TrialOptions(progress=stop_at(4), checkpointing=Checkpointing(checkpoint_s=0))  # in fold 1
    with pytest.raises(Killed):
        run_sweep(store, wanted, tmp_path, options=options)
    assert [trial.state for trial in read_study(tmp_path).trials] == ["running"]
    steps: list[int] = []
    again = run_sweep(store, wanted, tmp_path, options=TrialOptions(progress=Progress(advance=steps.append)))
    assert steps == [3]  # the images of the last of four steps
    assert strip_time(again) == strip_time(read_study(sweep))[:1]
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["000"]


def test_the_command_shows_a_search(sweep: Path, hpa: Hpa) -> None:
    ended = hpa("sweep", sweep)
    study = read_study(sweep)
    assert study.best is not None
    assert ended.status == 0
    assert draw_table(study) in ended.out
    assert f"Best run: {trial_folder(sweep, study.best.number)}\nBest recipe: {sweep / 'best.toml'}\n" in ended.out
    assert describe_caution(study, sweep) in ended.out
    for name in ("settings", "history"):
        assert (sweep / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    shown = json.loads(hpa("sweep", sweep, "--json").out)
    assert (shown["best"], shown["metric"], len(shown["trials"])) == (study.best.number, study.metric, 2)
    assert_refused(hpa("sweep", sweep, "--vary", "l2=0,1", "--out", "a"), f"Pass the store, with --out {sweep}.")
    assert_refused(hpa("sweep", sweep, "--trials", 3), "Cannot use --trials: it has no effect where a search is shown.")


def test_the_command_goes_on_and_lists_what_failed(sweep: Path, store: Store, hpa: Hpa, tmp_path: Path) -> None:
    words = ("sweep", store.path, "--model", "tiny", "--folds", 2, "--epochs", 1, "--image-size", 16)
    more = (
        "--set",
        "batch_size=3",
        "--set",
        "min_last_batch=1",
        "--set",
        "duplicates=ignore",
        "--set",
        "deterministic=true",
    )
    ended = hpa(*words, *more, "--vary", "learning_rate=0.01,0.1", "--out", sweep)
    assert ended.status == 0
    assert "Trial" not in ended.err
    vary = ("--vary", "optimizer=adamw,sgd", "--out", tmp_path)  # adamw needs a weight decay
    ended = hpa(*words, *more, *vary)
    assert ended.status == 1
    assert "\nTrial 0 failed: weight_decay must be above 0 with optimizer=adamw." in ended.out
    assert "Trial 1 of 2: optimizer=sgd\n" in ended.err
    assert [trial.state for trial in read_study(tmp_path).trials] == ["failed", "finished"]
    assert load_recipe(tmp_path / "best.toml")["optimizer"] == "sgd"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "OUT"), "vary must be given with a store."),
        (("--vary", "l2=0,0.1"), "out must be given with a store."),
        (("--vary", "l2=0,0.1", "--set", "l2=0.1", "--out", "OUT"), "l2 must be set or varied. Received: both."),
        (("--vary", "dropout=0,0.1", "--set", "options.dropout=0.1", "--out", "OUT"), "options.dropout must be set or"),
        (("--vary", "epochs=1,2", "--epochs", 3, "--out", "OUT"), "epochs must be set or varied."),
        (("--vary", "l2=0,0.1", "--part", "nowhere", "--out", "OUT"), "nowhere"),
        (("--vary", "l2=0,0.1", "--out", "s3://bucket/a"), "out must be a local path."),
    ],
)
def test_the_command_refuses_what_it_cannot_do_in_one_line_and_writes_nothing(
    store: Store, hpa: Hpa, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    out = tmp_path / "sweep"
    assert_refused(hpa("sweep", store.path, *(out if word == "OUT" else word for word in words)), message)
    assert not out.exists()


def test_the_command_says_what_a_folder_is_not(hpa: Hpa, tmp_path: Path) -> None:
    assert_refused(hpa("sweep", tmp_path), "it has no study.json. Pass a folder that `hpa sweep` wrote.")
    assert_refused(hpa("sweep", tmp_path / "nowhere"), "vary must be given with a store.")
