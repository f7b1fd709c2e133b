"""Searching with a network of a few layers."""

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_data.system.progress import Progress
from hpa_model.config import load_recipe, make_config
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.check import verify_run
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import find_kept, read_history
from hpa_model.sweep.run import TrialOptions, measure_run, run_sweep
from hpa_model.sweep.study import Trial, read_study, trial_folder, write_study
from hpa_model.sweep.table import describe_caution, describe_skill, draw_table
from hpa_model.training.job import Checkpointing
from tests.builders import Ended, Hpa, assert_refused
from tests.model.stopping import Killed, stop_at
from tests.model.sweep.conftest import SETTINGS, Plan

# The first needs a weight decay, so that its trial fails.
VARY = "optimizer=adamw,sgd"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture
def words(store: Store, folder: Path) -> tuple[object, ...]:
    """Hold the words of a command that searches."""
    given = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    return ("sweep", store.path, *given, "--vary", VARY, "--out", folder / "sweep")


@pytest.fixture
def searched(words: tuple[object, ...], folder: Path, hpa: Hpa) -> Ended:
    """Tell how that command ended."""
    path = folder / "ended.json"
    if not path.exists():
        path.write_text(json.dumps(hpa(*words)))
    return Ended(*json.loads(path.read_text()))


@pytest.fixture
def sweep(searched: Ended, folder: Path) -> Path:
    """Hold the folder of a search of two trials that was not interrupted."""
    assert searched.status == 1
    return folder / "sweep"


def test_a_trial_that_is_refused_fails_with_its_reason_and_the_search_goes_on(sweep: Path, searched: Ended) -> None:
    failed, finished = read_study(sweep).trials
    assert (failed.state, finished.state) == ("failed", "finished")
    assert failed.reason.startswith("weight_decay must be above 0 with optimizer=adamw.")
    assert f"\nTrial 0 failed: {failed.reason}\n" in searched.out
    assert "Trial 0 of 2: optimizer=adamw\n" in searched.err
    assert f"\nTrial 1 finished  val_macro_f1_best {finished.score:.4f}, the best so far\n" in searched.err


def test_a_trial_is_a_run_and_the_best_is_a_recipe(sweep: Path) -> None:
    study = read_study(sweep)
    trial = study.trials[1]
    assert study.best == trial
    run = trial_folder(sweep, 1)
    assert (verify_run(run).findings, verify_run(run).unsealed) == ((), ())
    config = read_run(run).config
    assert study.duplicates == "near"  # decided once, by the time that it takes
    assert config == make_config(SETTINGS | {"optimizer": "sgd", "duplicates": "near"})
    kept = [find_kept(history, config.keep).val_macro_f1_best for history in read_history(run, 2)]
    assert trial.score == sum(kept) / 2
    scores = score_run(run)
    assert measure_run(run, "macro_f1", scores) == (scores.headline, scores.no_skill["macro_f1_cross_fitted"].high)
    assert json.loads((run / "trial.json").read_text()) == dataclasses.asdict(trial)
    assert make_config(load_recipe(sweep / "best.toml")) == config
    assert "the best of 1 finished trials of 2." in (sweep / "best.toml").read_text()


def test_a_finished_search_does_nothing_more(sweep: Path, words: tuple[object, ...], hpa: Hpa) -> None:
    before = {path: path.stat().st_mtime_ns for path in (sweep / "trials").rglob("*")}
    ended = hpa(*words)
    assert ended.status == 1  # what failed is listed again
    assert "Trial" not in ended.err
    assert {path: path.stat().st_mtime_ns for path in (sweep / "trials").rglob("*")} == before


def test_a_search_that_was_stopped_in_a_trial_goes_on_with_it_and_ends_the_same(
    sweep: Path, store: Store, plan: Plan, tmp_path: Path
) -> None:
    wanted = plan("optimizer=sgd")
    options = TrialOptions(progress=stop_at(4), checkpointing=Checkpointing(checkpoint_s=0))  # in fold 1
    with pytest.raises(Killed):
        run_sweep(store, wanted, tmp_path, options=options)
    assert [trial.state for trial in read_study(tmp_path).trials] == ["running"]
    steps: list[int] = []
    again = run_sweep(store, wanted, tmp_path, options=TrialOptions(progress=Progress(advance=steps.append)))
    assert steps == [3]  # the images of the last of four steps
    assert [replace(trial, number=1, seconds=0) for trial in again.trials] == [
        replace(read_study(sweep).trials[1], seconds=0)
    ]
    assert [path.name for path in (tmp_path / "trials").iterdir()] == ["000"]


