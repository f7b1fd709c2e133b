"""The file of a study, and who works on its trials."""

import contextlib
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_model.runs.folder import STUDY_FILE
from hpa_model.sweep.sampling import choose_settings
from hpa_model.sweep.sharing import open_study, record_trial, take_trial
from hpa_model.sweep.study import Trial, read_study
from tests.model.sweep.conftest import Plan


def take(out: Path, held: contextlib.ExitStack) -> Trial | None:
    taken = take_trial(out, held, choose_settings)
    return None if taken is None else taken[1]


def test_a_trial_is_taken_by_one_worker_until_that_one_ends(plan: Plan, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    study = open_study(out, plan())
    assert study == read_study(out)
    with contextlib.ExitStack() as one:
        first = take(out, one)
        with contextlib.ExitStack() as other:
            second = take(out, other)
            assert (first, second) == (
                Trial(number=0, settings={"learning_rate": 0.01}),
                Trial(number=1, settings={"learning_rate": 0.1}),
            )
            assert take(out, contextlib.ExitStack()) is None
        with contextlib.ExitStack() as third:  # the second ended without a result
            assert take(out, third) == second
        record_trial(out, replace(second, state="finished", score=0.5))  # type: ignore[type-var]
        assert take(out, contextlib.ExitStack()) is None
    with contextlib.ExitStack() as last:
        assert take(out, last) == first
        study = record_trial(out, replace(first, state="failed", reason="NaN"))  # type: ignore[type-var]
    assert take(out, contextlib.ExitStack()) is None
    assert study.best == replace(second, state="finished", score=0.5)  # type: ignore[type-var]
    assert read_study(out) == study
    assert sorted(path.name for path in out.iterdir()) == [STUDY_FILE, "trials"]
    assert not list((out / "trials").iterdir())


def test_more_trials_may_be_asked_for_and_those_that_failed_may_run_again(plan: Plan, tmp_path: Path) -> None:
    vary = "learning_rate=log:1e-3..1e-1"
    open_study(tmp_path, plan(vary, trials=1))
    with contextlib.ExitStack() as held:
        first = take(tmp_path, held)
        assert first is not None
        record_trial(tmp_path, replace(first, state="failed", reason="NaN"))
    assert take(tmp_path, contextlib.ExitStack()) is None
    open_study(tmp_path, plan(vary, trials=2))
    with contextlib.ExitStack() as held:
        second = take(tmp_path, held)
        assert second is not None
        assert second.number == 1
        open_study(tmp_path, plan(vary, trials=2), retries_failed=True)
        assert take(tmp_path, held) == first


def test_a_trial_that_nobody_works_on_may_be_given_up(plan: Plan, tmp_path: Path) -> None:
    open_study(tmp_path, plan())
    with contextlib.ExitStack() as held:
        assert take(tmp_path, held) is not None
        with pytest.raises(InputError, match="Cannot give up trial 0: another process works on it."):
            open_study(tmp_path, plan(), given_up=[0])
    for number, state in ((1, "not begun"), (-1, "not begun")):
        with pytest.raises(InputError, match=f"give-up must be a trial .* Received: {number}, which is {state}."):
            open_study(tmp_path, plan(), given_up=[number])
    study = open_study(tmp_path, plan(), given_up=[0])
    assert (study.trials[0].state, study.trials[0].reason) == ("failed", "It was given up, by --give-up.")
    with pytest.raises(InputError, match="Received: 0, which is failed."):
        open_study(tmp_path, plan(), given_up=[0])
    with contextlib.ExitStack() as held:
        taken = take(tmp_path, held)
        assert taken is not None
        assert taken.number == 1


@pytest.mark.parametrize(
    ("vary", "asked", "message"),
    [
        ("learning_rate=0.01,0.2", {}, "--vary (learning_rate=0.01,0.1 there, learning_rate=0.01,0.2 here)"),
        ("learning_rate=0.01..0.1", {"method": "random"}, "--method (grid there, random here)"),
        ("loss=bce,f1", {}, "--vary (no loss there, loss=bce,f1 here)"),
        ("learning_rate=0.01,0.1", {"settings": {"epochs": 3}}, "differs in epochs (1 there, 3 here)."),
        ("learning_rate=0.01,0.1", {"settings": {"l2": 0.1}}, "differs in l2 (the default there, 0.1 here)."),
        ("learning_rate=0.01,0.1", {"metric": "val_loss"}, "--metric (val_macro_f1_best there, val_loss here)"),
        ("learning_rate=0.01,0.1", {"seed": 1}, "--seed (0 there, 1 here)"),
        ("learning_rate=0.01,0.1", {"prune": "median"}, "--prune (none there, median here)"),
        ("learning_rate=0.01,0.1", {"weights": "imagenet"}, "--weights (none there, imagenet here)"),
    ],
)
def test_a_study_that_differs_is_refused_with_what_differs(
    plan: Plan, tmp_path: Path, vary: str, asked: dict[str, object], message: str
) -> None:
    open_study(tmp_path, plan())
    before = (tmp_path / STUDY_FILE).read_bytes()
    with pytest.raises(InputError) as refusal:
        open_study(tmp_path, plan(vary, **asked))
    assert message in str(refusal.value)
    assert str(refusal.value).endswith("Use the same settings, or name another folder.")
    assert (tmp_path / STUDY_FILE).read_bytes() == before


def test_a_study_of_other_data_or_another_backend_is_refused(plan: Plan, tmp_path: Path) -> None:
    study = open_study(tmp_path, plan())
    for changed, message in (
        ({"fingerprints": {"train": "other"}}, "part train (it was converted again)"),
        ({"versions": study.versions | {"backend": "jax"}}, "Keras backend (tensorflow there, jax here)"),
    ):
        with pytest.raises(InputError, match=message.replace("(", r"\(").replace(")", r"\)")):
            open_study(tmp_path, replace(study, **changed))  # type: ignore[arg-type]
    # The path of the store says nothing, and a setting that has its default is none.
    open_study(tmp_path, replace(plan(settings={"l1": 0.0, "parts": ["train"]}), store="elsewhere"))


def test_a_folder_of_something_else_is_refused_and_left_as_it_is(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="it has no study.json, so it is of something else. Name a new folder."):
        open_study(tmp_path, plan())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(InputError, match="out must be a folder."):
        open_study(tmp_path / "notes.txt", plan())


def test_a_damaged_file_is_refused_with_a_remedy(plan: Plan, tmp_path: Path) -> None:
    open_study(tmp_path, plan())
    path = tmp_path / STUDY_FILE
    good = path.read_text()
    changed = json.loads(good)
    changed["study"]["seed"] = 7
    for content in (
        "",
        good[:100],
        "[]",
        "{}",
        '{"study": 1, "sha256": 2}',
        json.dumps(changed),
        good.replace("0.01", "9"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=r"^Cannot read .*study.json: .* Put it back from a copy, or name another"):
            read_study(tmp_path)
    for change in (
        {"number": 1},
        {"settings": {"l2": 0.1}},
        {"state": "finished"},
        {"score": float("nan")},
        {"state": "lost"},
        {"settings": []},
    ):
        trial = asdict(Trial(number=0, settings={"learning_rate": 0.01})) | change
        study = json.loads(good)["study"] | {"trials": [trial]}
        digest = hashlib.sha256(json.dumps(study, sort_keys=True).encode()).hexdigest()
        path.write_text(json.dumps({"study": study, "sha256": digest}))
        with pytest.raises(InputError, match=r"^Cannot read .*study.json: .* Put it back from a copy, or name another"):
            read_study(tmp_path)
    with pytest.raises(InputError, match="it has no study.json. Pass a folder that `hpa sweep` wrote."):
        read_study(tmp_path / "nowhere")