def test_a_trial_that_cannot_be_resumed_ends_the_search_until_it_is_given_up(
    sweep: Path, store: Store, plan: Plan, tmp_path: Path
) -> None:
    wanted = plan("l2=0.1", settings={"optimizer": "sgd"})
    shutil.copytree(sweep / "trials" / "001", tmp_path / "a" / "trials" / "000")  # whose l2 is 0
    write_study(tmp_path / "a", replace(wanted, trials=(Trial(number=0, settings={"l2": 0.1}),)))
    with pytest.raises(
        InputError, match=r"^Cannot resume trial 0: .* it differs in .*l2 \(0.0 there, 0.1 here\)"
    ) as refusal:
        run_sweep(store, wanted, tmp_path / "a")
    assert str(refusal.value).endswith("To go on without that trial, pass --give-up 0.")
    assert run_sweep(store, wanted, tmp_path / "a", given_up=[0]).trials[0].state == "failed"


def test_the_command_shows_a_search(sweep: Path, hpa: Hpa) -> None:
    ended, study = hpa("sweep", sweep), read_study(sweep)
    assert ended.status == 0
    assert draw_table(study) in ended.out
    assert f"Best run: {trial_folder(sweep, 1)}\nBest recipe: {sweep / 'best.toml'}\n" in ended.out
    for name in ("settings", "history"):
        assert (sweep / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    shown = json.loads(hpa("sweep", sweep, "--json").out)
    assert (shown["best"], shown["metric"], len(shown["trials"])) == (1, study.metric, 2)
    assert_refused(hpa("sweep", sweep, "--vary", "l2=0,1", "--out", "a"), f"Pass the store, with --out {sweep}.")
    assert_refused(hpa("sweep", sweep, "--trials", 3), "Cannot use --trials: it has no effect where a search is shown.")


def test_the_best_of_several_is_called_optimistic_and_one_without_skill_is_called_so(
    plan: Plan, tmp_path: Path
) -> None:
    trials = [
        Trial(number=n, settings={"learning_rate": 0.1 + n}, state="finished", score=score, no_skill=0.3)
        for n, score in enumerate((0.2, 0.4))
    ]
    study = plan("learning_rate=0.01,0.1", settings={"seed": 3})
    both = replace(study, trials=tuple(trials))
    assert describe_caution(both, tmp_path).startswith(
        "The best of 2 scores is optimistic: it was chosen for being the"
    )
    assert f"hpa train STORE --recipe {tmp_path / 'best.toml'} --set seed=4 --out RUN" in describe_caution(
        both, tmp_path
    )
    assert describe_skill(both) == ""
    one = replace(study, trials=tuple(trials[:1]))
    assert describe_caution(one, tmp_path) == ""
    *_, best, rest = draw_table(both, limit=1).splitlines()
    assert best.split() == ["1", "best", "0.4000", "1.1", "0", "0"]
    assert rest == "… and 1 more, see --json"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "OUT"), "vary must be given with a store."),
        (("--vary", "l2=0,0.1"), "out must be given with a store."),
        (("--vary", "l2=0,0.1", "--set", "l2=0.1", "--out", "OUT"), "l2 must be set or varied. Received: both."),
        (("--vary", "dropout=0,0.1", "--set", "options.dropout=0.1", "--out", "OUT"), "options.dropout must be set or"),
        (("--vary", "epochs=1,2", "--epochs", 3, "--out", "OUT"), "epochs must be set or varied."),
        (
            ("--vary", "augment=none,paper", "--set", "symmetries=true", "--out", "OUT"),
            "Received: both (symmetries is a word of augment).",
        ),
        (("--vary", "symmetries=false,true", "--set", "augment=paper", "--out", "OUT"), "symmetries must be set or"),
        (
            ("--vary", "augment.blur.p=0.5,1", "--set", "augment.blur.p=1", "--out", "OUT"),
            "augment.blur.p must be set or varied.",
        ),
        (("--vary", "l2=0,0.1", "--part", "nowhere", "--out", "OUT"), "nowhere"),
        (("--vary", "l2=0,0.1", "--part", "test", "--out", "OUT"), "a part was converted without a label table."),
        (("--vary", "l2=0,0.1", "--folds", 0, "--out", "OUT"), "folds must be at least 1 in a search"),
        (("--vary", "l2=0,0.1", "--folds", 13, "--out", "OUT"), "folds must be from 2 to the number of samples, 12."),
        (("--vary", "l2=0,0.1", "--set", 'channels=["pink"]', "--out", "OUT"), "pink"),
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
    assert_refused(hpa("sweep", tmp_path / "nowhere"), "it has no study.json. Pass a folder that `hpa sweep` wrote.")
    assert_refused(hpa("sweep", "s3://bucket/a.zarr"), "vary must be given with a store.")
    (tmp_path / "study.json").write_text("{}")
    for words in (("evaluate",), ("verify",), ("finetune",)):
        assert_refused(hpa(*words, tmp_path), "it is the folder of a search. Pass one of its runs, such as")
